//! One burst of faults under a client that writes, until the cluster is healthy again and nothing acknowledged is missing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clusterctl_lab::Lab;
use clusterctl_lab::schedule::{Event, NODES, Round};

use crate::cluster::Cluster;
use crate::converge;
use crate::inject;
use crate::load::{Log, Writer};
use crate::story::Story;

/// What a drill has counted.
#[derive(Default)]
pub struct Totals {
    /// Faults that happened, by kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// Faults that could not be carried out, such as a switchover that was refused.
    pub refused: u32,
    /// What each writer was told.
    pub logs: Vec<Log>,
    /// The longest time to converge, and its round.
    pub slowest: (Duration, u32),
    /// The longest write gap, and its round.
    pub gap: (Duration, u32),
    /// Rounds that ended well.
    pub rounds: u32,
}

/// What the threads of one round share.
struct Shared<'a> {
    lab: &'a Lab,
    story: &'a Story,
    number: u32,
    start: Instant,
    happened: Mutex<Vec<&'static str>>,
    refused: Mutex<u32>,
    stuck: Mutex<Vec<String>>,
    undone: Mutex<Instant>,
}

/// Carries a round out; an error if it does not converge in time, or a write is lost.
pub fn play(cluster: &Cluster, story: &Story, round: &Round, limit: Duration, totals: &mut Totals) -> Result<()> {
    let number = round.number;
    let writer = cluster.writer()?;
    let shared = Shared {
        lab: cluster.lab(),
        story,
        number,
        start: Instant::now(),
        happened: Mutex::default(),
        refused: Mutex::default(),
        stuck: Mutex::default(),
        undone: Mutex::new(Instant::now()),
    };
    std::thread::scope(|scope| {
        for event in &round.events {
            scope.spawn(|| shared.carry_out(event));
        }
    });
    for kind in inner(&shared.happened).drain(..) {
        *totals.faults.entry(kind).or_default() += 1;
    }
    totals.refused += *inner(&shared.refused);
    let stuck = inner(&shared.stuck).join("; ");
    if !stuck.is_empty() {
        bail!("the drill itself failed to undo a fault: {stuck}");
    }
    let undone = *inner(&shared.undone);
    let took = converge::wait(cluster.lab(), &writer, undone, limit)?;
    totals.slowest = totals.slowest.max((took, number));
    proven(cluster, story, number, writer, took, totals)
}

fn proven(
    cluster: &Cluster,
    story: &Story,
    number: u32,
    writer: Writer,
    took: Duration,
    totals: &mut Totals,
) -> Result<()> {
    let log = writer.stop()?;
    let gap = log.longest_gap();
    totals.gap = totals.gap.max((gap, number));
    let proof = log.prove(cluster.lab(), &NODES);
    totals.logs.push(log);
    let proof = proof.context("the members do not hold what was acknowledged")?;
    totals.rounds += 1;
    story.tell(&format!(
        "round {number:>3}        healthy after {:.1} s; {proof}",
        took.as_secs_f32()
    ));
    Ok(())
}

impl Shared<'_> {
    fn carry_out(&self, event: &Event) {
        sleep_until(self.start + event.begin);
        let fault = &event.fault;
        self.tell(&fault.to_string());
        let begun = inject::begin(self.lab, fault);
        match &begun {
            Ok(said) => {
                inner(&self.happened).push(fault.kind());
                let end = fault.undone();
                if !said.is_empty() {
                    self.tell(&format!("{fault}: {said}"));
                } else if !fault.lasts() && !end.is_empty() {
                    self.tell(&end);
                }
            }
            Err(error) => {
                *inner(&self.refused) += 1;
                self.tell(&format!("{fault}: did not happen: {error:#}"));
            }
        }
        // A fault that was half done when it failed is undone all the same.
        if fault.lasts() {
            sleep_until(self.start + event.begin + event.lasts);
            match inject::undo(self.lab, fault) {
                Ok(()) => self.tell(&fault.undone()),
                Err(error) => inner(&self.stuck).push(format!("{fault}: {error:#}")),
            }
        }
        let mut undone = inner(&self.undone);
        *undone = (*undone).max(Instant::now());
    }

    fn tell(&self, text: &str) {
        self.story.tell(&format!(
            "round {:>3} {:>5.1} s  {text}",
            self.number,
            self.start.elapsed().as_secs_f32()
        ));
    }
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn inner<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
