//! Tests of the planner: plans as text, refusals by name, properties, a simulator.

mod accounts;
mod act;
mod data;
mod golden;
mod healing;
mod properties;
mod refusals;
mod seen;
mod sim;
mod sim_heal;
pub mod stage;
mod stopped;
mod together;
pub mod toy;
