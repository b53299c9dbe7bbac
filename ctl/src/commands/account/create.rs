//! `clusterctl account create`: the password is born here, only its hash leaves this program.

use std::collections::HashMap;
use std::io::IsTerminal;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::password::{self, Secret};
use clusterctl_proto::wire::control::CreateAccount;
use clusterctl_proto::wire::control::submit_request::What;
use serde::Serialize;

use crate::account_name::{Database, FromHost, User};
use crate::ask;
use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::operation;
use crate::output::{self, errors, json};
use crate::submit::{self, Order, Submitted};

/// Create a MySQL account; the password is asked for, read from stdin, or made and shown once
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  clusterctl account create app --database appdb",
    group(clap::ArgGroup::new("kind").required(true).args(["database", "monitor", "admin"])),
    group(clap::ArgGroup::new("password").args(["password_stdin", "generate"]))
)]
pub struct Args {
    /// User part of the account
    #[arg(value_name = "USER")]
    user: User,
    /// For an application: all on this database, which is made if missing
    #[arg(long, value_name = "NAME")]
    database: Option<Database>,
    /// For monitoring: reads health and metadata
    #[arg(long)]
    monitor: bool,
    /// For MySQL Shell: administers the cluster
    #[arg(long)]
    admin: bool,
    /// Host part of the account: from where it may connect
    #[arg(long, value_name = "HOST", default_value = "%")]
    from: FromHost,
    /// Read the password from stdin, one line
    #[arg(long)]
    password_stdin: bool,
    /// Make a password and print it, alone, on stdout
    #[arg(long)]
    generate: bool,
    #[command(flatten)]
    which: WhichCluster,
    #[command(flatten)]
    change: Change,
}

/// A password, and whether it was made here, so that nobody has seen it yet.
struct Chosen {
    password: Secret,
    made_here: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    account: &'a str,
    message: &'a str,
    already: bool,
    operation_id: u64,
    /// False where the operation was not waited for or did not end well.
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

/// Chooses the password, submits, shows the password if it was made here.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let account = format!("{}@{}", args.user, args.from);
    let chosen = if args.change.dry_run {
        None
    } else {
        match choose(&args, &account)? {
            Some(chosen) => Some(chosen),
            None => return Ok(errors::interrupted_early(context.json())),
        }
    };
    let mut secrets = HashMap::new();
    if let Some(chosen) = &chosen {
        secrets.insert(
            format!("account:{account}"),
            password::caching_sha2_hash(chosen.password.expose(), &password::random_salt()?),
        );
    }
    let client = context.connect().await?;
    let made_here = chosen.filter(|chosen| chosen.made_here).map(|chosen| chosen.password);
    let mut operation_id = 0;
    let submitted = submit::submit(context, &client, order(args, secrets), |id| {
        operation_id = id;
        // At once: should this program be stopped while it waits, the password would be lost.
        if let Some(password) = made_here.as_ref().filter(|_| !context.json()) {
            output::data(password.expose());
        }
    })
    .await;
    if let Ok(Submitted::Already(_)) = &submitted {
        context.remark("its password stays as it is: drop and create it for another one");
    }
    let Some(password) = made_here.filter(|_| operation_id > 0) else {
        return submit::finish(context, submitted?);
    };
    show_made(context, &account, operation_id, &password, submitted)
}

/// The password is on stdout by now, or goes into the document; the sentence goes beside it.
fn show_made(
    context: &Context,
    account: &str,
    operation_id: u64,
    password: &Secret,
    submitted: Result<Submitted, Failure>,
) -> Result<u8, Failure> {
    let (message, done) = match &submitted {
        Ok(Submitted::Done(operation)) => (operation::result_sentence(operation), true),
        _ => (
            format!("operation {operation_id} has not ended well or was not waited for"),
            false,
        ),
    };
    if context.json() {
        json::print(Answer {
            account,
            message: &message,
            already: false,
            operation_id,
            done,
            password: Some(password.expose()),
        });
    }
    match submitted? {
        Submitted::Done(_) => {
            context.remark(&format!("{message}; its password is on stdout, and kept nowhere"));
            Ok(0)
        }
        Submitted::Started(id) => {
            context.remark(&format!(
                "operation {id} is submitted; follow it: clusterctl ops watch {id}"
            ));
            Ok(0)
        }
        other => submit::finish(context, other),
    }
}

fn order(args: Args, secrets: HashMap<String, String>) -> Order {
    let kind = match (&args.database, args.monitor) {
        (Some(_), _) => "application",
        (None, true) => "monitor",
        (None, false) => "admin",
    };
    let create = CreateAccount {
        cluster: args.which.for_api(),
        user: args.user.to_string(),
        from: args.from.to_string(),
        kind: kind.to_owned(),
        database: args.database.map(|name| name.to_string()).unwrap_or_default(),
    };
    Order {
        what: Some(What::CreateAccount(create)),
        change: args.change,
        secrets,
        ..Order::default()
    }
}

/// None when a person interrupted the question.
fn choose(args: &Args, account: &str) -> Result<Option<Chosen>, Failure> {
    let given = |password: Option<Secret>| {
        password.map(|password| Chosen {
            password,
            made_here: false,
        })
    };
    if args.password_stdin {
        return Ok(given(Some(ask::password_from_stdin()?)));
    }
    if !args.generate && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(given(ask::password_twice(account)?));
    }
    Ok(Some(Chosen {
        password: password::generate()?,
        made_here: true,
    }))
}
