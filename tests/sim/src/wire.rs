//! What TCP is for the stream between an agent and a coordinator: messages come in order, late, or not at all.
//!
//! A direction that is cut holds messages back, as TCP sends them again; after [`BROKEN`] the connection breaks, and what it held is
//! lost. A program that is killed closes its connections at once; a host that loses power, or is frozen, says nothing, so the other
//! side waits for its keep-alive.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::wire::agent::{FromAgent, ToAgent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::mysqld::Net;

/// A connection whose packets are not acknowledged for so long is given up.
pub const BROKEN: Duration = Duration::from_secs(15);
/// How often a direction that is cut is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// One message in so many waits in a buffer.
const STALLS: u64 = 400;

/// Messages that a socket's buffers hold.
pub const BUFFER: usize = 64;

/// What passes a wire, for whoever watches the messages.
pub trait Tap: Send + Sync + 'static {
    /// To the agent of this host.
    fn told_to_agent(&self, host: &str, message: &ToAgent);
    /// From it.
    fn said_by_agent(&self, host: &str, message: &FromAgent);
}

/// One direction of a connection.
pub struct Direction {
    /// From this host.
    pub from: String,
    /// To that one.
    pub to: String,
    /// Links.
    pub net: Arc<Net>,
    /// Delays.
    pub chance: Chance,
    /// The connection.
    pub ended: CancellationToken,
}

impl Direction {
    /// Carries messages until the connection ends; `seen` is called for each one that arrives.
    pub async fn carry<M: Send>(self, mut messages: mpsc::Receiver<M>, out: mpsc::Sender<M>, seen: impl Fn(&M)) {
        loop {
            let message = tokio::select! {
                biased;
                () = self.ended.cancelled() => return,
                message = messages.recv() => message,
            };
            // The program closed its end. Whether the other side hears of it is the network's.
            let Some(message) = message else { break };
            tokio::time::sleep(self.delay()).await;
            if !self.passes().await {
                self.ended.cancel();
                return;
            }
            seen(&message);
            tokio::select! {
                biased;
                () = self.ended.cancelled() => return,
                sent = out.send(message) => if sent.is_err() { break },
            }
        }
        if !self.net.reaches(&self.from, &self.to) {
            tokio::time::sleep(BROKEN).await;
        }
        self.ended.cancel();
    }

    fn delay(&self) -> Duration {
        if self.chance.one_in(STALLS) {
            let longest = if self.chance.one_in(10) { 14_000 } else { 4000 };
            return self.chance.ms(200, longest);
        }
        self.chance.ms(0, 3)
    }

    /// Waits until the direction is open; false: for too long.
    async fn passes(&self) -> bool {
        let mut waited = Duration::ZERO;
        while !self.net.reaches(&self.from, &self.to) {
            if waited >= BROKEN {
                return false;
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
        true
    }
}
