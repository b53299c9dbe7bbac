//! Accounts and their rights.

use super::super::data::{Account, Data, Work};
use super::super::world::World;
use super::{Call, Next, Reply, Table, row, rows, text};

pub(super) const TABLE: Table = &[
    (
        "SELECT plugin, HEX(authentication_string), CONVERT(x509_issuer USING utf8mb4), CONVERT(x509_subject USING utf8mb4), \
         ssl_type, account_locked, password_expired FROM mysql.user WHERE user = ? AND host = ?",
        look,
    ),
    ("SELECT host FROM mysql.user WHERE user = ? ORDER BY host", hosts),
    (
        "SELECT user, host FROM mysql.user WHERE user LIKE {} ORDER BY 1, 2",
        alike,
    ),
    (
        "SELECT 1 FROM information_schema.user_attributes WHERE user = ? AND host = ? {}",
        ours,
    ),
    (
        "CREATE USER IF NOT EXISTS {}@{} REQUIRE ISSUER {} SUBJECT {} PASSWORD EXPIRE NEVER",
        create_member,
    ),
    (
        "CREATE USER IF NOT EXISTS {}@{} IDENTIFIED WITH caching_sha2_password AS {} ATTRIBUTE '{}'",
        create,
    ),
    (
        "ALTER USER {}@{} IDENTIFIED WITH caching_sha2_password AS {} ACCOUNT UNLOCK",
        alter,
    ),
    ("ALTER USER root@localhost IDENTIFIED WITH auth_socket", lock_root),
    ("DROP USER IF EXISTS {}@{}", drop_user),
    ("GRANT {} ON {} TO {}@{}", grant),
    (
        "SELECT '', '', privilege_type, is_grantable FROM information_schema.user_privileges WHERE grantee = ? UNION ALL {}",
        held,
    ),
    ("SELECT GROUP_CONCAT(user) FROM mysql.user {}", strangers),
    ("SELECT u.user FROM mysql.user AS u {}", members_without_rights),
    (
        "SELECT 1 FROM mysql.user WHERE user = 'root' AND host = 'localhost' AND authentication_string = '' AND plugin <> 'auth_socket'",
        root_is_open,
    ),
];

/// A literal or a name without its quotes.
pub(super) fn plain(quoted: &str) -> String {
    let inner = quoted.trim().trim_matches(['\'', '`']);
    inner.replace("''", "'").replace("\\\\", "\\")
}

fn key(call: &Call, user: usize) -> (String, String) {
    (plain(call.part(user)), plain(call.part(user + 1)))
}

fn change(what: &str, change: impl Fn(&mut Data) + Send + Sync + 'static) -> Reply {
    Ok(Next::Commit(Work::new(what, change), 0))
}

fn look(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let account = data.accounts.get(&(call.param(0), call.param(1)));
    let line = |account: &Account| {
        vec![
            text(&account.plugin),
            text(&account.hash),
            text(&account.issuer),
            text(&account.subject),
            text(&account.ssl),
            text(if account.locked { "Y" } else { "N" }),
            text("N"),
        ]
    };
    rows(account.into_iter().map(line).collect())
}

fn hosts(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let user = call.param(0);
    let all = data.accounts.keys().filter(|(name, _)| *name == user);
    rows(all.map(|(_, host)| vec![text(host)]).collect())
}

fn alike(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let pattern = match call.part(0) {
        "?" => call.param(0),
        literal => plain(literal),
    };
    let prefix = pattern.trim_end_matches('%').replace("\\_", "_");
    let all = data.accounts.keys().filter(|(name, _)| name.starts_with(&prefix));
    rows(all.map(|(user, host)| vec![text(user), text(host)]).collect())
}

fn members_without_rights(call: &Call, world: &mut World) -> Reply {
    const TABLES: [&str; 2] = ["replication_group_members", "replication_group_member_stats"];
    let data = call.data(world);
    let members = data
        .accounts
        .iter()
        .filter(|((user, _), _)| user.starts_with("mysql_innodb_cluster_"));
    let lacking = members.filter(|(_, account)| {
        let may = |table: &&str| account.holds("performance_schema", table, "SELECT");
        !TABLES.iter().all(may)
    });
    rows(lacking.map(|((user, _), _)| vec![text(user)]).collect())
}

