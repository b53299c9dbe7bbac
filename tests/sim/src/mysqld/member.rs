//! A mysqld's own idea of its group.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::world::Id;

/// The view that this member installed last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct View {
    pub prefix: u64,
    pub counter: u64,
    pub members: Vec<Id>,
    pub online: BTreeSet<Id>,
    pub primary: Option<Id>,
}

impl View {
    pub fn id(&self) -> String {
        format!("{}:{}", self.prefix, self.counter)
    }
}

/// In a group, ONLINE or RECOVERING.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Number of the group's lineage.
    pub group: u64,
    /// Events of the log that came here.
    pub delivered: usize,
    /// The log's length when it entered: what comes before is got from a donor.
    pub entered: usize,
    pub view: View,
    /// ONLINE; else RECOVERING.
    pub online: bool,
    /// When each other member was heard last.
    pub heard: BTreeMap<Id, Instant>,
    /// Since when no majority is heard.
    pub alone: Option<Instant>,
    /// Since when it could know that it was expelled.
    pub expelled: Option<Instant>,
    /// A forced membership is under way: the majority is not waited for.
    pub forcing: bool,
    /// When it last agreed with a majority, in microseconds since 1970; 0: not yet.
    pub agreed: u64,
    /// Tries to agree without a majority.
    pub tried: u64,
}

impl Member {
    pub fn new(group: u64, delivered: usize, prefix: u64) -> Self {
        Self {
            group,
            delivered,
            entered: delivered,
            view: View {
                prefix,
                ..View::default()
            },
            online: false,
            heard: BTreeMap::new(),
            alone: None,
            expelled: None,
            forcing: false,
            agreed: 0,
            tried: 0,
        }
    }
}

/// In ERROR.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// What it showed before.
    pub view: View,
    /// Those that it did not hear any more.
    pub unreachable: BTreeSet<Id>,
    /// Until then it shows the old view beside its own ERROR.
    pub shown: Instant,
}

/// State of the plugin.
#[derive(Clone, Debug)]
pub(crate) enum Gr {
    /// OFFLINE.
    Offline,
    /// RECOVERING or ONLINE.
    In(Box<Member>),
    /// ERROR.
    Error(Left),
}

impl Gr {
    pub fn member(&self) -> Option<&Member> {
        match self {
            Self::In(member) => Some(member),
            Self::Offline | Self::Error(_) => None,
        }
    }

    pub fn member_mut(&mut self) -> Option<&mut Member> {
        match self {
            Self::In(member) => Some(member),
            Self::Offline | Self::Error(_) => None,
        }
    }

    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Offline)
    }
}
