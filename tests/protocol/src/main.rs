//! The searches that take longer than a test.
//!
//! `exhaustive` searches every world of three members completely; with a WORD those that have it in their name. `bounded [DEPTH]` searches
//! those of five members to that depth, or until a world has had its number of states. Both print states, different states, depth and
//! seconds, and how often each scene was seen. Exit code 1: a counterexample, which is printed, or a scene that no world of `exhaustive`
//! has shown.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clusterctl_protocol_model::rules::{bounded_worlds, exhaustive_worlds};
use clusterctl_protocol_model::scene::ALL_SCENES;
use clusterctl_protocol_model::search::{Extent, Report, run};

const USAGE: &str = "usage: clusterctl-protocol-model exhaustive [WORD] | bounded [DEPTH]";
/// Of actions and the first state; worlds that end earlier are searched completely.
const DEPTH: usize = 24;
/// More do not fit into the memory of a small machine: the queue of a breadth-first search holds whole states.
const MOST_STATES: usize = 20_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match args[..] {
        ["exhaustive"] => exhaustive("", threads),
        ["exhaustive", word] => exhaustive(word, threads),
        ["bounded"] => bounded(DEPTH, threads),
        ["bounded", depth] => match depth.parse() {
            Ok(depth) => bounded(depth, threads),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn exhaustive(word: &str, threads: usize) -> ExitCode {
    let mut seen: BTreeMap<&str, u64> = ALL_SCENES.iter().map(|scene| (scene.text(), 0)).collect();
    let mut held = true;
    for (name, config) in exhaustive_worlds().into_iter().filter(|(name, _)| name.contains(word)) {
        let report = run(config, Extent::Everything, threads);
        println!("3 members, 2 coordinators, {name}: {report}");
        held &= report.counterexamples.is_empty();
        add(&mut seen, &report);
    }
    tell(&seen);
    // One world does not show everything.
    finish(held && (!word.is_empty() || seen.values().all(|count| *count > 0)))
}

fn bounded(depth: usize, threads: usize) -> ExitCode {
    let extent = Extent::Bounded {
        depth,
        states: MOST_STATES,
    };
    let mut seen = BTreeMap::new();
    let mut held = true;
    for (name, config) in bounded_worlds() {
        let report = run(config, extent, threads);
        println!("5 members, 3 coordinators, {name}: {report}");
        if report.states >= MOST_STATES {
            println!(
                "  stopped after {MOST_STATES} states: every state above depth {} was searched",
                report.depth
            );
        }
        held &= report.counterexamples.is_empty();
        add(&mut seen, &report);
    }
    tell(&seen);
    finish(held)
}

fn add(seen: &mut BTreeMap<&str, u64>, report: &Report) {
    for scene in ALL_SCENES {
        *seen.entry(scene.text()).or_default() += report.scenes.count(*scene);
    }
}

fn tell(seen: &BTreeMap<&str, u64>) {
    println!("transitions that showed each scene:");
    for (scene, count) in seen {
        println!("{count:>12}  {scene}");
    }
}

fn finish(held: bool) -> ExitCode {
    println!("{}", if held { "no counterexample" } else { "FAILED" });
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
