//! What the agent does without an order (safety rule 8): watches the bootstrap flag and that a member which is out takes no writes
//! (`settings.rs`), settles debts of a START that was aborted (`debts.rs`), and, while no coordinator leads it, starts a
//! mysqld that has failed and brings its server back into its *live* group. While its server is in the group, it tells the agents of
//! members that are out where the group's lineage branched off (`notice.rs`): nobody comes back alone without that.
//!
//! Spawned by `run.rs`. `decide.rs` says what, `act.rs` does it by the steps' own functions, one deed at a time and none while a
//! step runs. It never bootstraps a group, never clones, resets or stops a server that serves, never breaks a promise.

mod act;
mod backoff;
mod debts;
mod decide;
mod notice;
mod settings;
mod upgrade;
mod weight;

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, ServerUuid};
use clusterctl_proto::machine;
use clusterctl_proto::observe::{DataDirectory, MysqlFacts};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use act::Tools;

use crate::deeds::{self, Deeds};
use crate::hand_over::Note;
use crate::lineage::Lowered;
use crate::membership::Membership;
use crate::observe::Observer;
use crate::session::Contact;
use crate::steps::Done;
use decide::{Deed, Facts, Pauses};

const TICK: Duration = Duration::from_millis(1500);
/// Between tries that fail, at most.
const START_AGAIN: Duration = Duration::from_secs(300);
const REJOIN_AGAIN: Duration = Duration::from_secs(120);
/// How long a view is new: longer than agents need to look at their servers, and to hear each other.
const NEW_VIEW: Duration = Duration::from_secs(20);
/// Where nothing was tried since no group lives, or its lineage is not known yet: looking for one costs little, and it may come back any moment.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After a rejoin that succeeded and did not last.
const ONCE_MORE: Duration = Duration::from_secs(30);

/// The keeper.
pub struct Keeper {
    /// What deeds need.
    pub tools: Tools,
    /// Whether there is a coordinator.
    pub contact: Arc<Contact>,
    /// Sees the server.
    pub observer: Arc<Observer>,
    /// Where deeds are noted.
    pub deeds: Arc<Deeds>,
}

/// A deed under way.
struct Running {
    deed: Deed,
    task: JoinHandle<Result<Done, Failure>>,
    since: Instant,
}

/// A lineage notice, and where it is left and held.
struct Left {
    what: (notice::Notice, Vec<String>),
    task: JoinHandle<()>,
}

/// What is remembered from look to look.
#[derive(Default)]
struct Memory {
    pauses: Pauses,
    running: Option<Running>,
    /// Lineage notices that are held at other members now.
    notices: Option<Left>,
    /// This member is the last to be elected, by this agent's doing.
    lowered: bool,
    /// Code of the last failure to set its weight: the same one is not told again.
    weight_failed: Option<String>,
    /// Settings that must hold.
    watched: settings::Watched,
    /// Code of the last failure to settle a debt: the same one is not logged again.
    debt_failed: Option<String>,
    /// When what a copy may have left at its donor could not be ended.
    donor_tried: Option<Instant>,
    /// The end of the last deed: what was seen before it counts no more.
    ended: Option<Instant>,
    /// The view that the server was seen in last, and since when.
    view: Option<(String, Instant)>,
    /// The bootstrap flag was looked at, since this agent started.
    flag_looked_at: bool,
    /// The failures that were noted last, of starting and of rejoining: the same one is not noted again.
    told: [Option<String>; 2],
}

impl Memory {
    /// The server's view is another one than a moment ago; remembers it.
    fn is_new(&mut self, seen: &MysqlFacts) -> bool {
        let view = seen.server.as_ref().and_then(|server| server.group.as_ref());
        let id = view.map(|view| view.view_id.as_str()).unwrap_or_default();
        if self.view.as_ref().is_none_or(|(known, _)| known != id) {
            self.view = Some((id.to_owned(), Instant::now()));
        }
        self.view.as_ref().is_some_and(|(_, since)| since.elapsed() < NEW_VIEW)
    }
}

