//! The replicated log: openraft on redb. Nothing outside this folder knows openraft's types.
//!
//! [`disk`] is the file, [`log`] and [`state`] are what openraft asks of a store, [`network`] is how coordinators will
//! reach each other, [`voter`] starts and stops it all, [`node`] is the handle that the rest of the program uses, whatever
//! replicates the log. What an entry *does* is `machine::apply`.

pub mod disk;
mod document;
pub mod log;
pub mod network;
pub mod node;
pub mod state;
pub mod voter;

#[cfg(test)]
mod tests;

use std::io::Cursor;

use crate::machine::{Answer, Command};

openraft::declare_raft_types!(
    /// Our entries and answers.
    pub TypeConfig:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// Id of a coordinator in its group; given once, never used again.
pub type NodeId = u64;

pub use node::{CommittedIndex, Consensus, Node, no_quorum, not_leader};
pub use state::State;
pub use voter::{StartError, Voter};
