//! What agents answered, aged from when they were asked. The leader's memory only: gone when it stops leading.
//!
//! Times come from the caller. A new stream voids what the old one told: it stays known, but is not certain any more
//! (safety rule 4).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{GroupView, HostFacts, LastWords, MemberState, Observation};
use tokio::time::Instant;

use super::sessions::SessionId;
use crate::planner::restored::ForeignOrders;
use crate::planner::{Doubt, Seen, Sight};

/// One host.
struct Answered {
    /// Shared with the planner, which changes none.
    observation: Arc<Observation>,
    host: Option<Arc<HostFacts>>,
    asked: Instant,
    full_asked: Option<Instant>,
    /// The stream of the newest full answer.
    full_session: Option<SessionId>,
    session: SessionId,
    /// Orders in its ledger that are not of this log.
    foreign: ForeignOrders,
    /// Since it answered, a member with a majority saw its group without it.
    missed: bool,
    /// What it had on record before it lost its ledger; empty where it has not.
    last_words: LastWords,
}

/// An answer of a stream that does not hold the say of its host.
struct Aside {
    session: SessionId,
    asked: Instant,
    observation: Observation,
}

/// Every host that answered since this leader leads.
#[derive(Default)]
pub struct SeenTable {
    hosts: BTreeMap<HostName, Answered>,
    aside: BTreeMap<HostName, Aside>,
    /// SHA-256 of the key with which each opened its newest stream.
    keys: BTreeMap<HostName, String>,
}

impl SeenTable {
    /// An answer to a question that was asked at `asked` on this stream.
    pub fn record(&mut self, host: &HostName, session: SessionId, asked: Instant, mut observation: Observation) {
        self.miss(asked, &observation);
        let full = observation.host.take().map(Arc::new);
        let full_asked = full.is_some().then_some(asked);
        let full_session = full.is_some().then_some(session);
        let Some(mut known) = self.hosts.remove(host) else {
            self.hosts.insert(
                host.clone(),
                Answered {
                    observation: Arc::new(observation),
                    host: full,
                    asked,
                    full_asked,
                    full_session,
                    session,
                    foreign: ForeignOrders::new(),
                    missed: false,
                    last_words: LastWords::new(),
                },
            );
            return;
        };
        if known.session == session && known.asked > asked {
            // Answers may overtake each other: an older one tells nothing new but its slow facts.
            keep_slow_facts(Arc::make_mut(&mut known.observation), &observation);
        } else {
            keep_slow_facts(&mut observation, &known.observation);
            if !observation.ledger.known {
                if known.observation.ledger.known {
                    known.last_words.clone_from(&known.observation.ledger.last_words);
                }
            } else {
                known.last_words.clear();
            }
            known.observation = Arc::new(observation);
            known.asked = asked;
            known.session = session;
            known.missed = false;
        }
        if full.is_some() {
            known.host = full;
            known.full_asked = full_asked;
            known.full_session = full_session;
        }
        self.hosts.insert(host.clone(), known);
    }

    /// Notes of others that were in the same group when they answered last: this one, which has a majority, sees it without them.
    fn miss(&mut self, asked: Instant, observation: &Observation) {
        let Some((name, view)) = inside(observation).filter(|(_, view)| view.has_quorum()) else {
            return;
        };
        for other in self.hosts.values_mut().filter(|other| other.asked < asked) {
            let uuid = other.observation.mysql.server.as_ref().map(|server| server.server_uuid);
            let was_in_it = in_view(&other.observation).is_some_and(|(other, _)| other.eq_ignore_ascii_case(name));
            let is_in_it = view.members.iter().any(|row| Some(row.server_uuid) == uuid);
            other.missed |= was_in_it && !is_in_it;
        }
    }

    /// An answer on a stream that does not hold the say of its host: kept until [`Self::settle`] finds that it does.
    pub fn set_aside(&mut self, host: &HostName, session: SessionId, asked: Instant, observation: Observation) {
        let newer = self
            .aside
            .get(host)
            .is_none_or(|aside| aside.session != session || aside.asked <= asked);
        // A full answer tells more, and is not asked for again soon.
        let full = |aside: &Aside| aside.session == session && aside.observation.host.is_some();
        if observation.host.is_some() || (newer && !self.aside.get(host).is_some_and(full)) {
            let aside = Aside {
                session,
                asked,
                observation,
            };
            self.aside.insert(host.clone(), aside);
        }
    }

