//! `clusterctl completion`: a script for the shell.

use clap::CommandFactory;
use clap_complete::Shell;
use clusterctl_proto::failure::Failure;

use crate::cli::Cli;
use crate::context::Context;
use crate::output;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl completion bash > /etc/bash_completion.d/clusterctl")]
pub struct Args {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints it.
pub fn run(_: &Context, args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "clusterctl", &mut script);
    output::data(&String::from_utf8_lossy(&script));
    Ok(0)
}
