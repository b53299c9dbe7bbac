//! A small model of the protocol by which a group is bootstrapped again after an outage, searched for a state that breaks a rule of safety.
//!
//! A model and not the product: it exists for tests, nothing shipped uses it. What it runs of the product is the measure of lineages
//! ([`clusterctl_proto::lineage::Lineages::measure`]); everything else is the protocol written down again, as small as it can be, so
//! that all orders of events can be searched instead of some. It must never grow details that do not change who may enter a group.
//!
//! # Modelled
//! - Members: server and agent up or down, in the group of a lineage or in none, the transactions that the server really has, and the ledger
//!   (lineage, generation, promise and its age).
//! - Coordinators: the log of the newest term with its newest plan; leaders that were deposed and do not know it; a disk that is put back
//!   to an older copy, with the old leader still there or not; the recovery epoch.
//! - Messages: orders to promise, to bootstrap, to join; the answer to a promise; the agent's question before START and its
//!   confirmation. Orders are sent again until they are answered, so a lost order is an order that waits; answers and confirmations
//!   may be lost; one message of any kind may arrive at any later moment, whatever became of its sender since.
//! - Persons: bootstrap a member by hand while they see no group, and not in the documented window between the last look and START; force
//!   a recovery without members that do not answer; raise the epoch of a leader that refuses to lead.
//! - Faults: members and coordinators crash and return, agents lose their way to the leader while servers reach each other.
//! - Time: a promise may get too old at any moment. That is kept only for a member that a plan bootstraps.
//!
//! # Not modelled
//! Servers that cannot reach each other; lag, received but unapplied transactions and what a power cut takes of them; clones and what is
//! saved before them; writes on a member that is in no group; a person's START of a diverged member (an alarm in the product); lost ledgers;
//! forced memberships of Group Replication; metadata, approvals and their expiry; the elections of raft (a takeover is one event, and
//! who commits is the newest leader); a group that lost its majority but lingers (its last member leaves at once). Orders to join after a
//! recovery count as one generation. That the coordinators let nothing come true twice in the log is raft's part.
//!
//! # How it is searched
//! By the crate stateright, which keeps 64-bit fingerprints of states: "every state" is meant up to collisions (in one of some hundred thousand
//! searches of ten million states). States that have the same future count as one (module `same`).
//!
//! # What it taught
//! - A forced recovery waits, before it sends the bootstrap order, until no promise of an abandoned member can count any more: that member
//!   may hold a confirmation of the plan before, and the agent asks it when the order arrives ([`rules::Rule::ForcedWaits`]).
//! - The agent asks the others before the leader looks again, so the window of a hand-made bootstrap on an abandoned member begins with the
//!   agent's question and not with the confirmation. An agent that asks after the confirmation makes it as short as it can be.
//! - A promise that is given again makes the promise young again, so it voids a question that is open; and a confirmation names
//!   its question ([`rules::Rule::AnswerNamesQuestion`]).
//! - After a disk was put back two plans may bear one generation before any ledger shows it: so an agent, too, refuses a second plan
//!   under a generation that it knows ([`rules::Rule::RestoredDisk`]).

mod agent;
mod coordinator;
pub mod data;
pub mod model;
pub mod rules;
mod same;
pub mod scene;
pub mod search;
pub mod state;
mod world;
