//! The built `clusterctl` as a person or a script calls it.

mod calls;
mod support;
mod usage;
