//! Runs the checker over one configuration and tells what it found.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::model::{Action, Protocol};
use crate::rules::Config;
use crate::scene::Scenes;

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// Every state, depth first: the least memory.
    Everything,
    /// Breadth first up to this depth, and no further than about this many states.
    Bounded {
        /// Actions from the start.
        depth: usize,
        /// Generated states, seen before or not.
        states: usize,
    },
    /// Breadth first until the first counterexample, which so is a shortest one.
    FirstCounterexample,
}

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Generated states.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// The longest path that was followed, in states.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Properties that do not hold, and how that comes about.
    pub counterexamples: Vec<(&'static str, Vec<Action>)>,
    /// What was seen.
    pub scenes: Arc<Scenes>,
}

/// Searches with this many threads.
pub fn run(config: Config, extent: Extent, threads: usize) -> Report {
    let began = Instant::now();
    let model = Protocol::new(config);
    let scenes = Arc::clone(model.scenes());
    let properties = model.properties();
    let always = |name: &str| {
        properties
            .iter()
            .any(|p| p.name == name && p.expectation == Expectation::Always)
    };
    let checker = model
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures);
    // The three kinds of checkers have no type in common.
    let (states, unique, depth, found) = match extent {
        Extent::Everything => outcome(checker.spawn_dfs()),
        Extent::Bounded { depth, states } => {
            outcome(checker.target_max_depth(depth).target_state_count(states).spawn_bfs())
        }
        Extent::FirstCounterexample => outcome(checker.spawn_bfs()),
    };
    Report {
        states,
        unique,
        depth,
        took: began.elapsed(),
        counterexamples: found.into_iter().filter(|(name, _)| always(name)).collect(),
        scenes,
    }
}

type Found = Vec<(&'static str, Vec<Action>)>;

fn outcome(checker: impl Checker<Protocol>) -> (usize, usize, usize, Found) {
    let checker = checker.join();
    let paths = checker.discoveries().into_iter();
    let found = paths.map(|(name, path)| (name, path.into_actions())).collect();
    (
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        found,
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            unique,
            depth,
            took,
            ..
        } = self;
        write!(
            f,
            "states={states} unique={unique} depth={depth} seconds={:.1}",
            took.as_secs_f64()
        )?;
        for (name, path) in &self.counterexamples {
            write!(f, "\ncounterexample: not always \"{name}\"")?;
            for action in path {
                write!(f, "\n  {action:?}")?;
            }
        }
        Ok(())
    }
}
