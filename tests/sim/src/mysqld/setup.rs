//! Servers as `clusterctl create` leaves them, for simulations that begin with a formed cluster.

use super::data::Account;
use super::server::Server;

/// Rights of a member's account.
const RIGHTS: [&str; 4] = [
    "REPLICATION SLAVE",
    "BACKUP_ADMIN",
    "CONNECTION_ADMIN",
    "GROUP_REPLICATION_STREAM",
];

impl Server {
    /// Plugins, locking functions, the accounts of all members, and the settings of a member are on the disk. `members`: hosts with
    /// their account's name. To be called while mysqld does not run.
    pub fn equip(&self, group_name: &str, members: &[(&str, &str)]) {
        let mut world = self.net().lock();
        let host = self.host().to_owned();
        let disk = &mut world.servers[self.id].disk;
        disk.data
            .plugins
            .extend(["group_replication", "clone"].map(str::to_owned));
        let functions = [
            "service_get_read_locks",
            "service_get_write_locks",
            "service_release_locks",
        ];
        disk.data.functions.extend(functions.map(str::to_owned));
        for (member, user) in members {
            let mut account = Account {
                plugin: "caching_sha2_password".to_owned(),
                issuer: "/CN=clusterctl CA".to_owned(),
                subject: format!("/CN={member}"),
                ssl: "SPECIFIED".to_owned(),
                ..Account::default()
            };
            let all = account.rights.entry(Default::default()).or_default();
            all.extend(RIGHTS.map(|right| (right.to_owned(), false)));
            for table in ["replication_group_members", "replication_group_member_stats"] {
                let level = ("performance_schema".to_owned(), table.to_owned());
                account
                    .rights
                    .entry(level)
                    .or_default()
                    .insert("SELECT".to_owned(), false);
            }
            disk.data.accounts.insert(((*user).to_owned(), "%".to_owned()), account);
            if *member == host {
                disk.data.recovery_user = Some((*user).to_owned());
            }
        }
        let seeds: Vec<String> = members
            .iter()
            .filter(|(member, _)| *member != host)
            .map(|(member, _)| format!("{member}:3306"))
            .collect();
        let settings = [
            ("super_read_only", "ON"),
            ("group_replication_group_name", group_name),
            ("group_replication_start_on_boot", "OFF"),
            ("group_replication_communication_stack", "MYSQL"),
            ("group_replication_local_address", &format!("{host}:3306")),
            ("group_replication_group_seeds", &seeds.join(",")),
            ("group_replication_member_expel_timeout", "0"),
            ("group_replication_autorejoin_tries", "3"),
            ("group_replication_unreachable_majority_timeout", "20"),
            ("group_replication_exit_state_action", "OFFLINE_MODE"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        disk.persisted.extend(settings);
        disk.channels.insert("group_replication_recovery");
        let options = [
            ("report_host", host.as_str()),
            ("gtid_mode", "ON"),
            ("enforce_gtid_consistency", "ON"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        world.servers[self.id].options.extend(options);
    }
}
