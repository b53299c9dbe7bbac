//! The simulator: parts of a cluster that run in one process, in tokio's virtual time, the same for the same seed.
//!
//! Only tests and `cargo lab simulate` use it. Nothing here may ask the operating system for anything: no clock, no file, no
//! socket, no randomness that is not drawn from the seed.

pub mod mysqld;
