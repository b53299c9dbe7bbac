//! mysqld runs with exactly these settings: identity, option file, at most one restart, plugins, our marker in its data directory.
//!
//! Data that is not ours and not the distribution's fresh directory is never touched. Nothing here is binlogged: a fresh member
//! must enter its group without a transaction of its own.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{DataDirectory, MemberState, UnitState};
use clusterctl_proto::step::ServerConfig;

use super::{Context, Done, start_server};
use crate::host::{Access, Command, server_unit, systemd};
use crate::mysql::data::{self, Marker};
use crate::mysql::{Db, accounts, group, options, schema_rules, start};

/// Looks, acts, looks again.
pub async fn ensure(config: &ServerConfig, cx: &Context) -> Result<Done, Failure> {
    let mut changes = Vec::new();
    let (unit, _) = server_unit::require(&*cx.host, &cx.config.mysql).await?;
    let ours = claim_check(config, cx).await?;
    tls_check(cx).await?;
    if ours {
        member_check(config, cx).await?;
    }
    let path = options::path(&*cx.host).await?;
    let text = options::render(config, &cx.config.mysql.tls_dir)?;
    if options::write(&*cx.host, &path, &text).await? {
        changes.push(format!("wrote {}", path.display()));
    }
    if server_unit::hand_over_before_stop(&*cx.host, unit).await? {
        changes.push(format!("{unit} hands the primary role over before it stops"));
    }
    if !ours {
        claim(config, cx, unit).await?;
        changes.push("took over the fresh data directory".to_owned());
    }
    if start(cx, unit).await? {
        changes.push("started mysqld".to_owned());
    }
    let mut db = start_server::answers(cx).await?;
    if let Some(restarted) = settle(config, cx, &mut db, unit, &mut changes).await? {
        db = restarted;
    }
    start::clear_bootstrap_flag(&mut db).await?;
    changes.extend(plugins(&mut db).await?);
    changes.extend(lock_root(&mut db).await?);
    tell(cx, &mut db).await?;
    Ok(Done::from_changes(changes))
}

/// True: the data is ours already. A failure for anybody else's.
async fn claim_check(config: &ServerConfig, cx: &Context) -> Result<bool, Failure> {
    let dir = &cx.config.mysql.data_dir;
    let mut seen = data::inspect(&*cx.host, dir, Some(&cx.group)).await?;
    if seen == DataDirectory::Pristine && Db::local(&*cx.servers, &cx.config.mysql).await.is_ok() {
        seen = running_check(cx).await?;
    }
    match seen {
        DataDirectory::Ours { cluster: Some(cluster) } if cluster != config.cluster => Err(Failure::refused(
            "other_cluster",
            format!("the data in {} is of cluster {cluster}, not of {}", dir.display(), config.cluster),
        )
        .hint(format!("use another host, or remove {cluster} from this one first"))),
        DataDirectory::Ours { .. } => Ok(true),
        DataDirectory::Foreign { what } => Err(Failure::refused(
            "foreign_data",
            format!("{} holds data that is not of clusterctl; it is not touched", dir.display()),
        )
        .fact(what)
        .hint(format!(
            "use another host; or, if nobody needs that data: systemctl stop mysql, move {} away, and run the command again",
            dir.display()
        ))),
        DataDirectory::Pristine | DataDirectory::Absent => Ok(false),
    }
}

/// What only a running server tells of a directory that looks fresh.
async fn running_check(cx: &Context) -> Result<DataDirectory, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let schemas = schema_rules::user_schemas(&mut db).await?;
    let gtids = db.value("SELECT @@GLOBAL.gtid_executed").await?.unwrap_or_default();
    let channels = db
        .value("SELECT COUNT(*) FROM performance_schema.replication_connection_configuration WHERE host <> ''")
        .await?;
    let users = db
        .value(
            "SELECT GROUP_CONCAT(user) FROM mysql.user \
             WHERE user NOT IN ('root', 'debian-sys-maint') AND user NOT LIKE 'mysql.%' AND user <> ''",
        )
        .await?;
    let what = if !schemas.is_empty() {
        format!("schemas: {}", schemas.join(", "))
    } else if !gtids.is_empty() {
        format!("transactions: {gtids}")
    } else if channels.is_some_and(|count| count != "0") {
        "a replication channel".to_owned()
    } else if let Some(users) = users {
        format!("accounts: {users}")
    } else {
        return Ok(DataDirectory::Pristine);
    };
    Ok(DataDirectory::Foreign { what })
}

/// Refuses settings that need a restart while this server is in a group, before anything is written.
async fn member_check(config: &ServerConfig, cx: &Context) -> Result<(), Failure> {
    let Ok(mut db) = Db::local(&*cx.servers, &cx.config.mysql).await else {
        return Ok(());
    };
    let Some(view) = group::view(&mut db).await? else {
        return Ok(());
    };
    if !matches!(view.state, MemberState::Online | MemberState::Recovering) {
        return Ok(());
    }
    let wanted = options::settings(config, &cx.config.mysql.tls_dir);
    let differences = options::differences(&mut db, &wanted).await?;
    let fixed = options::read_only(&mut db, &differences).await?;
    db.close().await;
    if fixed.is_empty() {
        return Ok(());
    }
    let failure = Failure::refused(
        "restart_of_member",
        "these settings need a restart, but this server is in a group",
    )
    .hint("restart the members one after another, secondaries first");
    let lines = differences.iter().filter(|difference| fixed.contains(&difference.name));
    Err(lines.fold(failure, |failure, difference| failure.fact(difference.to_string())))
}

