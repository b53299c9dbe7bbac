//! Every way into a deed, and what keeps it from being done.

use clusterctl_proto::ids::ServerId;
use clusterctl_proto::observe::{GroupView, MemberRole};

use super::*;
use crate::membership::tests::sample;

fn view(state: MemberState) -> GroupView {
    GroupView {
        state,
        role: MemberRole::None,
        view_id: String::new(),
        members: Vec::new(),
        auto_rejoin: false,
        channel_error: None,
        standstill_ms: None,
    }
}

/// node1 of prod, running, in this state.
pub fn seen(state: MemberState) -> MysqlFacts {
    let server = ServerFacts {
        server_uuid: "6ced32ca-e649-11f1-bb94-02fc00000001".parse().unwrap(),
        server_id: ServerId(1),
        version: "9.7.4".into(),
        report_host: "node1".into(),
        port: 3306,
        x_port: None,
        uptime_seconds: 60,
        gtid_executed: String::new(),
        gtid_purged: String::new(),
        gtid_received: String::new(),
        super_read_only: true,
        offline_mode: false,
        bootstrap_flag: false,
        force_members: String::new(),
        group_name: sample().group.group_name.to_string(),
        group: Some(view(state)),
        tables_without_key: None,
        tables_not_innodb: None,
        user_schemas: None,
        foreign_channels: Vec::new(),
        lacking_rights: None,
        metadata: None,
        queue: 0,
    };
    MysqlFacts {
        installed: Some("9.7.4".into()),
        unit: UnitState::Running,
        unit_result: "success".into(),
        data: DataDirectory::Ours {
            cluster: Some("prod".parse().unwrap()),
        },
        server: Some(server),
        error: None,
    }
}

fn failed() -> MysqlFacts {
    MysqlFacts {
        unit: UnitState::Failed,
        server: None,
        ..seen(MemberState::Offline)
    }
}

