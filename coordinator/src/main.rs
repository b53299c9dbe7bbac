//! The program `clusterctl-coordinator`.

fn main() {}