/// A root without a password, as a data directory that was filled here has it, enters over the socket as root only.
async fn lock_root(db: &mut Db) -> Result<Option<String>, Failure> {
    let open = db
        .value(
            "SELECT 1 FROM mysql.user WHERE user = 'root' AND host = 'localhost' AND authentication_string = '' \
             AND plugin <> 'auth_socket'",
        )
        .await?;
    if open.is_none() {
        return Ok(None);
    }
    accounts::unlogged(db, async |db| {
        let there = db
            .value("SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'auth_socket'")
            .await?;
        if there.is_none() {
            db.run("INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'").await?;
        }
        Ok(db.run("ALTER USER root@localhost IDENTIFIED WITH auth_socket").await?)
    })
    .await?;
    Ok(Some("root enters over the socket only".to_owned()))
}

async fn tls_check(cx: &Context) -> Result<(), Failure> {
    for name in ["ca.pem", "server.pem", "server.key"] {
        let path = cx.config.mysql.tls_dir.join(name);
        if cx.host.stat(&path).await?.is_none() {
            return Err(Failure::new("tls_missing", format!("there is no {}", path.display()))
                .hint("the step server_certificate makes it; run the command again")
                .transient());
        }
    }
    Ok(())
}

/// Makes a fresh directory ours: its server is stopped and loses a uuid that it may share with every clone of its image. The
/// marker comes last, so that a claim that was killed is made again.
async fn claim(config: &ServerConfig, cx: &Context, unit: &str) -> Result<(), Failure> {
    let (host, mysql) = (&*cx.host, &cx.config.mysql);
    let state = systemd::unit(host, unit).await?.state;
    if !matches!(state, UnitState::Stopped | UnitState::Failed) {
        cx.timed("restart", systemd::stop(host, unit)).await?;
    }
    if data::inspect(host, &mysql.data_dir, Some(&cx.group)).await? == DataDirectory::Absent {
        initialise(cx).await?;
    }
    host.remove(&mysql.data_dir.join("auto.cnf")).await?;
    let marker = Marker {
        format: 1,
        cluster: config.cluster.clone(),
        group: cx.group.clone(),
    };
    data::mark(host, &mysql.data_dir, &mysql.os_user, &marker).await
}

/// Fills an empty data directory. Root enters by the socket, as Debian's package has it; no password is made.
async fn initialise(cx: &Context) -> Result<(), Failure> {
    let mysql = &cx.config.mysql;
    cx.progress.text("initialising the data directory");
    cx.host
        .make_dir(&mysql.data_dir, &Access::of(0o750, &mysql.os_user, &mysql.os_user))
        .await?;
    let command = Command::new("mysqld")
        .args(["--no-defaults", "--initialize-insecure"])
        .arg(format!("--user={}", mysql.os_user))
        .arg(format!("--datadir={}", mysql.data_dir.display()))
        .timeout(Duration::from_secs(300))
        .survives();
    cx.timed("restart", command.checked(&*cx.host)).await?;
    Ok(())
}

/// Runs and is enabled; true: it was started here.
async fn start(cx: &Context, unit: &str) -> Result<bool, Failure> {
    let seen = systemd::unit(&*cx.host, unit).await?;
    if !seen.enabled {
        systemd::enable(&*cx.host, unit).await?;
    }
    if seen.state == UnitState::Running {
        return Ok(false);
    }
    start_server::start(cx, unit, &seen).await?;
    Ok(true)
}

/// What runs is what our file says, without a restart where that is possible. Answers the new connection after a restart.
async fn settle(
    config: &ServerConfig,
    cx: &Context,
    db: &mut Db,
    unit: &str,
    changes: &mut Vec<String>,
) -> Result<Option<Db>, Failure> {
    let wanted = options::settings(config, &cx.config.mysql.tls_dir);
    let differences = options::differences(db, &wanted).await?;
    if differences.is_empty() {
        return Ok(None);
    }
    let (changed, restart) = options::apply(db, &differences).await?;
    changes.extend(changed);
    if restart.is_empty() {
        return Ok(None);
    }
    cx.progress.text(format!("restarting mysqld: {}", restart.join(", ")));
    if let Err(failure) = cx.timed("restart", systemd::restart(&*cx.host, unit)).await {
        return Err(start_server::explain(cx, failure).await);
    }
    let mut fresh = start_server::answers(cx).await?;
    let left = options::differences(&mut fresh, &wanted).await?;
    if !left.is_empty() {
        let failure = Failure::new(
            "settings_differ",
            "mysqld runs with other settings than our option file's even after a restart",
        )
        .hint("another option file or the unit's command line may hold them: mysqld --print-defaults");
        return Err(left.iter().fold(failure, |failure, d| {
            failure.fact(format!("{}: {} instead of {}", d.name, d.running, d.wanted))
        }));
    }
    changes.push(format!("restarted mysqld: {}", restart.join(", ")));
    Ok(Some(fresh))
}

async fn plugins(db: &mut Db) -> Result<Vec<String>, Failure> {
    let missing = options::missing_plugins(db).await?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    accounts::unlogged(db, async |db| {
        for (_, sql) in &missing {
            db.run(sql).await?;
        }
        Ok(())
    })
    .await?;
    let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
    Ok(vec![format!("installed {}", names.join(", "))])
}

/// What the planner wants to know of the server that now runs.
async fn tell(cx: &Context, db: &mut Db) -> Result<(), Failure> {
    for (name, variable) in [
        ("server_uuid", "server_uuid"),
        ("version", "version"),
        ("gtid_executed", "gtid_executed"),
    ] {
        let value = db
            .value(&format!("SELECT @@GLOBAL.{variable}"))
            .await?
            .unwrap_or_default();
        cx.fact(name, value);
    }
    Ok(())
}