impl Keeper {
    /// Runs for ever.
    pub async fn run(self) {
        upgrade::units(&*self.tools.host, &self.tools.config).await;
        let mut memory = Memory::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look(&mut memory).await;
        }
    }

    async fn look(&self, memory: &mut Memory) {
        let state_dir = &self.tools.config.state_dir;
        if let Ok(Some(note)) = Note::take(&*self.tools.host, state_dir).await {
            self.deeds.note_at(note.at_ms, deeds::HANDED_OVER, note.text);
        }
        if self.contact.hands_off()
            && let Some(running) = &memory.running
        {
            running.task.abort();
        }
        if let Some(running) = memory.running.take_if(|running| running.task.is_finished()) {
            self.ended(running, memory).await;
        }
        let oldest = memory.ended.map_or(TICK, |at| TICK.min(at.elapsed()));
        let seen = self.observer.server(oldest).await;
        decide::settle(&seen, &mut memory.pauses, Instant::now());
        let membership = match Membership::read(&*self.tools.host, state_dir).await {
            Ok(membership) => membership,
            Err(error) => {
                tracing::debug!(%error, "the membership cannot be read");
                None
            }
        };
        let may_rejoin = membership
            .as_ref()
            .map(|membership| self.tools.ledger.may_rejoin_alone(&membership.cluster));
        let facts = Facts {
            server: &seen,
            step_runs: !self.tools.runner.running().is_empty(),
            deed_runs: memory.running.is_some(),
            hands_off: self.contact.hands_off(),
            flag_looked_at: memory.flag_looked_at,
            new_view: memory.is_new(&seen),
            alone_for: self.contact.alone_for(),
            membership: membership.as_ref(),
            may_rejoin: matches!(may_rejoin, Some(Ok(_))),
        };
        self.debts(&facts, memory).await;
        self.left_at_donor(&facts, memory).await;
        self.notices(&facts, memory);
        self.donors(&facts).await;
        self.weight(&facts, memory).await;
        self.settings(&facts, memory).await;
        let deed = decide::decide(&facts, &memory.pauses, Instant::now());
        if deed == Deed::TellAstray
            && let Some(failure) = decide::astray(&facts)
        {
            self.tell_once(&mut memory.told[1], deeds::REJOIN_FAILED, &failure);
        }
        let task = match (deed, cluster(&seen), membership) {
            (Deed::ClearFlag, ..) => return self.clear_flag(memory).await,
            (Deed::StartServer, Some(cluster), _) => self.start_server(cluster),
            (Deed::Rejoin, _, Some(membership)) => self.rejoin(membership),
            (Deed::TellForbidden, ..) => {
                if let Some(Err(failure)) = &may_rejoin {
                    self.tell_once(&mut memory.told[1], deeds::REJOIN_FAILED, failure);
                }
                return;
            }
            (Deed::Nothing | Deed::TellAstray | Deed::StartServer | Deed::Rejoin, ..) => return,
        };
        let since = Instant::now();
        memory.running = Some(Running { deed, task, since });
    }

    async fn clear_flag(&self, memory: &mut Memory) {
        match act::clear_flag(&self.tools).await {
            Ok(None) => {}
            Ok(Some(was_on)) => {
                memory.flag_looked_at = true;
                if was_on {
                    self.deeds.note(
                        deeds::FLAG_CLEARED,
                        "group_replication_bootstrap_group was ON while nothing bootstrapped: set OFF",
                    );
                }
            }
            Err(failure) => tracing::warn!(%failure, "group_replication_bootstrap_group could not be looked at"),
        }
    }

    fn start_server(&self, cluster: ClusterName) -> JoinHandle<Result<Done, Failure>> {
        let tools = self.tools.clone();
        machine::spawn(async move { act::start_server(&tools, &cluster).await })
    }

    fn rejoin(&self, membership: Membership) -> JoinHandle<Result<Done, Failure>> {
        let (tools, contact) = (self.tools.clone(), Arc::clone(&self.contact));
        let alone = move || contact.alone_for().is_some() && !contact.hands_off();
        machine::spawn(async move { act::rejoin(&tools, &membership, alone).await })
    }

    /// Leaves lineage notices, where any are due, without waiting for their end; other ones at once where that changes.
    fn notices(&self, facts: &Facts<'_>, memory: &mut Memory) {
        let due = facts.membership.and_then(|membership| {
            let record = self.tools.ledger.lineage(&membership.cluster).ok()?;
            let what = notice::due(facts, &record)?;
            Some((what, membership.group.account.user.clone()))
        });
        let held = memory.notices.take_if(|left| !left.task.is_finished());
        memory.notices = match (due, held) {
            (Some((what, _)), Some(left)) if left.what == what => Some(left),
            (due, held) => {
                if let Some(left) = held {
                    left.task.abort();
                }
                due.map(|(what, user)| {
                    let (tools, (notice, addresses)) = (self.tools.clone(), what.clone());
                    let task = machine::spawn(async move {
                        notice::leave(&tools, &user, &notice, &addresses).await;
                    });
                    Left { what, task }
                })
            }
        };
    }

    /// Those who gave this member what it lacked vouch for it by their notices, too: also while no coordinator tells it.
    async fn donors(&self, facts: &Facts<'_>) {
        let Some(membership) = facts.membership else { return };
        let cluster = &membership.cluster;
        let record = self.tools.ledger.lineage(cluster);
        if !record.is_ok_and(|record| record.has_donors()) {
            return;
        }
        match notice::stays(&self.tools, cluster).await {
            Ok(stays) => self.observer.vouched(cluster, stays).await,
            Err(error) => tracing::debug!(%error, "lineage notices cannot be read"),
        }
    }

    /// While its data are unproven this member is the last to be elected; it gets its weight back when they are proven. Its weight is on
    /// record before it is lowered, so an agent that starts meanwhile gives it back, and nobody's own setting is touched. Also while an
    /// operator wants the host left alone: that is when people start members by hand.
    async fn weight(&self, facts: &Facts<'_>, memory: &mut Memory) {
        let cluster = facts.membership.map(|membership| &membership.cluster);
        let record = cluster.and_then(|cluster| Some((cluster, self.tools.ledger.lineage(cluster).ok()?)));
        let told = record.and_then(|(cluster, record)| {
            let uuid = facts.server.server.as_ref()?.server_uuid;
            let own = record.lowered.as_ref().filter(|lowered| lowered.server_uuid == uuid);
            Some((
                cluster,
                uuid,
                weight::is_last(facts, &record)?,
                own.map(|own| own.weight),
            ))
        });
        let Some((cluster, uuid, last, own)) = told else {
            // A mysqld that starts has its own weight again.
            memory.lowered = false;
            return;
        };
        if last == memory.lowered && (last || own.is_none()) {
            return;
        }
        match self.set_weight(cluster, uuid, last, own).await {
            Ok(()) => (memory.lowered, memory.weight_failed) = (last, None),
            Err(failure) => {
                if memory.weight_failed.as_ref() != Some(&failure.code) {
                    tracing::warn!(%failure, "group_replication_member_weight cannot be set");
                }
                memory.weight_failed = Some(failure.code);
            }
        }
    }

    async fn set_weight(
        &self,
        cluster: &ClusterName,
        server_uuid: ServerUuid,
        last: bool,
        own: Option<u64>,
    ) -> Result<(), Failure> {
        let note = |lowered: Option<Lowered>| {
            self.tools
                .ledger
                .change_lineage(cluster, move |record| record.lowered = lowered)
        };
        if last {
            if act::lower(&self.tools, |weight| note(Some(Lowered { server_uuid, weight }))).await? {
                let text = "nobody has measured this member's data: group_replication_member_weight is 0, so others are elected before it";
                self.deeds.note(deeds::LAST_ELECTED, text);
            }
        } else if let Some(own) = own {
            act::restore_weight(&self.tools, own).await?;
            note(None).await?;
        }
        Ok(())
    }

    async fn ended(&self, running: Running, memory: &mut Memory) {
        let took = running.since.elapsed().as_secs_f64();
        memory.ended = Some(Instant::now());
        self.observer.acted();
        let result = match running.task.await {
            Ok(result) => result,
            // hands off was said in the middle: no failure, and nothing to wait for
            Err(ended) if ended.is_cancelled() => {
                return tracing::info!(deed = ?running.deed, "left unfinished: an operator wants this host left alone");
            }
            Err(error) => Err(Failure::new(
                "agent_bug",
                format!("what the agent did by itself ended early: {error}"),
            )),
        };
        let starts = running.deed == Deed::StartServer;
        let told = &mut memory.told[usize::from(!starts)];
        match result {
            Ok(Done::Unchanged) => *told = None,
            Ok(Done::Changed(what)) => {
                *told = None;
                // what has to be done again and again is done after pauses, too
                let (pause, longest) = if starts {
                    (&mut memory.pauses.start, START_AGAIN)
                } else {
                    (&mut memory.pauses.rejoin, ONCE_MORE)
                };
                pause.failed(Instant::now(), longest);
                let kind = if starts { deeds::SERVER_STARTED } else { deeds::REJOINED };
                self.deeds
                    .note(kind, format!("without a coordinator, in {took:.1} s: {what}"));
            }
            Err(failure) => {
                let now = Instant::now();
                if starts {
                    memory.pauses.start.failed(now, START_AGAIN);
                } else {
                    memory.pauses.rejoin.failed(now, again_after(&failure));
                }
                let kind = if starts {
                    deeds::START_FAILED
                } else {
                    deeds::REJOIN_FAILED
                };
                self.tell_once(told, kind, &failure);
            }
        }
    }

    fn tell_once(&self, told: &mut Option<String>, kind: &'static str, failure: &Failure) {
        let key = key(failure);
        if told.as_ref() != Some(&key) {
            *told = Some(key);
            self.deeds.note(kind, line(failure));
        }
    }
}

fn cluster(seen: &MysqlFacts) -> Option<ClusterName> {
    match &seen.data {
        DataDirectory::Ours { cluster } => cluster.clone(),
        _ => None,
    }
}

fn again_after(failure: &Failure) -> Duration {
    match failure.code.as_str() {
        // A notice may come any moment.
        "group_not_live" | "two_groups_live" | "rejoin_postponed" | "history_unknown" | "unproven_donor"
        | "too_late" => LOOK_AGAIN,
        _ => REJOIN_AGAIN,
    }
}

/// By what two failures are the same: of transactions that only this server has, which ones; else what went wrong, not its details.
fn key(failure: &Failure) -> String {
    let which = failure.facts.first().filter(|_| failure.code == "errant_transactions");
    format!("{} {}", failure.code, which.map_or("", String::as_str))
}

fn line(failure: &Failure) -> String {
    let facts: String = failure.facts.iter().map(|fact| format!("; {fact}")).collect();
    format!("without a coordinator: {failure}{facts}")
}

#[cfg(test)]
mod tests;
