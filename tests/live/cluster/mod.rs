//! A cluster formed, proven, broken and mended with the commands that a DBA types, on labs of its own.
//!
//! One `#[test]` tells the whole story in its order, since each chapter builds on the cluster of those before; `story` prints each
//! case with its time as it goes. The first lab is formed command by command; a second one in one go, under SIGKILLs.

mod bad_input;
pub mod desk;
mod dry_run;
pub mod enrolling;
mod forming;
mod kills;
mod metadata;
pub mod points;
mod reality;
mod recovery;
mod routers;
mod secrets;
pub mod story;
mod token;

use clusterctl_lab::Lab;

use desk::{Desk, HOSTS};
use story::{Story, say};

/// A lab with our packages installed and nothing formed; one that stands is used when only some cases are wanted.
fn fresh(suffix: &str) -> Desk {
    let name = format!("{}-{suffix}", crate::name());
    if story::wanted().is_empty() {
        Lab::down(&name).expect("an old lab is removed");
    }
    Desk {
        lab: Lab::up_installed(&name, &HOSTS).expect("the lab stands"),
    }
}

#[test]
fn a_cluster_is_formed_proven_broken_and_mended() {
    if !story::live() {
        return;
    }
    let desk = fresh("form");
    say(&format!("\n    lab {}", desk.lab.name()));
    let mut story = Story::new(&desk);
    tell(&mut story);
    close(&desk, story);
}

/// A lab in which all went well goes: its memory and processors are for the next one.
pub fn close(desk: &Desk, story: Story<'_>) {
    if story.good() && story::wanted().is_empty() {
        Lab::down(desk.lab.name()).expect("the lab is removed");
    }
    story.end();
}

fn tell(story: &mut Story<'_>) {
    // Bare hosts.
    story.case("nothing before init", enrolling::nothing_before_init);
    if !story.case("init", enrolling::init) {
        return;
    }
    story.case("init: keys are kept", enrolling::keys_are_kept);
    story.case("bad input: tokens", enrolling::bad_tokens);
    story.case(
        "bad input: tokens are tried a few times only",
        enrolling::guessed_tokens,
    );
    story.case("bad input: a token instead of its id", enrolling::token_instead_of_id);
    story.case("bad input: names", bad_input::names);
    story.case("bad input: a host that is not enrolled", bad_input::not_enrolled);
    if !story.case("enrol", enrolling::enrol) {
        return;
    }
    story.case("enrol: no token is kept", enrolling::no_token_is_kept);
    story.case("bad input: hosts that do not fit", bad_input::hosts_that_do_not_fit);
    story.case("bad input: misspelt keys", bad_input::misspelt_keys);
    story.case("bad input: roles", bad_input::roles);
    story.case("bad input: a foreign CA", bad_input::foreign_ca);
    story.case("bad input: tidy up", bad_input::tidy);

    // The transcript.
    story.case("check", forming::check);
    story.case("dry runs before create", dry_run::before_create);
    if !story.case("create", forming::create) {
        return;
    }
    story.case("create again", forming::create_again);
    story.case("dry runs before join", dry_run::before_join);
    if !story.case("join node2", |desk| forming::join(desk, "node2")) {
        return;
    }
    story.case("join node2 again", |desk| forming::join_again(desk, "node2"));
    story.case("bad input: a member of another cluster", bad_input::member_of_another);
    story.case("bad input: the port is taken", bad_input::port_taken);
    story.case("bad input: somebody's data", bad_input::foreign_data);
    if !story.case("join node3", |desk| forming::join(desk, "node3")) {
        return;
    }
    story.case("join node3 again", |desk| forming::join_again(desk, "node3"));
    if !story.case("router add", forming::add_router) {
        return;
    }
    story.case("router add again", forming::add_router_again);
    if !story.case("accounts", forming::accounts) {
        return;
    }
    story.case("status", forming::status);
    story.case("verify", forming::verify);
    story.case("hosts files", forming::hosts_files);

    // What is really there.
    story.case("reality: members", reality::members);
    story.case("reality: member accounts", reality::member_accounts);
    story.case("reality: few starts", reality::few_starts);
    story.case("reality: certificates", reality::certificates);
    story.case("reality: sockets", reality::sockets);
    story.case("reality: through Router", reality::through_router);
    story.case(
        "reality: only the group's transactions",
        reality::only_the_groups_transactions,
    );
    story.case("reality: journal fields", reality::journal_fields);
    story.case("metadata: schema", metadata::schema);
    story.case("metadata: rows", metadata::rows);
    story.case("metadata: grants", metadata::grants);
    story.case("metadata: Router's questions", metadata::routers_questions);
    story.case("metadata: the Shell's questions", metadata::the_shells_questions);
    story.case("dry runs when formed", dry_run::when_formed);

    // Members go and come.
    story.case("switchover", recovery::switchover);
    if story.case("remove", recovery::remove) {
        story.case("recovery: no primary key", recovery::no_primary_key);
        if !story.case("recovery: by binary logs", recovery::rejoin_by_binary_logs) {
            return;
        }
        story.case("recovery: errant transactions", recovery::errant);
        story.case("recovery: load", recovery::load);
        if !story.case("recovery: clone", recovery::clone) {
            return;
        }
        story.case("recovery: leave and return", recovery::leave_and_return);
        story.case("the story is told", recovery::story_is_told);
    }

    // Somebody dies.
    if story.case("router remove", routers::remove) {
        story.case("router add: the agent is killed", routers::agent_killed);
        story.case("router add: the bootstrap is killed", routers::bootstrap_killed);
    }
    story.case("Ctrl-C", kills::interrupted);
    story.case("killed at each point of join", kills::join);
    story.case("verify in the end", forming::verify);
}

#[test]
fn a_cluster_is_formed_in_one_go_while_everything_is_killed() {
    if !story::live() {
        return;
    }
    let desk = fresh("kill");
    say(&format!("\n    lab {}", desk.lab.name()));
    let mut story = Story::new(&desk);
    if story.case("one go: init", enrolling::init) && story.case("one go: enrol", enrolling::enrol) {
        story.case("one go: killed at each point of create", kills::create);
        story.case("one go: metadata", metadata::rows);
    }
    close(&desk, story);
}
