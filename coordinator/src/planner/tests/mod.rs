//! Tests of the planner: plans as text, refusals by name, properties, a simulator.

mod accounts;
mod act;
mod break_glass;
mod copies;
mod data;
mod golden;
pub mod heal_stage;
mod healing;
mod histories;
mod outage;
mod pace;
mod paused;
mod properties;
mod quarantine;
mod refusals;
mod restored;
mod seen;
mod sim;
mod sim_heal;
mod slept;
pub mod stage;
mod stopped;
mod together;
pub mod toy;
mod unpromised;
pub(crate) mod upgrade;