/// Decides for an agent that is alone and may rejoin, but for what the closure changes.
fn decided(server: &MysqlFacts, change: impl FnOnce(&mut Facts<'_>)) -> Deed {
    let membership = sample();
    let mut facts = Facts {
        server,
        step_runs: false,
        deed_runs: false,
        hands_off: false,
        flag_looked_at: true,
        new_view: false,
        alone_for: Some(ALONE),
        membership: Some(&membership),
        may_rejoin: true,
    };
    change(&mut facts);
    decide(&facts, &Pauses::default(), Instant::now())
}

fn with(mut facts: MysqlFacts, change: impl FnOnce(&mut ServerFacts)) -> MysqlFacts {
    change(facts.server.as_mut().unwrap());
    facts
}

#[test]
fn a_member_out_of_its_group_is_brought_back() {
    for state in [MemberState::Offline, MemberState::Error] {
        assert_eq!(decided(&seen(state), |_| ()), Deed::Rejoin, "{state:?}");
    }
    for state in [MemberState::Online, MemberState::Recovering, MemberState::Unreachable] {
        assert_eq!(decided(&seen(state), |_| ()), Deed::Nothing, "{state:?}");
    }
    let exited = with(seen(MemberState::Error), |server| server.offline_mode = true);
    assert_eq!(decided(&exited, |_| ()), Deed::Rejoin);
}

#[test]
fn nothing_is_done_alone_where_it_is_not_certain() {
    let out = seen(MemberState::Offline);
    assert_eq!(decided(&out, |f| f.alone_for = None), Deed::Nothing, "led");
    assert_eq!(decided(&out, |f| f.alone_for = Some(ALONE / 2)), Deed::Nothing);
    assert_eq!(decided(&out, |f| f.hands_off = true), Deed::Nothing);
    assert_eq!(decided(&out, |f| f.step_runs = true), Deed::Nothing);
    assert_eq!(decided(&out, |f| f.deed_runs = true), Deed::Nothing);
    assert_eq!(
        decided(&out, |f| f.may_rejoin = false),
        Deed::TellForbidden,
        "promised away"
    );
    let led = decided(&out, |f| (f.may_rejoin, f.alone_for) = (false, None));
    assert_eq!(led, Deed::Nothing);
    assert_eq!(decided(&out, |f| f.membership = None), Deed::Nothing);
    let trying = with(out.clone(), |server| {
        server.group.as_mut().unwrap().auto_rejoin = true;
    });
    assert_eq!(decided(&trying, |_| ()), Deed::Nothing, "on its way by itself");
    for data in [
        DataDirectory::Pristine,
        DataDirectory::Foreign { what: "x".into() },
        DataDirectory::Ours { cluster: None },
        DataDirectory::Ours {
            cluster: Some("test".parse().unwrap()),
        },
    ] {
        let facts = MysqlFacts { data, ..out.clone() };
        assert_eq!(decided(&facts, |_| ()), Deed::TellAstray, "{:?}", facts.data);
    }
}

/// Why it is told that the server is not brought back, by an agent that is alone.
fn told(server: &MysqlFacts) -> Option<String> {
    let mut code = None;
    let deed = decided(server, |facts| code = astray(facts).map(|failure| failure.code));
    assert_eq!(deed == Deed::TellAstray, code.is_some(), "{deed:?}");
    code
}

#[test]
fn a_member_that_is_out_and_cannot_be_brought_back_is_told_and_not_touched() {
    let out = seen(MemberState::Offline);
    let other = with(out.clone(), |server| server.group_name = "another".into());
    assert_eq!(told(&other).as_deref(), Some("other_group"));
    let other = with(seen(MemberState::Online), |server| server.group_name = "another".into());
    assert_eq!(told(&other).as_deref(), Some("other_group"), "inside of that one");
    let plain = with(out.clone(), |server| server.group = None);
    assert_eq!(told(&plain).as_deref(), Some("group_plugin"));
    let unmarked = |server: MysqlFacts| MysqlFacts {
        data: DataDirectory::Pristine,
        ..server
    };
    assert_eq!(told(&unmarked(out.clone())).as_deref(), Some("foreign_data"));
    assert_eq!(
        told(&unmarked(seen(MemberState::Error))).as_deref(),
        Some("foreign_data")
    );
    // In its group it is not out, whatever its folder shows.
    for state in [MemberState::Online, MemberState::Recovering] {
        assert_eq!(told(&unmarked(seen(state))), None);
    }
    let trying = with(out.clone(), |server| server.group.as_mut().unwrap().auto_rejoin = true);
    assert_eq!(told(&unmarked(trying)), None, "on its way by itself");
    // What is no member, and what a coordinator or a person sees to.
    assert_eq!(decided(&other, |facts| facts.membership = None), Deed::Nothing);
    assert_eq!(decided(&other, |facts| facts.alone_for = None), Deed::Nothing);
    assert_eq!(decided(&other, |facts| facts.hands_off = true), Deed::Nothing);
    assert_eq!(decided(&other, |facts| facts.step_runs = true), Deed::Nothing);
}

#[test]
fn a_failed_unit_is_started_and_a_stopped_one_is_not() {
    assert_eq!(decided(&failed(), |_| ()), Deed::StartServer);
    // starting mysqld enters no group: no promise is against it
    assert_eq!(decided(&failed(), |f| f.may_rejoin = false), Deed::StartServer);
    assert_eq!(decided(&failed(), |f| f.hands_off = true), Deed::Nothing);
    assert_eq!(decided(&failed(), |f| f.alone_for = None), Deed::Nothing);
    for unit in [
        UnitState::Absent,
        UnitState::Stopped,
        UnitState::Starting,
        UnitState::Stopping,
    ] {
        let facts = MysqlFacts { unit, ..failed() };
        assert_eq!(decided(&facts, |_| ()), Deed::Nothing, "{unit:?}");
    }
    let foreign = MysqlFacts {
        data: DataDirectory::Foreign { what: "shop".into() },
        ..failed()
    };
    assert_eq!(decided(&foreign, |_| ()), Deed::Nothing);
}

#[test]
fn a_forgotten_bootstrap_flag_is_cleared_also_while_a_coordinator_leads() {
    let on = with(seen(MemberState::Online), |server| server.bootstrap_flag = true);
    assert_eq!(decided(&on, |f| f.alone_for = None), Deed::ClearFlag);
    assert_eq!(decided(&on, |f| f.deed_runs = true), Deed::ClearFlag);
    assert_eq!(
        decided(&on, |f| f.step_runs = true),
        Deed::Nothing,
        "it may be the step's"
    );
    assert_eq!(
        decided(&on, |f| f.hands_off = true),
        Deed::Nothing,
        "somebody works here by hand"
    );
    let starting = with(on, |server| server.group.as_mut().unwrap().auto_rejoin = true);
    assert_eq!(decided(&starting, |_| ()), Deed::Nothing, "a START runs");
}

#[test]
fn the_flag_is_looked_at_once_where_the_data_is_ours_whatever_the_facts_say_of_it() {
    let first = |facts: &MysqlFacts| {
        decided(facts, |f| {
            f.alone_for = None;
            f.flag_looked_at = false;
        })
    };
    let (off, on) = (
        seen(MemberState::Online),
        with(seen(MemberState::Online), |server| server.bootstrap_flag = true),
    );
    assert_eq!(first(&off), Deed::ClearFlag, "persisted only, say");
    assert_eq!(first(&failed()), Deed::Nothing, "there is nobody to ask");
    for data in [DataDirectory::Pristine, DataDirectory::Foreign { what: "shop".into() }] {
        let facts = MysqlFacts { data, ..on.clone() };
        assert_eq!(first(&facts), Deed::Nothing, "{:?}", facts.data);
    }
}

#[test]
fn a_failed_try_waits_and_a_healthy_server_ends_the_wait() {
    let (now, longest) = (Instant::now(), Duration::from_secs(120));
    let (membership, out) = (sample(), seen(MemberState::Offline));
    let mut pauses = Pauses::default();
    let facts = Facts {
        server: &out,
        step_runs: false,
        deed_runs: false,
        hands_off: false,
        flag_looked_at: true,
        new_view: false,
        alone_for: Some(ALONE),
        membership: Some(&membership),
        may_rejoin: true,
    };
    pauses.rejoin.failed(now, longest);
    assert_eq!(decide(&facts, &pauses, now), Deed::Nothing);
    assert_eq!(decide(&facts, &pauses, now + Duration::from_secs(5)), Deed::Rejoin);
    settle(&out, &mut pauses, now);
    assert_eq!(decide(&facts, &pauses, now), Deed::Nothing, "still out");
    let online = seen(MemberState::Online);
    settle(&online, &mut pauses, now);
    settle(&online, &mut pauses, now + LASTING / 2);
    assert_eq!(decide(&facts, &pauses, now), Deed::Nothing, "not for long");
    // what falls out in between begins anew
    settle(&out, &mut pauses, now + LASTING / 2);
    settle(&online, &mut pauses, now + LASTING);
    assert_eq!(decide(&facts, &pauses, now), Deed::Nothing);
    settle(&online, &mut pauses, now + LASTING * 2);
    assert_eq!(decide(&facts, &pauses, now), Deed::Rejoin);
}
