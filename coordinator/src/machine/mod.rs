//! The replicated state machine: commands and what each does to the model. Deterministic: time and random values are in
//! the command. [`apply()`] is the only place that changes a [`Model`](crate::model::Model).

pub mod apply;
pub mod command;
pub mod describe;
pub mod hands_off;
pub mod hosts;
pub mod intent;
pub mod journal;
pub mod limits;
pub mod lineages;
pub mod operations;
pub mod plans;
pub mod tokens;

mod duties;
mod left_out;
mod level;
mod settle;
mod undone;

#[cfg(test)]
mod tests;

pub use apply::apply;
pub use command::{Answer, Change, Command};
