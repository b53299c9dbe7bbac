//! Streams of agents: which one speaks for each host, and what was sent on it.
//!
//! Fed by `api::agent`, used by the loop in `work`. Times come from the caller. Nothing here waits: a stream that does not
//! take a message is ended. A second stream under one identity does not simply replace the first: `twins` judges the two, and while
//! they are in doubt no stream speaks for the host, so nothing is ordered there and no answer is certain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clusterctl_proto::ids::{Generation, HostName, PlanId, StepNumber};
use clusterctl_proto::wire::agent::{Name, Question, Stay, ToAgent, to_agent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::twins::{self, History, Life, Ruling, SILENT, Speaker};
use crate::planner::Doubt;

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

impl Asked {
    fn is_lost(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= LOST_AFTER
    }
}

/// One stream.
struct Session {
    id: SessionId,
    peer: PeerFacts,
    speaker: Speaker,
    /// When its newest answer came; before the first one, when it was opened.
    heard: Instant,
    /// It has answered a question that was asked after `newer` had opened.
    answers: bool,
    to_agent: mpsc::Sender<ToAgent>,
    ended: CancellationToken,
    questions: BTreeMap<u64, Asked>,
    last_asked: Option<Instant>,
    last_full: Option<Instant>,
    sent: BTreeSet<(PlanId, StepNumber)>,
    cancelled: BTreeSet<(PlanId, StepNumber)>,
    /// What is known of the data of its cluster, said in every question.
    lessons: Lessons,
}

/// On what an agent that has lost its ledger rebuilds it.
#[derive(Debug)]
pub struct Rebuild {
    /// The leader's committed index.
    pub committed: Generation,
    /// [`clusterctl_proto::observe::LastWords`] as JSON.
    pub last_words_json: Vec<u8>,
}

/// What an agent is told with every question of its cluster's data.
#[derive(Clone, Default, Debug)]
pub struct Lessons {
    /// The lineages, as JSON; empty: none is recorded.
    pub lineages_json: Vec<u8>,
    /// Members that vouch for what they gave to others.
    pub stays: Vec<Stay>,
}

impl Session {
    fn due(&self, now: Instant, every: Duration, full_every: Duration) -> Option<bool> {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        // One that is lost is waited for no more: it is forgotten when the next one is asked.
        let open = || self.questions.values().filter(|asked| !asked.is_lost(now));
        let waiting_for_full = open().any(|asked| asked.full);
        if !waiting_for_full && since(self.last_full).is_none_or(|age| age >= full_every) {
            return Some(true);
        }
        // An agent that is slow is not asked faster than it answers.
        let plain = open().filter(|asked| !asked.full).count();
        (plain < 3 && since(self.last_asked).is_none_or(|age| age >= every)).then_some(false)
    }

    fn life(&self) -> Life {
        Life {
            heard: self.heard,
            asked: self.questions.values().map(|asked| asked.at).min(),
            answers: self.answers,
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        self.speaker.is_same_process(&other.speaker)
    }

    fn take(&self, message: to_agent::Message) -> bool {
        self.to_agent.try_send(ToAgent { message: Some(message) }).is_ok()
    }
}

/// The streams under one host's identity.
struct Streams {
    older: Session,
    /// Came while `older` had answered less than [`SILENT`] before.
    newer: Option<Session>,
    /// Highest question id when `newer` opened: an answer of `older` to a later question proves that there are two machines.
    newer_since: u64,
    /// `newer` holds the say, as a reconnect of the same process.
    newer_holds: bool,
    /// When both answered last, and who they are.
    both: Option<(Instant, Vec<String>)>,
    doubt: Option<Doubt>,
}

impl Streams {
    fn of(session: Session) -> Self {
        Self {
            older: session,
            newer: None,
            newer_since: 0,
            newer_holds: false,
            both: None,
            doubt: None,
        }
    }

    /// The stream that speaks, or would if there were no doubt.
    fn holder(&self) -> &Session {
        match &self.newer {
            Some(newer) if self.newer_holds => newer,
            _ => &self.older,
        }
    }

    fn holder_mut(&mut self) -> &mut Session {
        match &mut self.newer {
            Some(newer) if self.newer_holds => newer,
            _ => &mut self.older,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.older).chain(&self.newer)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        std::iter::once(&mut self.older).chain(&mut self.newer)
    }

    /// Adds a stream; one that has lost its say, or was replaced by its own process, ends.
    fn add(&mut self, session: Session, last_question: u64) {
        match &self.newer {
            Some(newer) if !newer.is_of(&session) && self.older.is_of(&session) => {
                self.older.ended.cancel();
                self.older = session;
            }
            _ => {
                if let Some(newer) = self.newer.take() {
                    if newer.is_of(&session) && newer.is_of(&self.older) && !self.older.answers {
                        // The same process once more: the stream before is the one that may still prove that there are two.
                        std::mem::replace(&mut self.older, newer).ended.cancel();
                    } else {
                        newer.ended.cancel();
                    }
                }
                self.newer = Some(session);
            }
        }
        self.newer_since = last_question;
        self.newer_holds = false;
        self.all_mut().for_each(|session| session.answers = false);
    }

    /// Judges who speaks now.
    fn settle(&mut self, host: &HostName, alternating: Option<Vec<String>>, now: Instant) {
        let mut doubt = None;
        if let Some(newer) = &self.newer {
            let (reconnect, proven) = (newer.is_of(&self.older), self.both.is_some());
            match twins::judge(&self.older.life(), &newer.life(), reconnect, proven, now) {
                Ruling::Replaced => self.replace(),
                Ruling::Older => {
                    self.newer_holds = false;
                    if now.saturating_duration_since(newer.heard) >= LOST_AFTER {
                        newer.ended.cancel();
                        self.newer = None;
                    }
                }
                Ruling::Newer => self.newer_holds = true,
                Ruling::Contested => doubt = Some(Doubt::Contested),
                Ruling::Both => {
                    let speakers: Vec<String> = self.all().map(|session| session.speaker.to_string()).collect();
                    if self.both.is_none() {
                        tracing::error!(node = %host, ?speakers, "two machines speak as {host}");
                    }
                    self.both = Some((now, speakers));
                }
            }
        }
        self.both
            .take_if(|(at, _)| now.saturating_duration_since(*at) >= SILENT);
        let both = self.both.as_ref().map(|(_, speakers)| speakers.clone());
        self.doubt = both.or(alternating).map(Doubt::Twins).or(doubt);
    }

    fn replace(&mut self) {
        if let Some(newer) = self.newer.take() {
            std::mem::replace(&mut self.older, newer).ended.cancel();
        }
        self.newer_holds = false;
    }
}

/// Every stream.
#[derive(Default)]
pub struct Sessions {
    by_host: BTreeMap<HostName, Streams>,
    /// Who has spoken for a host, also while it has no stream.
    histories: BTreeMap<HostName, History>,
    next_session: SessionId,
    next_question: u64,
    ever_sent: BTreeSet<(PlanId, StepNumber)>,
}

impl Sessions {
    /// A new stream of this host. An older one ends at once if it was silent; else the two are judged by [`Self::settle`], and the
    /// caller asks both ([`Self::ask`]).
    pub fn open(
        &mut self,
        host: &HostName,
        peer: PeerFacts,
        speaker: Speaker,
        now: Instant,
        to_agent: mpsc::Sender<ToAgent>,
        ended: CancellationToken,
    ) -> SessionId {
        self.next_session += 1;
        self.histories.entry(host.clone()).or_default().opened(&speaker, now);
        let session = Session {
            id: self.next_session,
            peer,
            speaker,
            heard: now,
            answers: false,
            to_agent,
            ended,
            questions: BTreeMap::new(),
            last_asked: None,
            last_full: None,
            sent: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            lessons: Lessons::default(),
        };
        match self.by_host.get_mut(host) {
            Some(streams) => streams.add(session, self.next_question),
            None => {
                self.by_host.insert(host.clone(), Streams::of(session));
            }
        }
        self.settle_host(host, now);
        self.next_session
    }

    /// Judges for every host which stream speaks now.
    pub fn settle(&mut self, now: Instant) {
        let hosts = self.hosts();
        hosts.iter().for_each(|host| self.settle_host(host, now));
    }

    fn settle_host(&mut self, host: &HostName, now: Instant) {
        let alternating = self.histories.get(host).and_then(|history| history.alternating(now));
        if let Some(streams) = self.by_host.get_mut(host) {
            streams.settle(host, alternating, now);
        }
    }

    /// This stream ended; others of the host stay.
    pub fn close(&mut self, host: &HostName, id: SessionId) {
        let Some(streams) = self.by_host.get_mut(host) else {
            return;
        };
        if streams.older.id == id {
            streams.older.ended.cancel();
            if streams.newer.is_some() {
                streams.replace();
                // With one stream left nothing is contested; an alarm lasts until `settle` ends it.
                streams.doubt.take_if(|doubt| *doubt == Doubt::Contested);
            } else {
                self.by_host.remove(host);
            }
        } else if let Some(newer) = streams.newer.take_if(|newer| newer.id == id) {
            newer.ended.cancel();
            streams.newer_holds = false;
            streams.doubt.take_if(|doubt| *doubt == Doubt::Contested);
        }
    }

    /// Ends streams whose host may not speak any more.
    pub fn end_unless(&mut self, keep: impl Fn(&HostName, &PeerFacts) -> bool) {
        let mut gone = Vec::new();
        for (host, streams) in &self.by_host {
            let lost = streams.all().filter(|session| !keep(host, &session.peer));
            gone.extend(lost.map(|session| (host.clone(), session.id)));
        }
        for (host, id) in gone {
            tracing::warn!(node = %host, "stream of {host} ended: the host is not enrolled with this certificate any more");
            self.close(&host, id);
        }
    }

    /// The stream that speaks for the host; none while two are in doubt: nothing is ordered then, and no answer is certain.
    pub fn current(&self, host: &HostName) -> Option<SessionId> {
        let streams = self.by_host.get(host)?;
        streams.doubt.is_none().then(|| streams.holder().id)
    }

    /// The stream whose messages are taken: the one that speaks, or spoke until the host came into doubt.
    pub fn holder(&self, host: &HostName) -> Option<SessionId> {
        self.by_host.get(host).map(|streams| streams.holder().id)
    }

    /// Why no stream speaks for the host, although it has one.
    pub fn doubt(&self, host: &HostName) -> Option<&Doubt> {
        self.by_host.get(host)?.doubt.as_ref()
    }

    /// Whether the host has more than one stream.
    pub fn has_two(&self, host: &HostName) -> bool {
        self.by_host.get(host).is_some_and(|streams| streams.newer.is_some())
    }

    /// Hosts with a stream.
    pub fn hosts(&self) -> Vec<HostName> {
        self.by_host.keys().cloned().collect()
    }

    /// Streams of this host that are due for a question, each with its kind: full or not.
    pub fn due(&self, host: &HostName, now: Instant, every: Duration, full_every: Duration) -> Vec<(SessionId, bool)> {
        let streams = self.by_host.get(host).into_iter().flat_map(Streams::all);
        streams
            .filter_map(|session| Some((session.id, session.due(now, every, full_every)?)))
            .collect()
    }

    /// Asks the host; where it has two streams the other one is asked briefly, too. Answers the question's id, or nothing when there
    /// is no stream that takes it.
    pub fn ask(
        &mut self,
        host: &HostName,
        now: Instant,
        full: bool,
        names: Vec<Name>,
        hands_off: Option<i64>,
    ) -> Option<u64> {
        let holder = self.holder(host)?;
        let others = self.by_host.get(host).into_iter().flat_map(Streams::all);
        let others: Vec<SessionId> = others.map(|session| session.id).filter(|id| *id != holder).collect();
        for other in others {
            self.ask_on(host, other, now, false, Vec::new(), hands_off, None);
        }
        self.ask_on(host, holder, now, full, names, hands_off, None)
    }

    /// Asks on this stream; an agent that has lost its ledger is told the committed index.
    #[allow(clippy::too_many_arguments)]
    pub fn ask_on(
        &mut self,
        host: &HostName,
        id: SessionId,
        now: Instant,
        full: bool,
        names: Vec<Name>,
        hands_off: Option<i64>,
        rebuild: Option<Rebuild>,
    ) -> Option<u64> {
        let mut sessions = self.by_host.get_mut(host)?.all_mut();
        let session = sessions.find(|session| session.id == id)?;
        session.questions.retain(|_, asked| !asked.is_lost(now));
        self.next_question += 1;
        let question = self.next_question;
        session.questions.insert(question, Asked { at: now, full });
        session.last_asked = Some(now);
        if full {
            session.last_full = Some(now);
        }
        let asked = session.take(to_agent::Message::Question(Question {
            id: question,
            full,
            names,
            hands_off: hands_off.is_some(),
            hands_off_until_ms: hands_off.unwrap_or(0),
            lineages_json: session.lessons.lineages_json.clone(),
            stays: session.lessons.stays.clone(),
            committed_epoch: rebuild.as_ref().map_or(0, |rebuild| rebuild.committed.epoch),
            committed_index: rebuild.as_ref().map_or(0, |rebuild| rebuild.committed.index),
            last_words_json: rebuild.map(|rebuild| rebuild.last_words_json).unwrap_or_default(),
        }));
        drop(sessions);
        if !asked {
            self.end_full(host, id);
        }
        asked.then_some(question)
    }

    /// From now on every question to this host carries these.
    pub fn teach(&mut self, host: &HostName, lessons: &Lessons) {
        for session in self.by_host.get_mut(host).into_iter().flat_map(Streams::all_mut) {
            session.lessons.clone_from(lessons);
        }
    }

    /// The answer to this question came on this stream: when it was asked.
    pub fn answered(&mut self, host: &HostName, id: SessionId, question: u64, now: Instant) -> Option<Instant> {
        let streams = self.by_host.get_mut(host)?;
        let since = streams.newer_since;
        let session = streams.all_mut().find(|session| session.id == id)?;
        let asked = session.questions.remove(&question)?;
        session.heard = now;
        session.answers |= question > since;
        self.settle_host(host, now);
        Some(asked.at)
    }

    /// The step was sent on the stream that stands now.
    pub fn is_sent(&self, host: &HostName, step: (PlanId, StepNumber)) -> bool {
        self.by_host
            .get(host)
            .is_some_and(|streams| streams.holder().sent.contains(&step))
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
        if let Some(streams) = self.by_host.get_mut(host) {
            streams.holder_mut().sent.insert(step);
        }
        self.ever_sent.insert(step);
        true
    }

    /// Tells the host once that the step is not wanted any more.
    pub fn send_cancel(&mut self, host: &HostName, step: (PlanId, StepNumber), message: to_agent::Message) {
        if self.current(host).is_none() {
            return;
        }
        if self
            .by_host
            .get_mut(host)
            .is_some_and(|streams| streams.holder_mut().cancelled.insert(step))
        {
            self.send(host, message);
        }
    }

    /// The step is to be sent again.
    pub fn unsend(&mut self, host: &HostName, step: (PlanId, StepNumber)) {
        if let Some(streams) = self.by_host.get_mut(host) {
            streams.holder_mut().sent.remove(&step);
        }
    }

    /// The host is to be told again that the step is not wanted.
    pub fn uncancel(&mut self, host: &HostName, step: (PlanId, StepNumber)) {
        for session in self.by_host.get_mut(host).into_iter().flat_map(Streams::all_mut) {
            session.cancelled.remove(&step);
        }
    }

    /// Sends on the stream that speaks; a stream that does not take it is ended. False while none speaks.
    pub fn send(&mut self, host: &HostName, message: to_agent::Message) -> bool {
        let Some(id) = self.current(host) else {
            return false;
        };
        let sent = self
            .by_host
            .get(host)
            .is_some_and(|streams| streams.holder().take(message));
        if !sent {
            self.end_full(host, id);
        }
        sent
    }

    fn end_full(&mut self, host: &HostName, id: SessionId) {
        tracing::warn!(node = %host, "stream of {host} ended: it takes no more messages");
        self.close(host, id);
    }

    /// Forgets steps of plans that have settled.
    pub fn forget_steps(&mut self, keep: impl Fn(PlanId) -> bool) {
        self.ever_sent.retain(|(plan, _)| keep(*plan));
        for session in self.by_host.values_mut().flat_map(Streams::all_mut) {
            session.sent.retain(|(plan, _)| keep(*plan));
            session.cancelled.retain(|(plan, _)| keep(*plan));
        }
    }

    /// Ends every stream: this coordinator stops, or leads no more.
    pub fn end_all(&mut self) {
        for streams in std::mem::take(&mut self.by_host).into_values() {
            streams.all().for_each(|session| session.ended.cancel());
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
