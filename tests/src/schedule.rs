//! The faults of a drill: which, on which host, when, for how long. Pure: all of it follows from a seed.
//!
//! Made by `cargo lab drill`, carried out by `tests/drill`. A round is one burst of overlapping faults; its times count from its
//! begin. It must never depend on what happens while it is carried out: the same seed is the same schedule.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::network::Direction;

/// The members of the group.
pub const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// The host of the coordinator.
pub const COORDINATOR: &str = "node1";
/// The host of Router.
pub const ROUTER: &str = "router1";

/// In how many seconds the faults of a round begin.
const BEGINS: u64 = 30;
/// The longest that a fault lasts, in seconds.
const LASTS: u64 = 45;
/// How long a host may need to boot, or to notice that it is thawed: no other fault is planned on it meanwhile.
const BOOT: Duration = Duration::from_secs(15);

/// A fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// These hosts lose power at the same time.
    PowerOff(Vec<&'static str>),
    /// kill -9 of mysqld.
    KillServer(&'static str),
    /// Every process of the host stops where it stands.
    Freeze(&'static str),
    /// Packets between a host and some others are lost.
    Partition(&'static str, Vec<&'static str>, Direction),
    /// An orderly reboot.
    Reboot(&'static str),
    /// kill -9 of the agent.
    KillAgent(&'static str),
    /// kill -9 of the coordinator.
    KillCoordinator,
    /// kill -9 of Router.
    KillRouter,
    /// A person types STOP GROUP_REPLICATION.
    StopGroup(&'static str),
    /// A person types `clusterctl switchover`.
    Switchover(&'static str),
}

impl Fault {
    /// Its kind, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PowerOff(hosts) => match hosts.len() {
                1 => "power_off_one",
                2 => "power_off_two",
                _ => "power_off_all",
            },
            Self::KillServer(_) => "kill_mysqld",
            Self::Freeze(_) => "freeze",
            Self::Partition(_, _, Direction::Both) => "partition",
            Self::Partition(..) => "partition_one_way",
            Self::Reboot(_) => "reboot",
            Self::KillAgent(_) => "kill_agent",
            Self::KillCoordinator => "kill_coordinator",
            Self::KillRouter => "kill_router",
            Self::StopGroup(_) => "stop_group",
            Self::Switchover(_) => "switchover",
        }
    }

    /// Whether it lasts until it is undone; the others are over at once, or end by themselves.
    pub const fn lasts(&self) -> bool {
        matches!(self, Self::PowerOff(_) | Self::Freeze(_) | Self::Partition(..))
    }

    /// How it ends, for people.
    pub fn undone(&self) -> String {
        match self {
            Self::PowerOff(hosts) => format!("{} booted again", hosts.join(", ")),
            Self::Freeze(host) => format!("{host} thawed"),
            Self::Partition(host, others, _) => format!("{host} reaches {} again", others.join(", ")),
            Self::Reboot(host) => format!("{host} booted again"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff(hosts) => write!(f, "power off: {}", hosts.join(", ")),
            Self::KillServer(host) => write!(f, "kill -9 of mysqld on {host}"),
            Self::Freeze(host) => write!(f, "freeze {host}"),
            Self::Partition(host, others, direction) => {
                let lost = match direction {
                    Direction::Both => "between",
                    Direction::Outgoing => "sent by",
                    Direction::Incoming => "sent to",
                };
                let joint = match direction {
                    Direction::Both => "and",
                    Direction::Outgoing => "to",
                    Direction::Incoming => "by",
                };
                write!(f, "packets {lost} {host} {joint} {} are lost", others.join(", "))
            }
            Self::Reboot(host) => write!(f, "reboot {host}"),
            Self::KillAgent(host) => write!(f, "kill -9 of the agent on {host}"),
            Self::KillCoordinator => write!(f, "kill -9 of the coordinator on {COORDINATOR}"),
            Self::KillRouter => write!(f, "kill -9 of Router on {ROUTER}"),
            Self::StopGroup(host) => write!(f, "STOP GROUP_REPLICATION by hand on {host}"),
            Self::Switchover(host) => write!(f, "clusterctl switchover --to {host}"),
        }
    }
}

/// A fault in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it begins.
    pub begin: Duration,
    /// What happens.
    pub fault: Fault,
    /// How long it lasts; zero unless [`Fault::lasts`].
    pub lasts: Duration,
}

/// A burst of faults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// By their begin.
    pub events: Vec<Event>,
}

impl Round {
    /// The round of this number under this seed.
    pub fn new(seed: u64, number: u32) -> Self {
        let mut dice = Dice(
            seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
                .wrapping_add(u64::from(number) << 32),
        );
        let count = 2 + dice.below(5);
        let mut begins: Vec<u64> = (0..count).map(|_| dice.below(BEGINS * 10)).collect();
        begins.sort_unstable();
        let mut plan = Plan::default();
        for tenths in begins {
            plan.add(Duration::from_millis(tenths * 100), &mut dice);
        }
        Self {
            number,
            events: plan.events,
        }
    }
}

/// For `--list`: a line per fault.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            let begin = event.begin.as_secs_f32();
            write!(f, "round {:>3}  {begin:>5.1} s  {}", self.number, event.fault)?;
            if event.fault.lasts() {
                write!(f, ", for {:.1} s", event.lasts.as_secs_f32())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What is planned so far. Faults of one host overlap where they can: a host without power cannot freeze.
#[derive(Default)]
struct Plan {
    events: Vec<Event>,
    /// Until when a host is off, frozen or rebooting.
    down: BTreeMap<&'static str, Duration>,
    /// Until when packets between two hosts are lost.
    cut: BTreeMap<(&'static str, &'static str), Duration>,
}

impl Plan {
    /// Adds a fault that can begin then; none if the dice find none.
    fn add(&mut self, begin: Duration, dice: &mut Dice) {
        for _ in 0..20 {
            let fault = draw(dice);
            if !self.fits(&fault, begin) {
                continue;
            }
            let lasts = if fault.lasts() {
                Duration::from_millis(2000 + 100 * dice.below((LASTS - 2) * 10))
            } else {
                Duration::ZERO
            };
            self.occupy(&fault, begin + lasts);
            self.events.push(Event { begin, fault, lasts });
            return;
        }
    }

    fn is_up(&self, host: &str, at: Duration) -> bool {
        self.down.get(host).is_none_or(|until| *until <= at)
    }

    fn fits(&self, fault: &Fault, at: Duration) -> bool {
        match fault {
            Fault::PowerOff(hosts) => hosts.iter().all(|host| self.is_up(host, at)),
            Fault::KillServer(host)
            | Fault::Freeze(host)
            | Fault::Reboot(host)
            | Fault::KillAgent(host)
            | Fault::StopGroup(host) => self.is_up(host, at),
            Fault::Switchover(host) => self.is_up(host, at) && self.is_up(COORDINATOR, at),
            Fault::KillCoordinator => self.is_up(COORDINATOR, at),
            Fault::KillRouter => self.is_up(ROUTER, at),
            Fault::Partition(host, others, _) => others
                .iter()
                .all(|other| self.cut.get(&pair(host, other)).is_none_or(|until| *until <= at)),
        }
    }

    fn occupy(&mut self, fault: &Fault, until: Duration) {
        match fault {
            Fault::PowerOff(hosts) => hosts.iter().for_each(|host| {
                self.down.insert(host, until + BOOT);
            }),
            Fault::Freeze(host) => {
                self.down.insert(host, until);
            }
            Fault::Reboot(host) => {
                self.down.insert(host, until + BOOT * 2);
            }
            Fault::Partition(host, others, _) => others.iter().for_each(|other| {
                self.cut.insert(pair(host, other), until);
            }),
            Fault::KillServer(_)
            | Fault::KillAgent(_)
            | Fault::KillCoordinator
            | Fault::KillRouter
            | Fault::StopGroup(_)
            | Fault::Switchover(_) => {}
        }
    }
}

/// The same for both orders.
fn pair(a: &'static str, b: &'static str) -> (&'static str, &'static str) {
    (a.min(b), a.max(b))
}

fn draw(dice: &mut Dice) -> Fault {
    let host = dice.pick(&NODES);
    match dice.below(20) {
        0 | 1 => Fault::PowerOff(vec![host]),
        2 => Fault::PowerOff(NODES.into_iter().filter(|node| *node != host).collect()),
        3 => Fault::PowerOff(NODES.to_vec()),
        4..=6 => Fault::KillServer(host),
        7..=9 => Fault::Freeze(host),
        10..=12 => {
            let all: Vec<&'static str> = NODES
                .into_iter()
                .chain([ROUTER])
                .filter(|other| *other != host)
                .collect();
            // One cable of several, or the only one.
            let others = if dice.below(3) == 0 { vec![dice.pick(&all)] } else { all };
            let direction = dice.pick(&[Direction::Both, Direction::Outgoing, Direction::Incoming]);
            Fault::Partition(host, others, direction)
        }
        13 => Fault::Reboot(host),
        14 => Fault::KillAgent(host),
        15 => Fault::KillCoordinator,
        16 => Fault::KillRouter,
        17 | 18 => Fault::StopGroup(host),
        _ => Fault::Switchover(host),
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let place = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of[place]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_is_the_same_schedule_and_another_one_is_not() {
        assert_eq!(Round::new(7, 3), Round::new(7, 3));
        assert_ne!(Round::new(7, 3), Round::new(7, 4));
        assert_ne!(Round::new(7, 3), Round::new(8, 3));
    }

    #[test]
    fn every_kind_comes_and_faults_overlap() {
        let rounds: Vec<_> = (1..=200).map(|number| Round::new(1, number)).collect();
        let events = || rounds.iter().flat_map(|round| &round.events);
        let kinds: BTreeSet<_> = events().map(|event| event.fault.kind()).collect();
        assert_eq!(kinds.len(), 13, "{kinds:?}");
        let frozen = |event: &Event| match &event.fault {
            Fault::Freeze(host) => Some(*host),
            _ => None,
        };
        let hosts: BTreeSet<_> = events().filter_map(frozen).collect();
        assert_eq!(hosts.len(), 3, "{hosts:?}");
        let overlap = |round: &&Round| {
            let end = |event: &Event| event.begin + event.lasts;
            round.events.windows(2).any(|two| end(&two[0]) > two[1].begin)
        };
        assert!(rounds.iter().filter(overlap).count() > 100);
    }

    /// What is off cannot freeze, and a cut is healed by the one event that made it.
    #[test]
    fn no_fault_needs_a_host_that_another_one_took_away() {
        for number in 1..=500 {
            let round = Round::new(9, number);
            for (place, event) in round.events.iter().enumerate() {
                assert!(event.lasts <= Duration::from_secs(LASTS) && event.fault.lasts() != event.lasts.is_zero());
                let until = event.begin + event.lasts;
                let taken: &[&str] = match &event.fault {
                    Fault::PowerOff(hosts) => hosts,
                    Fault::Freeze(host) => &[*host],
                    _ => continue,
                };
                for later in round.events[place + 1..].iter().filter(|later| later.begin < until) {
                    let needed: &[&str] = match &later.fault {
                        Fault::PowerOff(hosts) => hosts,
                        Fault::KillServer(host) | Fault::Freeze(host) | Fault::Reboot(host) => &[*host],
                        Fault::KillAgent(host) | Fault::StopGroup(host) | Fault::Switchover(host) => &[*host],
                        Fault::KillCoordinator => &[COORDINATOR],
                        Fault::KillRouter => &[ROUTER],
                        Fault::Partition(..) => &[],
                    };
                    assert!(!needed.iter().any(|host| taken.contains(host)), "{round:?}");
                }
            }
        }
    }
}