fn ours(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let account = data.accounts.get(&(call.param(0), call.param(1)));
    let there = account.is_some_and(|account| account.ours);
    rows(there.then(|| vec![text(1)]).into_iter().collect())
}

fn create_member(call: &Call, _: &mut World) -> Reply {
    let key = key(call, 0);
    let account = Account {
        plugin: "caching_sha2_password".to_owned(),
        issuer: plain(call.part(2)),
        subject: plain(call.part(3)),
        ssl: "SPECIFIED".to_owned(),
        ..Account::default()
    };
    change("CREATE USER", move |data| {
        data.accounts.entry(key.clone()).or_insert_with(|| account.clone());
    })
}

fn hash(literal: &str) -> String {
    literal.trim().trim_start_matches("0x").to_ascii_uppercase()
}

fn create(call: &Call, _: &mut World) -> Reply {
    let key = key(call, 0);
    let account = Account {
        plugin: "caching_sha2_password".to_owned(),
        hash: hash(call.part(2)),
        ours: call.part(3).contains("clusterctl"),
        ..Account::default()
    };
    change("CREATE USER", move |data| {
        data.accounts.entry(key.clone()).or_insert_with(|| account.clone());
    })
}

fn alter(call: &Call, _: &mut World) -> Reply {
    let (key, hash) = (key(call, 0), hash(call.part(2)));
    change("ALTER USER", move |data| {
        if let Some(account) = data.accounts.get_mut(&key) {
            account.hash.clone_from(&hash);
            account.locked = false;
        }
    })
}

fn lock_root(_: &Call, _: &mut World) -> Reply {
    change("ALTER USER", |data| {
        if let Some(account) = data.accounts.get_mut(&("root".to_owned(), "localhost".to_owned())) {
            account.plugin = "auth_socket".to_owned();
        }
    })
}

fn drop_user(call: &Call, _: &mut World) -> Reply {
    let key = key(call, 0);
    change("DROP USER", move |data| {
        data.accounts.remove(&key);
    })
}

fn grant(call: &Call, world: &mut World) -> Reply {
    let host = call.part(3);
    let (host, option) = match host.strip_suffix(" WITH GRANT OPTION") {
        Some(host) => (host, true),
        None => (host, false),
    };
    let key = (plain(call.part(2)), plain(host));
    if !call.data(world).accounts.contains_key(&key) {
        let why = "You are not allowed to create a user with GRANT";
        return Err(super::super::session::SqlError::new(1410, why));
    }
    let level = match call.part(1) {
        "*.*" => (String::new(), String::new()),
        on => {
            let (schema, table) = on.split_once('.').unwrap_or((on, "*"));
            (plain(schema), if table == "*" { String::new() } else { plain(table) })
        }
    };
    let rights: Vec<String> = call.part(0).split(", ").map(str::to_owned).collect();
    change("GRANT", move |data| {
        if let Some(account) = data.accounts.get_mut(&key) {
            let held = account.rights.entry(level.clone()).or_default();
            for right in &rights {
                let may = held.entry(right.clone()).or_default();
                *may = *may || option;
            }
        }
    })
}

fn held(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let grantee = call.param(0);
    let found = data
        .accounts
        .iter()
        .find(|((user, host), _)| format!("'{user}'@'{host}'") == grantee);
    let Some((_, account)) = found else {
        return rows(Vec::new());
    };
    let levels = account.rights.iter().flat_map(|((schema, table), rights)| {
        rights.iter().map(move |(right, option)| {
            let option = if *option { "YES" } else { "NO" };
            vec![text(schema), text(table), text(right), text(option)]
        })
    });
    rows(levels.collect())
}

fn strangers(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let names = data.accounts.keys().map(|(user, _)| user.as_str());
    let known = |user: &&str| !matches!(*user, "root" | "debian-sys-maint" | "") && !user.starts_with("mysql.");
    let all: Vec<&str> = names.filter(known).collect();
    row(vec![(!all.is_empty()).then(|| all.join(","))])
}

fn root_is_open(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let root = data.accounts.get(&("root".to_owned(), "localhost".to_owned()));
    let open = root.is_some_and(|root| root.plugin != "auth_socket" && root.hash.is_empty());
    rows(open.then(|| vec![text(1)]).into_iter().collect())
}
