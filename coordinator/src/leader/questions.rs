//! Asking agents: once a second, fully once a minute, and at once when somebody needs to know.

use std::collections::BTreeMap;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{Generation, HostName};
use clusterctl_proto::observe::Observation;
use clusterctl_proto::wire::agent::{Answer, Name, ToAgent, from_agent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Leader;
use super::sessions::{PeerFacts, Rebuild, SessionId};
use super::twins::Speaker;
use crate::model::Model;
use crate::planner::heal;

const EVERY: Duration = Duration::from_millis(950);
const FULL_EVERY: Duration = Duration::from_secs(60);
/// Longest wait of one round of questions for a quorum to confirm that this node leads.
const CONFIRM: Duration = Duration::from_millis(500);

/// Slow facts that are younger than this are not asked for again by a command.
const FRESH: Duration = Duration::from_secs(10);

impl Leader {
    /// Asks every host whose turn it is. One whose agent has lost its ledger is told the committed index, if this node certainly leads.
    pub(super) async fn ask_due(&self, now: Instant) {
        self.settle_streams(now);
        let due: Vec<(HostName, SessionId, bool)> = {
            let sessions = self.sessions();
            let due = |host: HostName| {
                let streams = sessions.due(&host, now, EVERY, FULL_EVERY);
                streams.into_iter().map(move |(id, full)| (host.clone(), id, full))
            };
            sessions.hosts().into_iter().flat_map(due).collect()
        };
        // Before the index is read: it must be of a time after the stream was opened.
        let lost: BTreeMap<HostName, SessionId> = {
            let (sessions, seen) = (self.sessions(), self.seen());
            let lost = |(host, ..): &(HostName, SessionId, bool)| {
                let id = sessions.current(host).filter(|id| seen.lost_ledger(host, *id))?;
                Some((host.clone(), id))
            };
            due.iter().filter_map(lost).collect()
        };
        let committed = if lost.is_empty() { None } else { self.committed().await };
        for (host, id, full) in due {
            let names = if full {
                self.node.state().read(|model| neighbours(model, &host))
            } else {
                Vec::new()
            };
            let hands_off = self.hands_off(&host);
            let lessons = self.lessons_for(&host);
            let mut sessions = self.sessions();
            sessions.teach(&host, &lessons);
            let stands = sessions.current(&host) == Some(id);
            let committed = committed.filter(|_| stands && lost.get(&host) == Some(&id));
            let rebuild = committed.map(|committed| Rebuild {
                committed,
                last_words_json: serde_json::to_vec(&self.seen().last_words(&host)).unwrap_or_default(),
            });
            sessions.ask_on(&host, id, now, full, names, hands_off, rebuild);
        }
    }

    /// The committed index, after a quorum has confirmed that this node leads; none: it may be deposed.
    async fn committed(&self) -> Option<Generation> {
        let index = match tokio::time::timeout(CONFIRM, self.ensure_linearizable()).await {
            Ok(Ok(confirmed)) => confirmed.index,
            Ok(Err(failure)) => {
                tracing::warn!(code = failure.code, "a lost ledger cannot be rebuilt now: {failure}");
                return None;
            }
            Err(_) => {
                tracing::warn!("a lost ledger cannot be rebuilt now: the coordinators have no quorum");
                return None;
            }
        };
        let epoch = self.node.state().read(|model| model.epoch);
        Some(Generation { epoch, index })
    }

    /// Takes a new stream of this host. Where an older one answered seconds ago both are asked at once, and the caller wakes the loop
    /// when the older one has lost its say, after [`super::twins::SILENT`].
    pub fn opened(
        &self,
        host: &HostName,
        peer: PeerFacts,
        speaker: Speaker,
        to_agent: mpsc::Sender<ToAgent>,
        ended: CancellationToken,
    ) -> SessionId {
        let now = Instant::now();
        self.seen().speaks_with(host, &peer.key_sha256);
        let (id, two) = {
            let mut sessions = self.sessions();
            let id = sessions.open(host, peer, speaker, now, to_agent, ended);
            (id, sessions.has_two(host))
        };
        if two {
            let hands_off = self.hands_off(host);
            let lessons = self.lessons_for(host);
            let mut sessions = self.sessions();
            sessions.teach(host, &lessons);
            sessions.ask(host, now, false, Vec::new(), hands_off);
        }
        self.wake();
        id
    }

    /// Judges which stream speaks for each host now, and counts what the one that took over has answered before.
    pub(super) fn settle_streams(&self, now: Instant) {
        let mut sessions = self.sessions();
        sessions.settle(now);
        self.seen().settle(|host| sessions.holder(host));
    }

    /// Asks these hosts fully, now, and waits for the answers of those that are connected, no longer than `longest`.
    ///
    /// `also` are further names that each is to resolve. Hosts whose slow facts are fresh and complete are not asked, unless
    /// `always`.
    pub async fn ask_fully(&self, hosts: &[HostName], also: &[HostName], always: bool, longest: Duration) {
        let now = Instant::now();
        let mut waiting: Vec<HostName> = Vec::new();
        let mut answers = self.answers.subscribe();
        for host in hosts {
            let names = self.node.state().read(|model| {
                let mut names = neighbours(model, host);
                for other in also {
                    add(&mut names, model, other);
                }
                names
            });
            let fresh = {
                let seen = self.seen();
                let young = seen
                    .full_asked(host)
                    .is_some_and(|asked| now.saturating_duration_since(asked) < FRESH);
                young && names.iter().all(|name| seen.resolves(host, &name.name))
            };
            let hands_off = self.hands_off(host);
            if (always || !fresh) && self.sessions().ask(host, now, true, names, hands_off).is_some() {
                waiting.push(host.clone());
            }
        }
        let all_told = async {
            loop {
                answers.borrow_and_update();
                {
                    let (sessions, seen) = (self.sessions(), self.seen());
                    waiting.retain(|host| {
                        sessions.current(host).is_some() && seen.full_asked(host).is_none_or(|asked| asked < now)
                    });
                }
                if waiting.is_empty() || answers.changed().await.is_err() {
                    return;
                }
            }
        };
        // Who does not answer in time is not certain, and whoever decides sees that.
        let _ = tokio::time::timeout(longest, all_told).await;
    }

    /// Until when the agent of this host is to do nothing by itself: said in every question.
    pub(super) fn hands_off(&self, host: &HostName) -> Option<i64> {
        self.node.state().read(|model| {
            let cluster = model.cluster_of(host);
            cluster.and_then(|cluster| heal::hands_off(cluster, host, super::proposer::now()))
        })
    }

    /// A message came on this stream. Of a machine that does not hold the say of its host nothing counts but that it answers.
    pub async fn take(
        &self,
        host: &HostName,
        session: SessionId,
        message: Option<from_agent::Message>,
    ) -> Result<(), Failure> {
        let holds = self.sessions().holder(host) == Some(session);
        match message {
            Some(from_agent::Message::Answer(answer)) => self.answer(host, session, &answer),
            Some(from_agent::Message::Progress(progress)) if holds => {
                self.progress(host, progress);
                Ok(())
            }
            Some(from_agent::Message::Outcome(outcome)) if holds => self.outcome(host, outcome).await,
            Some(from_agent::Message::NeverBegun(word)) if holds => self.never_begun(host, word).await,
            Some(
                from_agent::Message::Progress(_) | from_agent::Message::Outcome(_) | from_agent::Message::NeverBegun(_),
            ) => {
                tracing::warn!(node = %host, "ignored a report of another machine that speaks as {host}");
                Ok(())
            }
            // `confirm` is answered in a task of its own (`confirm.rs`).
            Some(from_agent::Message::Hello(_) | from_agent::Message::Confirm(_)) | None => Ok(()),
        }
    }

    /// An answer came on this stream.
    pub fn answer(&self, host: &HostName, session: SessionId, answer: &Answer) -> Result<(), Failure> {
        let (asked, holds) = {
            let mut sessions = self.sessions();
            let Some(asked) = sessions.answered(host, session, answer.id, Instant::now()) else {
                // Of a question that was given up, or of an older stream.
                return Ok(());
            };
            (asked, sessions.holder(host) == Some(session))
        };
        let observation: Observation = serde_json::from_slice(&answer.observation_json)
            .map_err(|error| Failure::new("bad_observation", format!("the agent's answer cannot be read: {error}")))?;
        let foreign = self.foreign(&observation.ledger);
        let mut seen = self.seen();
        if holds {
            seen.record(host, session, asked, observation);
            seen.judge(host, foreign);
        } else {
            seen.set_aside(host, session, asked, observation);
        }
        drop(seen);
        self.answers.send_modify(|count| *count = count.wrapping_add(1));
        // Where nothing is wanted the tick is soon enough.
        if self
            .node
            .state()
            .read(|model| model.active_operations().next().is_some())
        {
            self.wake();
        }
        Ok(())
    }
}

/// Names that a host needs to resolve: everybody in its cluster, and its own.
fn neighbours(model: &Model, host: &HostName) -> Vec<Name> {
    let mut names = Vec::new();
    add(&mut names, model, host);
    if let Some(cluster) = model.cluster_of(host) {
        for other in cluster.members.keys().chain(cluster.routers.keys()) {
            add(&mut names, model, other);
        }
    }
    names
}

fn add(names: &mut Vec<Name>, model: &Model, host: &HostName) {
    if names.iter().any(|name| name.name == host.as_str()) {
        return;
    }
    if let Some(known) = model.hosts.get(host) {
        let addresses = known.addresses.iter().map(ToString::to_string).collect();
        names.push(Name {
            name: host.to_string(),
            addresses,
        });
    }
}
