//! The replicated state machine: commands and what each does to the model. Deterministic: time and random values are in
//! the command. `apply` is the only place that changes a [`Model`](crate::model::Model).

pub mod command;

pub use command::{Answer, Command};