    /// Records what was set aside of streams that hold the say now, forgets what is of none. `holder` tells which stream does.
    pub fn settle(&mut self, holder: impl Fn(&HostName) -> Option<SessionId>) {
        let hosts: Vec<HostName> = self.aside.keys().cloned().collect();
        for host in hosts {
            let holds = holder(&host);
            let over = |aside: &Aside| holds.is_none_or(|id| id == aside.session);
            if self.aside.get(&host).is_some_and(over)
                && let Some(aside) = self.aside.remove(&host)
                && holds.is_some()
            {
                self.record(&host, aside.session, aside.asked, aside.observation);
            }
        }
    }

    /// A stream was opened with this key. Of a machine that has another one than before nothing is known: the data may be others, too.
    pub fn speaks_with(&mut self, host: &HostName, key_sha256: &str) {
        let before = self.keys.insert(host.clone(), key_sha256.to_owned());
        if before.is_some_and(|before| before != key_sha256)
            && let Some(answered) = self.hosts.get_mut(host)
        {
            answered.last_words.clear();
            Arc::make_mut(&mut answered.observation).ledger.last_words.clear();
        }
    }

    /// What the host's newest ledger holds that is not of this log, judged when its answer arrived.
    pub fn judge(&mut self, host: &HostName, foreign: ForeignOrders) {
        if let Some(answered) = self.hosts.get_mut(host) {
            answered.foreign = foreign;
        }
    }

    /// When the question was asked that brought the newest full answer.
    pub fn full_asked(&self, host: &HostName) -> Option<Instant> {
        self.hosts.get(host)?.full_asked
    }

    /// When the question was asked that brought the newest answer.
    pub fn asked(&self, host: &HostName) -> Option<Instant> {
        self.hosts.get(host).map(|answered| answered.asked)
    }

    /// The host's own addresses, the preferred one first, as told in full on this stream.
    pub fn addresses(&self, host: &HostName, session: SessionId) -> Option<&[IpAddr]> {
        let answered = self
            .hosts
            .get(host)
            .filter(|answered| answered.full_session == Some(session))?;
        answered.host.as_ref().map(|facts| facts.addresses.as_slice())
    }

    /// Names that the newest full answer resolved.
    pub fn resolves(&self, host: &HostName, name: &str) -> bool {
        let facts = self.hosts.get(host).and_then(|answered| answered.host.as_ref());
        facts.is_some_and(|facts| facts.resolves.contains_key(name))
    }

    /// On this stream the agent has answered that its ledger is lost.
    pub fn lost_ledger(&self, host: &HostName, session: SessionId) -> bool {
        let answered = self.hosts.get(host).filter(|answered| answered.session == session);
        answered.is_some_and(|answered| answered.observation.ledger.is_lost())
    }

    /// What the agent had on record before it lost its ledger, in this leader's time.
    pub fn last_words(&self, host: &HostName) -> LastWords {
        let answered = self.hosts.get(host);
        answered.map(|answered| answered.last_words.clone()).unwrap_or_default()
    }

    /// What the planner is given; `current` tells which stream of a host stands.
    ///
    /// `doubt` tells why none does, although the host has streams.
    pub fn sight(
        &self,
        now: Instant,
        current: impl Fn(&HostName) -> Option<SessionId>,
        doubt: impl Fn(&HostName) -> Option<Doubt>,
    ) -> Sight {
        let seen = |(name, answered): (&HostName, &Answered)| {
            let age = |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
            let seen = Seen {
                observation: Arc::clone(&answered.observation),
                host: answered.host.clone(),
                host_age_ms: answered.full_asked.map_or(u64::MAX, age),
                age_ms: age(answered.asked),
                connected: current(name) == Some(answered.session),
                doubt: doubt(name),
                foreign: answered.foreign.clone(),
                missed: answered.missed,
            };
            (name.clone(), seen)
        };
        self.hosts.iter().map(seen).collect()
    }

    /// Forgets hosts that are enrolled no more.
    pub fn retain(&mut self, keep: impl Fn(&HostName) -> bool) {
        self.hosts.retain(|name, _| keep(name));
        self.aside.retain(|name, _| keep(name));
        self.keys.retain(|name, _| keep(name));
    }
}

/// The group that a server is in by its own word: its name and the view.
fn inside(observation: &Observation) -> Option<(&str, &GroupView)> {
    in_view(observation).filter(|(_, view)| matches!(view.state, MemberState::Online | MemberState::Recovering))
}

