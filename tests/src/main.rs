//! The binary `lab`, typed as `cargo lab`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    clusterctl_lab::cli::main()
}
