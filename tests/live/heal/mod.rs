//! What was formed stays: faults of every day and bad days, under a client that writes without pause, with nobody touching it.
//!
//! One `#[test]` with a lab of its own, told as the chapters of `cluster` are; its cases leave a whole cluster to the next. node3's
//! data and the coordinator's state lie on small disks, so that they can be full.

mod bad_days;
mod conformance;
mod crashes;
mod histories;
mod identities;
mod joins;
mod outage;
mod planned;
mod scene;
mod wounds;

use clusterctl_lab::{HostSpec, Lab, Options, Packages};

use crate::cluster::close;
use crate::cluster::desk::{Desk, HOSTS};
use crate::cluster::story::{self, Story, say};
use scene::Scene;

/// Enough for a member with its binary logs; full in a second.
const NODE3: &str = "2500M";
/// Enough for a coordinator's log and snapshots.
const COORDINATOR: &str = "64M";

fn lab() -> Lab {
    let name = format!("{}-heal", crate::name());
    if story::wanted().is_empty() {
        Lab::down(&name).expect("an old lab is removed");
    }
    let specs = HOSTS.map(|host| HostSpec {
        data_size: (host == "node3").then(|| NODE3.to_owned()),
        coordinator_size: (host == "node1").then(|| COORDINATOR.to_owned()),
        ..HostSpec::new(host)
    });
    let lab = Lab::up_with(&name, &specs, &Options::default()).expect("the lab stands");
    let packages = Packages::from_environment_or_build().expect("our packages");
    lab.install(&packages).expect("our packages are installed");
    lab
}

#[test]
fn what_was_formed_stays() {
    if !story::live() {
        return;
    }
    let desk = Desk { lab: lab() };
    say(&format!("\n    lab {}", desk.lab.name()));
    let mut story = Story::new(&desk);
    tell(&desk, &mut story);
    close(&desk, story);
}

fn tell(desk: &Desk, story: &mut Story<'_>) {
    let scene = Scene::new(desk);
    let scene = &scene;
    if !story.case("formed", |_| scene.form()) {
        return;
    }
    type Case = fn(&Scene<'_>, &crate::load::Writer) -> anyhow::Result<()>;
    let cases: [(&str, Case); 45] = [
        // Machines and processes end without a word.
        ("crash: a secondary reboots", crashes::secondary_reboots),
        ("crash: a secondary loses power", crashes::secondary_loses_power),
        ("crash: the primary loses power", crashes::primary_loses_power),
        ("crash: the primary's mysqld is killed", crashes::primary_is_killed),
        ("crash: the coordinator's host is off", crashes::coordinators_host_off),
        (
            "crash: the coordinator's host is off, and it was the primary",
            crashes::coordinator_and_primary_off,
        ),
        ("crash: Router dies, its host reboots", crashes::router),
        // Somebody stops the primary in an orderly way.
        ("planned: mysqld restarts", planned::mysqld_restarts),
        ("planned: the host reboots", planned::host_reboots),
        ("planned: mysqld is stopped", planned::mysqld_stopped),
        (
            "planned: mysqld restarts, nobody of ours is there",
            planned::mysqld_restarts_alone,
        ),
        // Everybody is gone.
        ("outage: all lose power, one is late", outage::all_lose_power),
        ("outage: one never comes back", outage::one_stays_away),
        ("outage: a joiner dies at the door", outage::joiner_dies_at_the_door),
        // One is out of the group.
        ("out: group replication is stopped", wounds::group_stopped),
        ("out: a secondary is frozen", wounds::secondary_frozen),
        ("out: the primary is frozen", wounds::primary_frozen),
        ("out: a secondary is cut off", wounds::secondary_cut_off),
        ("out: a secondary hears nothing", wounds::secondary_is_deaf),
        ("out: the primary is not heard", wounds::primary_not_heard),
        ("out: an applier breaks", wounds::applier_breaks),
        ("out: the metadata do not list a member", wounds::row_deleted),
        ("left alone: pause", wounds::pause),
        ("left alone: maintenance", wounds::maintenance),
        ("errant: quarantined", wounds::errant),
        // A person does by hand what a plan was about to do.
        (
            "history: an order outlives a power cut, a person bootstraps",
            histories::order_outlives_a_power_cut,
        ),
        (
            "history: the coordinator stands still, a person bootstraps",
            histories::coordinator_stands_still,
        ),
        (
            "history: mysqld is frozen before START, a person bootstraps",
            histories::frozen_before_start,
        ),
        (
            "history: a person bootstraps, no coordinator is there",
            histories::by_hand_without_coordinator,
        ),
        (
            "history: a group lives while an agent is away",
            histories::group_between_two_looks,
        ),
        ("history: numbers are used again", histories::numbers_used_again),
        ("history: an old disk of the coordinator", histories::old_disk),
        // Who speaks as a host.
        ("identity: a machine is cloned", identities::machine_cloned),
        (
            "identity: a power cycle of two seconds",
            identities::power_cycle_of_two_seconds,
        ),
        ("identity: a certificate expires", identities::certificate_expires),
        // Bad days.
        ("join: two operators at once", joins::two_operators),
        ("join: the primary is lost", joins::primary_lost),
        ("join: the joiner loses power", joins::joiner_loses_power),
        ("join: the package mirror is dead", joins::mirror_dead),
        ("join: dpkg is locked", joins::dpkg_locked),
        (
            "bad day: the coordinator's disk is full",
            bad_days::coordinators_disk_full,
        ),
        ("bad day: a member's disk is full", bad_days::members_disk_full),
        ("bad day: a ledger is lost", bad_days::ledger_lost),
        ("bad day: who heals is killed", bad_days::killed_while_healing),
        ("bad day: the bootstrap flag is on", bad_days::bootstrap_flag),
    ];
    for (name, case) in cases {
        story.case(name, |_| scene.under(|writer| case(scene, writer)));
    }
    // Two members are copied anew: `cargo lab night` asks for it.
    story.case_on_demand("forced: the variable is taken back at once", |_| {
        scene.under(|writer| histories::forced_and_taken_back(scene, writer))
    });
    // The simulation is not our opinion. Five minutes: `cargo lab night` asks for it.
    story.case_on_demand("conformance: mysqld behaves as the simulated one", |_| {
        scene.under(|writer| conformance::same_script(scene, writer))
    });
    story.case("nothing was lost in all of this", |_| scene.everything());
}
