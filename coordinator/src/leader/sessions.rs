//! Streams of agents: one per host, the newest wins. What was sent on which.
//!
//! Fed by `api::agent`, used by the loop in `work`. Times come from the caller. Nothing here waits: a stream that does not
//! take a message is ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use clusterctl_proto::ids::{HostName, PlanId, StepNumber};
use clusterctl_proto::wire::agent::{Name, Question, ToAgent, to_agent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Numbers streams since this process started.
pub type SessionId = u64;

/// A question that is not answered after this time is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// What is known of the one at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerFacts {
    /// SHA-256 of its public key.
    pub key_sha256: String,
    /// Serial of its certificate.
    pub serial: String,
    /// End of its certificate, Unix seconds.
    pub not_after: i64,
}

struct Asked {
    at: Instant,
    full: bool,
}

/// One stream.
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Who.
    pub peer: PeerFacts,
    to_agent: mpsc::Sender<ToAgent>,
    ended: CancellationToken,
    questions: BTreeMap<u64, Asked>,
    last_asked: Option<Instant>,
    last_full: Option<Instant>,
    sent: BTreeSet<(PlanId, StepNumber)>,
    cancelled: BTreeSet<(PlanId, StepNumber)>,
    /// JSON of the lineages of its cluster, said in every question.
    lineages: Vec<u8>,
}

/// Every stream.
#[derive(Default)]
pub struct Sessions {
    by_host: HashMap<HostName, Session>,
    next_session: SessionId,
    next_question: u64,
    ever_sent: BTreeSet<(PlanId, StepNumber)>,
}

impl Sessions {
    /// A new stream of this host: an older one ends.
    pub fn open(
        &mut self,
        host: &HostName,
        peer: PeerFacts,
        to_agent: mpsc::Sender<ToAgent>,
        ended: CancellationToken,
    ) -> SessionId {
        self.next_session += 1;
        let session = Session {
            id: self.next_session,
            peer,
            to_agent,
            ended,
            questions: BTreeMap::new(),
            last_asked: None,
            last_full: None,
            sent: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            lineages: Vec::new(),
        };
        if let Some(old) = self.by_host.insert(host.clone(), session) {
            old.ended.cancel();
        }
        self.next_session
    }

    /// This stream ended; a newer one of the host is left alone.
    pub fn close(&mut self, host: &HostName, id: SessionId) {
        if self.current(host) == Some(id)
            && let Some(session) = self.by_host.remove(host)
        {
            session.ended.cancel();
        }
    }

    /// Ends streams whose host may not speak any more.
    pub fn end_unless(&mut self, keep: impl Fn(&HostName, &PeerFacts) -> bool) {
        self.by_host.retain(|host, session| {
            let keep = keep(host, &session.peer);
            if !keep {
                tracing::warn!(node = %host, "stream ended: the host is not enrolled with this certificate any more");
                session.ended.cancel();
            }
            keep
        });
    }

    /// The stream that stands.
    pub fn current(&self, host: &HostName) -> Option<SessionId> {
        self.by_host.get(host).map(|session| session.id)
    }

    /// Hosts with a stream.
    pub fn hosts(&self) -> Vec<HostName> {
        self.by_host.keys().cloned().collect()
    }

    /// When this host is due for a question: its kind.
    pub fn due(&self, host: &HostName, now: Instant, every: Duration, full_every: Duration) -> Option<bool> {
        let session = self.by_host.get(host)?;
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let waiting_for_full = session.questions.values().any(|asked| asked.full);
        if !waiting_for_full && since(session.last_full).is_none_or(|age| age >= full_every) {
            return Some(true);
        }
        // An agent that is slow is not asked faster than it answers.
        let open = session.questions.values().filter(|asked| !asked.full).count();
        (open < 3 && since(session.last_asked).is_none_or(|age| age >= every)).then_some(false)
    }

