//! Asks the leader, over the stream that stands, whether a step is still wanted: for a deed that cannot be taken back.
//!
//! Held by the runner, which gives each step its [`Asking`]. An answer counts only on the stream on which the question went: when
//! a stream ends, or another begins, every question on it is lost, and the step does nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::Generation;
use clusterctl_proto::wire::agent::{Confirm, Confirmed, FromAgent, from_agent};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::order::Place;
use crate::steps::{CONFIRM, Confirmation, Leader, not_confirmed};

/// Questions that wait for an answer.
#[derive(Default)]
pub struct Confirms {
    next: AtomicU64,
    stream: Mutex<Stream>,
}

/// The stream that there is now.
#[derive(Default)]
struct Stream {
    outbox: Option<mpsc::Sender<FromAgent>>,
    waiting: BTreeMap<u64, oneshot::Sender<Confirmed>>,
}

impl Confirms {
    /// A new stream is there: what was asked on an older one is lost.
    pub fn attach(&self, outbox: mpsc::Sender<FromAgent>) {
        *self.lock() = Stream {
            outbox: Some(outbox),
            waiting: BTreeMap::new(),
        };
    }

    /// The stream is gone.
    pub fn detach(&self) {
        *self.lock() = Stream::default();
    }

    /// An answer came. One to a question that is waited for no more is dropped.
    pub fn answered(&self, answer: Confirmed) {
        if let Some(waits) = self.lock().waiting.remove(&answer.id) {
            // who asked may have given up this moment
            let _ = waits.send(answer);
        }
    }

    /// What one step asks with.
    pub fn of(self: &Arc<Self>, place: &Place, generation: Generation) -> Asking {
        Asking {
            confirms: Arc::clone(self),
            place: place.clone(),
            generation,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sends a question; none: there is no stream, or it takes nothing now.
    fn ask(&self, mut question: Confirm) -> Option<(u64, oneshot::Receiver<Confirmed>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        question.id = id;
        let message = FromAgent {
            message: Some(from_agent::Message::Confirm(question)),
        };
        let mut stream = self.lock();
        stream.outbox.as_ref()?.try_send(message).ok()?;
        let (answer, waits) = oneshot::channel();
        stream.waiting.insert(id, answer);
        Some((id, waits))
    }

    fn forget(&self, id: u64) {
        self.lock().waiting.remove(&id);
    }
}

/// One step's way to the leader.
pub struct Asking {
    confirms: Arc<Confirms>,
    place: Place,
    generation: Generation,
}

impl Leader for Asking {
    fn confirm<'a>(&'a self) -> BoxFuture<'a, Result<Confirmation, Failure>> {
        Box::pin(async move {
            let question = Confirm {
                id: 0,
                plan: self.place.plan.0,
                step: self.place.step,
                cluster: self.place.cluster.to_string(),
                epoch: self.generation.epoch,
                index: self.generation.index,
            };
            let (id, waits) = self
                .confirms
                .ask(question)
                .ok_or_else(|| not_confirmed("no coordinator is connected"))?;
            let answer = tokio::time::timeout(CONFIRM, waits).await;
            self.confirms.forget(id);
            match answer {
                Ok(Ok(answer)) if answer.allowed => Ok(Confirmation {
                    vouched: answer.vouched,
                }),
                Ok(Ok(answer)) => Err(not_confirmed(answer.why)),
                Ok(Err(_)) => Err(not_confirmed("the stream on which it was asked has ended")),
                Err(_) => Err(not_confirmed(format!(
                    "it did not answer within {} s",
                    CONFIRM.as_secs()
                ))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::ids::PlanId;

    use super::*;

    fn asking() -> (Arc<Confirms>, Asking) {
        let confirms = Arc::<Confirms>::default();
        let generation = Generation { epoch: 1, index: 8 };
        let place = Place {
            cluster: "prod".parse().unwrap(),
            epoch: 1,
            plan: PlanId(8),
            step: 3,
        };
        let asking = confirms.of(&place, generation);
        (confirms, asking)
    }

    fn stream(confirms: &Confirms) -> mpsc::Receiver<FromAgent> {
        let (outbox, messages) = mpsc::channel(4);
        confirms.attach(outbox);
        messages
    }

    async fn question(messages: &mut mpsc::Receiver<FromAgent>) -> Confirm {
        match messages.recv().await.unwrap().message {
            Some(from_agent::Message::Confirm(question)) => question,
            other => panic!("{other:?}"),
        }
    }

    fn yes(id: u64) -> Confirmed {
        Confirmed {
            id,
            allowed: true,
            why: String::new(),
            vouched: vec!["node2".to_owned()],
        }
    }

    fn why(result: Result<Confirmation, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry), ("not_confirmed", true));
        failure.facts[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn the_leaders_yes_and_no_come_back_and_silence_is_no() {
        let (confirms, asking) = asking();
        assert_eq!(why(asking.confirm().await), "no coordinator is connected");
        let mut messages = stream(&confirms);
        let (answer, asked) = tokio::join!(asking.confirm(), async {
            let asked = question(&mut messages).await;
            confirms.answered(yes(asked.id));
            asked
        });
        assert_eq!(answer.unwrap().vouched, ["node2"]);
        assert_eq!(
            (asked.plan, asked.step, asked.cluster.as_str(), asked.epoch, asked.index),
            (8, 3, "prod", 1, 8)
        );
        let (answer, ()) = tokio::join!(asking.confirm(), async {
            let id = question(&mut messages).await.id;
            // of an earlier question
            confirms.answered(yes(id - 1));
            confirms.answered(Confirmed {
                id,
                allowed: false,
                why: "prod is paused".to_owned(),
                vouched: Vec::new(),
            });
        });
        assert_eq!(why(answer), "prod is paused");
        assert_eq!(why(asking.confirm().await), "it did not answer within 3 s");
        assert!(confirms.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_on_another_stream_is_none() {
        let (confirms, asking) = asking();
        for again in [false, true] {
            let mut messages = stream(&confirms);
            let (answer, ()) = tokio::join!(asking.confirm(), async {
                let id = question(&mut messages).await.id;
                confirms.detach();
                if again {
                    let _newer = stream(&confirms);
                    confirms.answered(yes(id));
                }
            });
            assert_eq!(why(answer), "the stream on which it was asked has ended");
        }
    }
}
