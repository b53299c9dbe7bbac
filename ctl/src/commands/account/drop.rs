//! `clusterctl account drop`.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::DropAccount;
use clusterctl_proto::wire::control::submit_request::What;

use crate::account_name::{FromHost, User};
use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Drop an account; its database stays
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl account drop app")]
pub struct Args {
    /// User part of the account
    #[arg(value_name = "USER")]
    user: User,
    /// Host part of the account
    #[arg(long, value_name = "HOST", default_value = "%")]
    from: FromHost,
    #[command(flatten)]
    which: WhichCluster,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let drop = DropAccount {
        cluster: args.which.for_api(),
        user: args.user.to_string(),
        from: args.from.to_string(),
    };
    let order = Order {
        what: Some(What::DropAccount(drop)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}
