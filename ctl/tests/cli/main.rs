//! The built `clusterctl` as a person or a script calls it, against a scripted coordinator over mTLS.

mod answers;
mod healing;
mod operations;
mod support;
mod terminal;
mod usage;
