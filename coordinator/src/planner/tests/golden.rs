//! Plans as text, compared with files. `BLESS=1 cargo test -p clusterctl-coordinator planner` writes them anew.

use std::path::PathBuf;

use super::stage::{Stage, add_router, create, join};
use crate::model::{OperationKind, PlanDraft};

/// One line per step, then the report.
pub fn render(draft: &PlanDraft) -> String {
    let mut text = String::new();
    for step in &draft.steps {
        let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
        let mark = match (step.finally, step.best_effort) {
            (true, _) => " (finally)",
            (false, true) => " (best effort)",
            (false, false) => "",
        };
        let after = if after.is_empty() {
            String::new()
        } else {
            format!(" <- {}", after.join(" "))
        };
        text += &format!(
            "{:>3} {:<8} {:<21} {}{mark}{after}\n",
            step.number,
            step.host.as_str(),
            step.step.name(),
            step.title
        );
    }
    for line in &draft.report {
        text += &format!("  # {line}\n");
    }
    text += &format!("  = {}\n", draft.done_message);
    text
}

fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/planner/tests/golden")
        .join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "{} differs; if that is meant: BLESS=1\n--- now\n{text}",
        path.display()
    );
}

#[test]
fn create_of_everything() {
    let plan = Stage::new().dry_plan(create("node1", &["node2", "node3"], &["router1"]));
    compare("create-everything.txt", &render(&plan));
}

#[test]
fn create_of_one() {
    let plan = Stage::new().dry_plan(create("node1", &[], &[]));
    compare("create-one.txt", &render(&plan));
    // Every value of every step, too: what stands in it is all that agents know.
    let json = serde_json::to_string_pretty(&plan.steps).unwrap();
    compare("create-one.json", &(json + "\n"));
}

#[test]
fn joins() {
    let stage = Stage::after(&[create("node1", &[], &[])]);
    compare("join-second.txt", &render(&stage.dry_plan(join("node2"))));
    let mut stage = Stage::three();
    compare("join-fourth.txt", &render(&stage.dry_plan(join("node4"))));
    stage.toy.server("node1").gtid_purged = format!("{}:1-2", super::stage::GROUP);
    stage.toy.look();
    compare("join-by-clone.txt", &render(&stage.dry_plan(join("node4"))));
}

#[test]
fn removals() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &["router1"])]);
    compare(
        "remove-secondary.txt",
        &render(&stage.dry_plan(OperationKind::Remove {
            host: super::toy::name("node4"),
            force: false,
        })),
    );
    compare(
        "remove-primary.txt",
        &render(&stage.dry_plan(OperationKind::Remove {
            host: super::toy::name("node1"),
            force: false,
        })),
    );
    let host = super::toy::name("node4");
    stage.toy.restart(&host);
    stage.toy.host("node4").answers = false;
    stage.toy.now += 60_000;
    stage.toy.look();
    compare(
        "remove-dead.txt",
        &render(&stage.dry_plan(OperationKind::Remove { host, force: true })),
    );
}

#[test]
fn the_others() {
    let stage = Stage::three();
    compare(
        "switchover.txt",
        &render(&stage.dry_plan(OperationKind::Switchover { to: None })),
    );
    compare("verify.txt", &render(&stage.dry_plan(OperationKind::Verify)));
    compare("router-add.txt", &render(&stage.dry_plan(add_router("router2"))));
    let router = super::toy::name("router1");
    compare(
        "router-remove.txt",
        &render(&stage.dry_plan(OperationKind::RemoveRouter {
            host: router,
            force: false,
        })),
    );
    let lone = Stage::after(&[create("node1", &[], &[])]);
    compare("verify-alone.txt", &render(&lone.dry_plan(OperationKind::Verify)));
}
