//! Tests of the planner: plans as text, refusals by name, properties, a simulator.

mod golden;
mod properties;
mod refusals;
mod sim;
pub mod stage;
pub mod toy;
