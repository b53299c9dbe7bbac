//! Runs named cases one after another, tells each with its time, goes on after a failure, ends with a list of all.
//!
//! The chapters build on each other's cluster: one `#[test]` each would need a fresh cluster each, and the time is not there.
//! `CLUSTERCTL_LIVE_CASES=word,word` runs only cases with such a word in their name, on the lab as it stands.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use anyhow::Result;

use super::desk::Desk;

/// The cases told so far.
pub struct Story<'a> {
    desk: &'a Desk,
    wanted: Vec<String>,
    /// Of these, what some case had in its name.
    met: BTreeSet<String>,
    failed: Vec<String>,
    told: usize,
    started: Instant,
}

/// Words of `CLUSTERCTL_LIVE_CASES`; none: every case.
pub fn wanted() -> Vec<String> {
    let words = std::env::var("CLUSTERCTL_LIVE_CASES").unwrap_or_default();
    words
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether live tests are wanted at all.
pub fn live() -> bool {
    let live = std::env::var("CLUSTERCTL_LIVE").is_ok_and(|value| value == "1");
    if !live {
        eprintln!("skipped: a live test; `cargo lab test` runs it");
    }
    live
}

/// Straight to stderr: libtest keeps what `eprintln!` prints until a test fails, and minutes of silence look like a hang.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl<'a> Story<'a> {
    /// Nothing told yet.
    pub fn new(desk: &'a Desk) -> Self {
        Self {
            desk,
            wanted: wanted(),
            met: BTreeSet::new(),
            failed: Vec::new(),
            told: 0,
            started: Instant::now(),
        }
    }

    /// Tells one case; answers whether what builds on it can be told.
    pub fn case(&mut self, name: &str, case: impl FnOnce(&Desk) -> Result<()>) -> bool {
        let meets = self.wanted.iter().filter(|word| name.contains(word.as_str()));
        let met: Vec<String> = meets.cloned().collect();
        if !self.wanted.is_empty() && met.is_empty() {
            return true;
        }
        self.met.extend(met);
        self.told += 1;
        let begun = Instant::now();
        let result = case(self.desk);
        let took = begun.elapsed().as_secs_f32();
        match result {
            Ok(()) => say(&format!("    ok     {took:6.1} s  {name}")),
            Err(error) => {
                say(&format!("    FAILED {took:6.1} s  {name}: {error:#}"));
                say(&format!(
                    "{}\n---- end of the journals for: {name}",
                    self.desk.journals()
                ));
                self.failed.push(format!("{name}: {error:#}\n{}", self.desk.digest()));
                return false;
            }
        }
        true
    }

    /// A case that takes too long for every run: told only where `CLUSTERCTL_LIVE_CASES` names it.
    pub fn case_on_demand(&mut self, name: &str, case: impl FnOnce(&Desk) -> Result<()>) -> bool {
        self.wanted.is_empty() || self.case(name, case)
    }

    /// Whether every case so far went well.
    pub fn good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Fails with the list of all that failed; also where a case was asked for that is not there, unless one it builds on has failed.
    pub fn end(mut self) {
        let unmet = self.wanted.iter().filter(|word| !self.met.contains(*word));
        let unmet: Vec<String> = unmet.map(|word| format!("no case has {word:?} in its name")).collect();
        if self.failed.is_empty() {
            self.failed = unmet;
        }
        let took = self.started.elapsed().as_secs_f32();
        say(&format!(
            "    {} cases, {} failed, {took:.0} s",
            self.told,
            self.failed.len()
        ));
        assert!(
            self.failed.is_empty(),
            "{} of {} cases failed:\n  {}",
            self.failed.len(),
            self.told,
            self.failed.join("\n  ")
        );
    }
}
