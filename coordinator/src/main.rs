//! The coordinator.
mod machine;
mod model;
mod planner;

fn main() {}
