//! One stream of an agent, from its hello to its end, over whatever carries the messages.
//!
//! `api::agent` authorises the caller and runs [`converse`] over gRPC; the simulator runs it over channels. It decides nothing: what an
//! agent says goes to [`Leader::take`] and [`Leader::confirm`]. It must never outlive the term of its leader.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::machine;
use clusterctl_proto::wire::agent::{FromAgent, Hello, ToAgent, Welcome, from_agent, to_agent};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Leader;
use super::sessions::{PeerFacts, SessionId};
use super::twins::{SILENT, Speaker};

/// The first message must come soon.
const HELLO: Duration = Duration::from_secs(10);
/// Longer than any id of a boot or a process.
const LONGEST_ID: usize = 64;

/// Talks with the agent of this host until its stream ends, fails or is replaced, or the term ends. `outbox` is new and empty; `ended` is
/// cancelled when the conversation is over, and ends it when it is cancelled elsewhere.
pub async fn converse<S, E>(
    leader: Arc<Leader>,
    host: HostName,
    facts: PeerFacts,
    peer: SocketAddr,
    mut messages: S,
    outbox: mpsc::Sender<ToAgent>,
    ended: CancellationToken,
) where
    S: Stream<Item = Result<FromAgent, E>> + Send + Unpin + 'static,
    E: Display + Send,
{
    let hello = tokio::time::timeout(HELLO, messages.next()).await;
    let Ok(Some(Ok(FromAgent {
        message: Some(from_agent::Message::Hello(hello)),
    }))) = hello
    else {
        tracing::info!(node = %host, "stream ended: it did not begin with hello");
        ended.cancel();
        return;
    };
    tracing::info!(node = %host, %peer, version = hello.version, boot = hello.boot_id, "agent of {host} connected");
    let welcome = Welcome {
        coordinator: leader.proposer.own_name().to_owned(),
        epoch: leader.node.state().read(|model| model.epoch),
    };
    // The channel is new and empty.
    let _ = outbox.try_send(ToAgent {
        message: Some(to_agent::Message::Welcome(welcome)),
    });
    let id = leader.opened(&host, facts, speaker(&hello, peer), outbox, ended.clone());
    if leader.sessions().has_two(&host) {
        let leader = Arc::clone(&leader);
        machine::spawn(async move {
            tokio::time::sleep(SILENT).await;
            leader.wake();
        });
    }
    tokio::select! {
        biased;
        () = leader.ended() => {}
        () = read(&leader, &host, id, messages, &ended) => {}
    }
    leader.sessions().close(&host, id);
    leader.wake();
    ended.cancel();
    tracing::info!(node = %host, %peer, "agent of {host} disconnected");
}

fn speaker(hello: &Hello, peer: SocketAddr) -> Speaker {
    Speaker {
        boot_id: hello.boot_id.chars().take(LONGEST_ID).collect(),
        instance: hello.instance.chars().take(LONGEST_ID).collect(),
        peer,
    }
}

/// Reads until the stream ends, fails, or is replaced.
async fn read<S, E>(leader: &Arc<Leader>, host: &HostName, id: SessionId, mut messages: S, ended: &CancellationToken)
where
    S: Stream<Item = Result<FromAgent, E>> + Unpin,
    E: Display,
{
    loop {
        let message = tokio::select! {
            biased;
            () = ended.cancelled() => return,
            message = messages.next() => message,
        };
        let message = match message {
            Some(Ok(FromAgent { message })) => message,
            None => return,
            Some(Err(error)) => {
                tracing::info!(node = %host, "stream failed: {error}");
                return;
            }
        };
        let taken = match message {
            Some(from_agent::Message::Confirm(question)) => {
                leader.confirm(host, id, question);
                Ok(())
            }
            message => leader.take(host, id, message).await,
        };
        if let Err(failure) = taken {
            tracing::warn!(node = %host, code = failure.code, "ignored a message from the agent of {host}: {failure}");
        }
    }
}
