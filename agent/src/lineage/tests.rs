//! A member's record, look by look: what its server shows, and what may be concluded.

mod between;
mod bootstraps;
mod donors;
mod entries;
mod forced;

use clusterctl_proto::lineage::Shared;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberRole, MemberState};

use super::log::{Line, Log, Logged, MOST, Older, Said};
use super::*;

const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

fn id(text: &str) -> LineageId {
    text.parse().unwrap()
}

fn set(ranges: &str) -> GtidSet {
    if ranges.is_empty() {
        return GtidSet::new();
    }
    format!("{GROUP}:{ranges}").parse().unwrap()
}

fn uuid(number: u128) -> ServerUuid {
    uuid::Uuid::from_u128(number)
}

fn view(state: MemberState, role: MemberRole, view_id: &str, others: &[&str]) -> GroupView {
    let hosts = ["node1"].iter().chain(others);
    GroupView {
        state,
        role,
        view_id: view_id.to_owned(),
        members: hosts
            .map(|host| GroupMember {
                server_uuid: uuid(9),
                host: (*host).to_owned(),
                port: 3306,
                state,
                role,
                version: "9.7.4".to_owned(),
            })
            .collect(),
        auto_rejoin: false,
        channel_error: None,
        standstill_ms: None,
    }
}

fn primary(view_id: &str, others: &[&str]) -> GroupView {
    view(MemberState::Online, MemberRole::Primary, view_id, others)
}

fn secondary(view_id: &str) -> GroupView {
    view(MemberState::Online, MemberRole::Secondary, view_id, &["node2"])
}

fn logged(at: &str, prefix: &str, counter: u64) -> Logged {
    Logged {
        at: at.to_owned(),
        id: id(prefix),
        counter,
        refused: false,
    }
}

struct Scene {
    record: Record,
    first_view_here: bool,
    last_in: Option<Logged>,
    force_members: &'static str,
    log: Log,
    older: Option<Older>,
    cloned: &'static str,
    /// Executed before the view was read, where that was less.
    before: Option<GtidSet>,
    /// Microseconds.
    now: u64,
    /// It does not tell its log.
    silent: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            record: Record::default(),
            first_view_here: false,
            last_in: None,
            force_members: "",
            log: Log::default(),
            older: None,
            cloned: "",
            before: None,
            now: 0,
            silent: false,
        }
    }

    /// A member of this lineage, as a step left it.
    fn member_of(lineage: &str) -> Self {
        let mut scene = Self::new();
        scene.record.known.add(id(lineage), branch(None, ""));
        // Of another lineage before.
        scene.record.member = Some(member(uuid(1), id("0")));
        scene.record.enter(uuid(1), id(lineage), "10:00".to_owned());
        scene
    }

    fn look(&mut self, view: Option<&GroupView>, executed: &str, held: &str) -> Noted {
        let (executed, held) = (set(executed), set(held));
        self.now += 1_000_000;
        let inside = view.and_then(|view| LineageId::of_view(&view.view_id));
        if let Some((id, counter)) = inside.filter(|_| self.record.is_news(view) && !self.silent) {
            self.logs(Said::View { id, counter });
        }
        self.record.look(&Look {
            host: &"node1".parse().unwrap(),
            server_uuid: uuid(1),
            view,
            executed: &executed,
            before: self.before.as_ref().unwrap_or(&executed),
            held: &held,
            force_members: Some(self.force_members),
            last_in: self.last_in.as_ref(),
            first_view_here: self.first_view_here,
            log: Some(&self.log).filter(|_| !self.silent),
            older: self.older.as_ref(),
            at: Some(self.now),
            cloned: Some(self.cloned),
        })
    }

    /// The server logs a line half a second ago.
    fn logs(&mut self, said: Said) {
        let us = self.now - 500_000;
        let at = format!("{us:012}");
        self.log.0.push(Line { at, us, said });
    }

    fn out(&mut self, executed: &str, held: &str) {
        let out = view(MemberState::Offline, MemberRole::None, "", &[]);
        assert_eq!(self.look(Some(&out), executed, held), Noted::Nothing);
    }
}

fn branch(parent: Option<&str>, base: &str) -> Branch {
    Branch {
        parent: parent.map(id),
        base: set(base),
        generation: None,
        host: None,
        abandoned: Default::default(),
    }
}
