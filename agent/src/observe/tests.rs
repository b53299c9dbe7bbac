//! The order in which looks at the server are taken into account.

use clusterctl_proto::ids::ServerId;
use clusterctl_proto::observe::{GroupView, MemberRole, MemberState, ServerFacts, UnitState};

use super::*;
use crate::host::fake::FakeHost;
use crate::mysql::Driver;

/// A server that is out of any group and has executed this.
fn out(executed: &str) -> MysqlFacts {
    let server = ServerFacts {
        server_uuid: "6ced32ca-e649-11f1-bb94-02fc00000001".parse().unwrap(),
        server_id: ServerId(1),
        version: "9.7.4".into(),
        report_host: "node1".into(),
        port: 3306,
        x_port: None,
        uptime_seconds: 60,
        gtid_executed: executed.to_owned(),
        gtid_purged: String::new(),
        gtid_received: String::new(),
        super_read_only: true,
        offline_mode: false,
        bootstrap_flag: false,
        force_members: String::new(),
        group_name: String::new(),
        group: Some(GroupView {
            state: MemberState::Offline,
            role: MemberRole::None,
            view_id: String::new(),
            members: Vec::new(),
            auto_rejoin: false,
            channel_error: None,
            standstill_ms: None,
        }),
        tables_without_key: None,
        tables_not_innodb: None,
        user_schemas: None,
        foreign_channels: Vec::new(),
        lacking_rights: None,
        metadata: None,
        queue: 0,
    };
    MysqlFacts {
        installed: None,
        unit: UnitState::Running,
        unit_result: String::new(),
        data: DataDirectory::Ours {
            cluster: Some("prod".parse().unwrap()),
        },
        server: Some(server),
        error: None,
    }
}

#[tokio::test]
async fn a_look_is_not_written_over_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    Ledger::create(dir.path()).unwrap();
    let ledger = Arc::new(Ledger::open(dir.path()));
    let observer = Observer::new(
        (Arc::new(FakeHost::new()), Arc::new(Driver)),
        Arc::new(Config::default()),
        Arc::clone(&ledger),
        Arc::default(),
        String::new(),
        None,
        "node1".parse().unwrap(),
    );
    let set = |to: u32| format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{to}");
    let look = |number| Looked {
        number,
        at: Some(number),
        ..Looked::default()
    };
    for (number, to) in [(2, 9), (1, 5), (3, 12), (2, 9)] {
        observer.note(&out(&set(to)), look(number)).await;
    }
    let record = ledger.lineage(&"prod".parse().unwrap()).unwrap();
    assert_eq!(record.out.unwrap().held, set(12).parse().unwrap());
}
