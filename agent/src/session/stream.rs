//! One stream with one coordinator, from its first message to its end.
//!
//! Questions are answered in tasks of their own: a step that runs, or a mysqld that hangs, delays no answer.

use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::agent::agent_service_client::AgentServiceClient;
use clusterctl_proto::wire::agent::{Answer, FromAgent, Hello, Question, ToAgent, from_agent, to_agent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::contact::Contact;
use super::runner::Runner;
use crate::observe::Observer;

/// Messages that wait for the network.
const OUTBOX: usize = 64;

/// Speaks with a coordinator until the stream ends. `instance` names this process; `welcomed` is called once, with the coordinator's name.
pub async fn speak(
    channel: Channel,
    (runner, observer, contact): (&Arc<Runner>, &Arc<Observer>, &Contact),
    instance: &str,
    welcomed: impl FnOnce(&str),
) -> Result<(), Failure> {
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: observer.boot_id().to_owned(),
        instance: instance.to_owned(),
    };
    let first = FromAgent {
        message: Some(from_agent::Message::Hello(hello)),
    };
    // the channel is new and empty
    let _ = outbox.try_send(first);
    let mut client = AgentServiceClient::new(channel);
    let mut replies = client.session(ReceiverStream::new(messages)).await?.into_inner();
    let mut welcomed = Some(welcomed);
    while let Some(ToAgent { message }) = replies.message().await? {
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
                runner.attach(outbox.clone());
            }
            Some(to_agent::Message::Question(question)) => {
                let until = question.hands_off.then_some(question.hands_off_until_ms);
                contact.told(until).await;
                tokio::spawn(answer(Arc::clone(observer), question, outbox.clone()));
            }
            Some(to_agent::Message::Run(run)) => runner.order(run).await,
            Some(to_agent::Message::Cancel(cancel)) => runner.cancel(cancel).await,
            // of a newer coordinator
            None => tracing::debug!("a message that this version does not know"),
        }
    }
    Ok(())
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