/// Also in ERROR, or on its way in or out.
fn in_view(observation: &Observation) -> Option<(&str, &GroupView)> {
    let server = observation.mysql.server.as_ref()?;
    let view = server.group.as_ref().filter(|view| !view.is_out())?;
    Some((server.group_name.as_str(), view))
}

/// Facts that only full answers carry stay known, as long as it is the same server.
fn keep_slow_facts(newer: &mut Observation, older: &Observation) {
    let (Some(new), Some(old)) = (&mut newer.mysql.server, &older.mysql.server) else {
        return;
    };
    if new.server_uuid != old.server_uuid {
        return;
    }
    let keep = |new: &mut Option<Vec<String>>, old: &Option<Vec<String>>| {
        if new.is_none() {
            new.clone_from(old);
        }
    };
    keep(&mut new.tables_without_key, &old.tables_without_key);
    keep(&mut new.tables_not_innodb, &old.tables_not_innodb);
    keep(&mut new.user_schemas, &old.user_schemas);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clusterctl_proto::observe::{LedgerFacts, MysqlFacts, RouterFacts};

    use super::*;

    fn answer(boot: &str, full: bool) -> Observation {
        Observation {
            boot_id: boot.to_owned(),
            agent_version: "0".to_owned(),
            ledger: LedgerFacts::default(),
            host: full.then(HostFacts::default),
            mysql: MysqlFacts::default(),
            router: RouterFacts::default(),
            own_deeds: Vec::new(),
        }
    }

    #[test]
    fn age_counts_from_the_question_and_a_reconnect_voids_certainty() {
        let (node, start) = ("node1".parse::<HostName>().expect("name"), Instant::now());
        let mut table = SeenTable::default();
        table.record(&node, 1, start, answer("a", true));
        let at = |seconds| start + Duration::from_secs(seconds);
        let see = |table: &SeenTable, seconds, session| {
            table
                .sight(at(seconds), |_| session, |_| None)
                .remove(&node)
                .expect("seen")
        };
        assert!(see(&table, 2, Some(1)).is_certain());
        assert!(!see(&table, 4, Some(1)).is_certain());
        assert!(!see(&table, 2, Some(2)).is_certain());
        assert!(!see(&table, 2, None).connected);
        assert!(see(&table, 2, Some(1)).host.is_some());

        table.record(&node, 2, at(5), answer("b", false));
        let seen = see(&table, 6, Some(2));
        assert!(seen.is_certain() && seen.host.is_some() && seen.observation.boot_id == "b");
        assert_eq!(table.full_asked(&node), Some(start));
    }

    /// Its agent is silent, and a person took the member out, elsewhere, and back: only its own next word tells what it is now.
    #[test]
    fn who_left_a_group_that_lives_on_is_missed_until_it_answers() {
        let (mut table, t0) = (SeenTable::default(), Instant::now());
        let sight = crate::planner::tests::stage::Stage::three().toy.sight();
        let names = ["node1", "node2", "node3"].map(|node| node.parse::<HostName>().unwrap());
        let says = |name: &HostName| Observation::clone(&sight[name].observation);
        let missed = |table: &SeenTable| -> Vec<String> {
            let sight = table.sight(t0, |_| None, |_| None);
            let missed = sight.iter().filter(|(_, seen)| seen.missed);
            missed.map(|(name, _)| name.to_string()).collect()
        };
        for name in &names {
            table.record(name, 1, t0, says(name));
        }
        assert_eq!(missed(&table), Vec::<String>::new());
        let mut without = says(&names[0]);
        let gone = says(&names[2]).mysql.server.unwrap().server_uuid;
        let view = without.mysql.server.as_mut().unwrap().group.as_mut().unwrap();
        view.members.retain(|row| row.server_uuid != gone);
        table.record(&names[0], 1, t0 + Duration::from_secs(5), without);
        assert_eq!(missed(&table), ["node3"]);
        table.record(&names[0], 1, t0 + Duration::from_secs(9), says(&names[0]));
        assert_eq!(
            missed(&table),
            ["node3"],
            "it is in the view again, and has not said a word"
        );
        table.record(&names[2], 1, t0 + Duration::from_secs(10), says(&names[2]));
        assert_eq!(missed(&table), Vec::<String>::new());
        // It gave up before it fell silent.
        let mut gave_up = says(&names[2]);
        gave_up.mysql.server.as_mut().unwrap().group.as_mut().unwrap().state = MemberState::Error;
        table.record(&names[2], 1, t0 + Duration::from_secs(11), gave_up);
        let mut without = says(&names[0]);
        let view = without.mysql.server.as_mut().unwrap().group.as_mut().unwrap();
        view.members.retain(|row| row.server_uuid != gone);
        table.record(&names[0], 1, t0 + Duration::from_secs(12), without);
        assert_eq!(missed(&table), ["node3"]);
    }

    /// Until the ledger is known again, over as many answers and streams as that takes; not for another machine.
    #[test]
    fn what_a_lost_ledger_held_of_lineages_is_remembered() {
        let (node, start) = ("node1".parse::<HostName>().expect("name"), Instant::now());
        let known = |word: &str| {
            let mut known = answer("a", false);
            known.ledger.known = true;
            known.ledger.last_words = [("prod".parse().expect("name"), word.into())].into();
            known
        };
        let mut table = SeenTable::default();
        let mut seconds = 0;
        let mut tell = |table: &mut SeenTable, session, observation: Observation| {
            seconds += 1;
            table.record(&node, session, start + Duration::from_secs(seconds), observation);
            table.last_words(&node).into_values().next()
        };
        table.speaks_with(&node, "key");
        assert_eq!(tell(&mut table, 1, answer("a", false)), None, "it was lost before");
        assert_eq!(tell(&mut table, 1, known("one")), None, "it speaks for itself");
        for session in [1, 2, 2] {
            table.speaks_with(&node, "key");
            let told = tell(&mut table, session, answer("b", false));
            assert_eq!(told, Some("one".into()), "{session}");
        }
        assert_eq!(tell(&mut table, 2, known("two")), None);
        assert_eq!(tell(&mut table, 2, answer("b", false)), Some("two".into()));
        // Enrolled again, with new disks.
        table.speaks_with(&node, "another");
        assert_eq!(table.last_words(&node), LastWords::new());
        assert_eq!(tell(&mut table, 3, answer("b", false)), None);
        tell(&mut table, 3, known("three"));
        table.speaks_with(&node, "a third");
        assert_eq!(tell(&mut table, 4, answer("b", false)), None);
    }

    #[test]
    fn an_overtaken_answer_does_not_turn_back_time() {
        let (node, start) = ("node1".parse::<HostName>().expect("name"), Instant::now());
        let mut table = SeenTable::default();
        table.record(&node, 1, start + Duration::from_secs(1), answer("new", false));
        table.record(&node, 1, start, answer("old", true));
        let seen = table
            .sight(start + Duration::from_secs(1), |_| Some(1), |_| None)
            .remove(&node)
            .expect("seen");
        assert_eq!(
            (seen.observation.boot_id.as_str(), seen.age_ms, seen.host.is_some()),
            ("new", 0, true)
        );
        assert_eq!(table.full_asked(&node), Some(start));
    }

    #[test]
    fn what_was_set_aside_counts_once_its_stream_holds_the_say() {
        let (node, start) = ("node1".parse::<HostName>().expect("name"), Instant::now());
        let mut table = SeenTable::default();
        table.record(&node, 1, start, answer("first", true));
        table.set_aside(&node, 2, start, answer("second", true));
        table.set_aside(&node, 2, start + Duration::from_secs(1), answer("second", false));
        let boot = |table: &SeenTable| {
            let seen = table.sight(start, |_| Some(2), |_| None).remove(&node).expect("seen");
            (seen.observation.boot_id.clone(), seen.is_certain())
        };
        table.settle(|_| Some(1));
        assert_eq!(boot(&table), ("first".to_owned(), false));
        table.settle(|_| Some(2));
        assert_eq!(boot(&table), ("second".to_owned(), true));
        table.set_aside(&node, 3, start, answer("third", false));
        table.settle(|_| None);
        table.settle(|_| Some(3));
        assert_eq!(boot(&table).0, "second", "its stream was gone in between");
    }

    #[test]
    fn a_doubt_withholds_certainty() {
        let (node, start) = ("node1".parse::<HostName>().expect("name"), Instant::now());
        let mut table = SeenTable::default();
        table.record(&node, 1, start, answer("a", true));
        let certain = |doubt: Option<Doubt>| {
            let seen = table
                .sight(start, |_| Some(1), |_| doubt.clone())
                .remove(&node)
                .expect("seen");
            (seen.is_certain(), seen.why_uncertain())
        };
        assert_eq!(certain(None), (true, None));
        let (is, why) = certain(Some(Doubt::Twins(vec!["a".to_owned(), "b".to_owned()])));
        assert!(!is && why.is_some_and(|why| why.contains("two machines") && why.contains("a; b")));
        assert!(!certain(Some(Doubt::Contested)).0);
    }
}