    /// Asks. Answers the question's id, or nothing when there is no stream that takes it.
    pub fn ask(
        &mut self,
        host: &HostName,
        now: Instant,
        full: bool,
        names: Vec<Name>,
        hands_off: Option<i64>,
    ) -> Option<u64> {
        let session = self.by_host.get_mut(host)?;
        session
            .questions
            .retain(|_, asked| now.saturating_duration_since(asked.at) < LOST_AFTER);
        self.next_question += 1;
        let id = self.next_question;
        session.questions.insert(id, Asked { at: now, full });
        session.last_asked = Some(now);
        if full {
            session.last_full = Some(now);
        }
        let question = to_agent::Message::Question(Question {
            id,
            full,
            names,
            hands_off: hands_off.is_some(),
            hands_off_until_ms: hands_off.unwrap_or(0),
            lineages_json: session.lineages.clone(),
            ..Question::default()
        });
        self.send(host, question).then_some(id)
    }

    /// From now on every question to this host carries these lineages (JSON).
    pub fn teach(&mut self, host: &HostName, lineages_json: Vec<u8>) {
        if let Some(session) = self.by_host.get_mut(host) {
            session.lineages = lineages_json;
        }
    }

    /// The answer to this question came on this stream: when it was asked.
    pub fn answered(&mut self, host: &HostName, id: SessionId, question: u64) -> Option<Instant> {
        let session = self.by_host.get_mut(host).filter(|session| session.id == id)?;
        session.questions.remove(&question).map(|asked| asked.at)
    }

    /// The step was sent on the stream that stands now.
    pub fn is_sent(&self, host: &HostName, step: (PlanId, StepNumber)) -> bool {
        self.by_host
            .get(host)
            .is_some_and(|session| session.sent.contains(&step))
    }

    /// The step was sent by this process, on whatever stream.
    pub fn was_ever_sent(&self, step: (PlanId, StepNumber)) -> bool {
        self.ever_sent.contains(&step)
    }

    /// Sends a step, and remembers it.
    pub fn send_step(&mut self, host: &HostName, step: (PlanId, StepNumber), message: to_agent::Message) -> bool {
        if !self.send(host, message) {
            return false;
        }
        if let Some(session) = self.by_host.get_mut(host) {
            session.sent.insert(step);
        }
        self.ever_sent.insert(step);
        true
    }

    /// Tells the host once that the step is not wanted any more.
    pub fn send_cancel(&mut self, host: &HostName, step: (PlanId, StepNumber), message: to_agent::Message) {
        if self
            .by_host
            .get_mut(host)
            .is_some_and(|session| session.cancelled.insert(step))
        {
            self.send(host, message);
        }
    }

    /// The step is to be sent again.
    pub fn unsend(&mut self, host: &HostName, step: (PlanId, StepNumber)) {
        if let Some(session) = self.by_host.get_mut(host) {
            session.sent.remove(&step);
        }
    }

    /// The host is to be told again that the step is not wanted.
    pub fn uncancel(&mut self, host: &HostName, step: (PlanId, StepNumber)) {
        if let Some(session) = self.by_host.get_mut(host) {
            session.cancelled.remove(&step);
        }
    }

    /// Sends; a stream that does not take it is ended.
    pub fn send(&mut self, host: &HostName, message: to_agent::Message) -> bool {
        let Some(session) = self.by_host.get(host) else {
            return false;
        };
        if session.to_agent.try_send(ToAgent { message: Some(message) }).is_ok() {
            return true;
        }
        tracing::warn!(node = %host, "stream ended: it takes no more messages");
        session.ended.cancel();
        self.by_host.remove(host);
        false
    }

    /// Forgets steps of plans that have settled.
    pub fn forget_steps(&mut self, keep: impl Fn(PlanId) -> bool) {
        self.ever_sent.retain(|(plan, _)| keep(*plan));
        for session in self.by_host.values_mut() {
            session.sent.retain(|(plan, _)| keep(*plan));
            session.cancelled.retain(|(plan, _)| keep(*plan));
        }
    }

    /// Ends every stream: this coordinator stops, or leads no more.
    pub fn end_all(&mut self) {
        for (_, session) in self.by_host.drain() {
            session.ended.cancel();
        }
    }
}
