//! What `cargo lab drill` is asked for, read by `cargo lab` and again by the program in `tests/drill` that carries it out.
//!
//! The drill itself needs a MySQL client, so it is no part of this library. It must never be started without a seed: a drill that
//! cannot be replayed is worth little.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::schedule::Round;

/// Rounds that `--list` prints if none are stated.
const LISTED: u32 = 10;

/// Options of a drill.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Begin no new round of faults after this many minutes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub minutes: u64,
    /// The schedule of faults; drawn and printed if not stated
    #[arg(long)]
    pub seed: Option<u64>,
    /// This many rounds, however long they take, instead of --minutes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Fail if the cluster is not healthy this many seconds after the last fault of a round was undone
    #[arg(long, default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub within: u64,
    /// Use optimised programs
    #[arg(long)]
    pub release: bool,
    /// Leave the lab standing
    #[arg(long)]
    pub keep: bool,
    /// Print the schedule and do nothing
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// The same with a seed.
    pub fn seeded(mut self) -> Self {
        self.seed.get_or_insert_with(|| draw(0));
        self
    }

    /// As words for the program.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--minutes={}", self.minutes),
            format!("--within={}", self.within),
        ];
        args.extend(self.seed.map(|seed| format!("--seed={seed}")));
        args.extend(self.rounds.map(|rounds| format!("--rounds={rounds}")));
        for (flag, on) in [("--release", self.release), ("--keep", self.keep)] {
            args.extend(on.then(|| flag.to_owned()));
        }
        args
    }

    /// The schedule, for people.
    pub fn schedule(&self) -> String {
        let seed = self.seed.unwrap_or_default();
        let rounds = (1..=self.rounds.unwrap_or(LISTED)).map(|number| Round::new(seed, number).to_string());
        format!("seed {seed}\n{}", rounds.collect::<String>())
    }

    /// The command that replays the rounds up to this one.
    pub fn replay(&self, rounds: u32) -> String {
        let release = if self.release { " --release" } else { "" };
        format!(
            "cargo lab drill --seed {} --rounds {rounds}{release}",
            self.seed.unwrap_or_default()
        )
    }
}

/// A seed by the clock: short, since people type it.
pub(crate) fn draw(salt: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs() + salt) % 1_000_000
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_program_is_asked_for_the_same() {
        let typed = [
            "x",
            "--minutes",
            "5",
            "--seed",
            "7",
            "--rounds",
            "2",
            "--within",
            "9",
            "--keep",
            "--release",
        ];
        let options = Line::parse_from(typed).options.seeded();
        let again = Line::parse_from(["x".to_owned()].into_iter().chain(options.to_args())).options;
        assert_eq!(format!("{options:?}"), format!("{again:?}"));
        assert_eq!(again.replay(2), "cargo lab drill --seed 7 --rounds 2 --release");
        assert_eq!(
            again.schedule().matches("round   2").count(),
            Round::new(7, 2).events.len()
        );
        assert!(Line::parse_from(["x"]).options.seeded().seed.is_some());
    }
}
