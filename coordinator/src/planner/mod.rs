//! What to do, as a pure function of (intent, observations, now). No IO, no clock, no async.
//!
//! Called by `leader` on every tick and after every change, and by `api` for `--dry-run` and for refusing bad requests
//! before they are stored. It never changes anything.

pub mod preflight;
mod world;

use crate::model::Operation;

pub use world::{Decision, Seen, Sight, World};

/// What follows for this operation: it may be stored in the model or, with id 0, not yet (`--dry-run`, refusals before
/// storing; then what may pass by itself, such as an agent that is silent, is refused at once).
pub fn decide(world: &World<'_>, operation: &Operation) -> Decision {
    let _ = (world, operation);
    Decision::Wait("the planner has no rule for this operation yet".to_owned())
}
