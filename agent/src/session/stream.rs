//! One stream with one coordinator, from its first message to its end.
//!
//! Questions are answered in tasks of their own: a step that runs, or a mysqld that hangs, delays no answer.
//!
//! The leader asks about once a second. After a longer silence (a frozen agent or coordinator, a suspended machine, a network that held
//! back what was sent) nobody can tell how long the next messages have waited: they are not read, the stream ends, and the leader sends
//! on the next one what it still wants.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::clock::BootInstant;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::Generation;
use clusterctl_proto::machine;
use clusterctl_proto::wire::agent::{Answer, FromAgent, Hello, Question, ToAgent, from_agent, to_agent};
use futures_util::stream::TryStreamExt;
use tokio::sync::mpsc;

use super::contact::Contact;
use super::dial::Said;
use super::order::{FRESH, Received};
use super::runner::Runner;
use crate::observe::Observer;

/// The first message of a stream: who this is. `instance` names this process.
pub fn introduce(outbox: &mpsc::Sender<FromAgent>, observer: &Observer, instance: &str) {
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: observer.boot_id().to_owned(),
        instance: instance.to_owned(),
    };
    let first = FromAgent {
        message: Some(from_agent::Message::Hello(hello)),
    };
    // it is new and empty
    let _ = outbox.try_send(first);
}

/// Speaks with a coordinator until the stream ends; `welcomed` is called once, with the coordinator's name.
pub async fn converse(
    (mut said, outbox): (Said, mpsc::Sender<FromAgent>),
    (runner, observer, contact): (&Arc<Runner>, &Arc<Observer>, &Contact),
    welcomed: impl FnOnce(&str),
) -> Result<(), Failure> {
    let mut welcomed = Some(welcomed);
    let stream = runner.number_stream();
    let mut last = BootInstant::now();
    while let Some(ToAgent { message }) = said.try_next().await? {
        let at = BootInstant::now();
        check_silence(at.since(last))?;
        last = at;
        match message {
            Some(to_agent::Message::Welcome(welcome)) => {
                tracing::info!(
                    coordinator = welcome.coordinator,
                    epoch = welcome.epoch,
                    "connected to coordinator {}",
                    welcome.coordinator
                );
                if let Some(welcomed) = welcomed.take() {
                    welcomed(&welcome.coordinator);
                }
                runner.attach(stream, outbox.clone());
            }
            Some(to_agent::Message::Question(question)) => {
                let until = question.hands_off.then_some(question.hands_off_until_ms);
                contact.told(until).await;
                if question.committed_index > 0 {
                    let committed = Generation {
                        epoch: question.committed_epoch,
                        index: question.committed_index,
                    };
                    runner.committed(committed, &question.last_words_json).await;
                }
                machine::spawn(answer(Arc::clone(observer), question, outbox.clone()));
            }
            Some(to_agent::Message::Run(run)) => runner.order(run, Received { stream, at }).await,
            Some(to_agent::Message::Cancel(cancel)) => runner.cancel(cancel).await,
            Some(to_agent::Message::Confirmed(answer)) => runner.confirmed(answer),
            // of a newer coordinator
            None => tracing::debug!("a message that this version does not know"),
        }
    }
    Ok(())
}

/// What comes after a longer silence may have waited as long.
fn check_silence(silence: Duration) -> Result<(), Failure> {
    if silence <= FRESH {
        return Ok(());
    }
    Err(Failure::new(
        "stream_silent",
        "nothing came from the coordinator for too long; what comes now may be old",
    )
    .fact(format!("{:.1} s without a message", silence.as_secs_f64()))
    .exit(ExitClass::Unreachable)
    .transient())
}

async fn answer(observer: Arc<Observer>, question: Question, outbox: mpsc::Sender<FromAgent>) {
    let id = question.id;
    let observation = observer.observe(&question).await;
    match serde_json::to_vec(&observation) {
        Ok(observation_json) => {
            let answer = Answer { id, observation_json };
            // the stream is gone: nobody waits for the answer
            let _ = outbox
                .send(FromAgent {
                    message: Some(from_agent::Message::Answer(answer)),
                })
                .await;
        }
        Err(error) => tracing::error!(%error, "an observation cannot be written as JSON"),
    }
}
