//! The figures, as a table for people and as one JSON object.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::{FAULTS, Fault};

/// Whose programs and settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    Ours,
    Theirs,
}

/// What one fault did.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    /// How long nothing was acknowledged; none: until somebody helps.
    pub gap: Option<Duration>,
    /// From power-on to ONLINE of the one that had lost it.
    pub online: Option<Duration>,
    /// The longest time without an acknowledgement from then on until all three were ONLINE again.
    pub rejoin: Option<Duration>,
}

impl fmt::Display for Seen {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gap {
            Some(gap) => write!(to, "{:.2} s", gap.as_secs_f64())?,
            None => write!(to, "never by itself")?,
        }
        if let Some(online) = self.online {
            write!(to, ", ONLINE {:.1} s after power-on", online.as_secs_f64())?;
        }
        self.rejoin.map_or(Ok(()), |rejoin| {
            write!(to, ", {:.2} s while it returns", rejoin.as_secs_f64())
        })
    }
}

/// The most seconds that a write may take after a complete outage.
const OUTAGE_AIM_S: f64 = 20.0;

/// What was measured.
pub struct Report {
    runs: u32,
    /// Why not all was measured.
    pub ended_early: Option<String>,
    seen: BTreeMap<(Fault, Way), Vec<Seen>>,
}

/// Medians of one row.
struct Row {
    what: String,
    name: String,
    ours: Option<f64>,
    theirs: Option<f64>,
    /// The same was done with the defaults.
    compared: bool,
    /// The most that the ratio may be, or the most seconds.
    aim: Option<Aim>,
}

enum Aim {
    Ratio(f64),
    Seconds(f64),
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.filter(|theirs| *theirs > 0.0)?;
        self.ours.map(|ours| ours / theirs)
    }

    fn reached(&self) -> Option<bool> {
        match self.aim.as_ref()? {
            Aim::Ratio(most) => self.ratio().map(|ratio| ratio <= *most),
            Aim::Seconds(most) => self.ours.map(|ours| ours <= *most),
        }
    }
}

impl Report {
    /// Nothing yet.
    pub fn new(runs: u32) -> Self {
        Self {
            runs,
            ended_early: None,
            seen: BTreeMap::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, fault: Fault, way: Way, seen: Seen) {
        self.seen.entry((fault, way)).or_default().push(seen);
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\nThree members, writes through Router, optimised programs; medians of {} run(s)\n\n{:<46} {:>10} {:>10} {:>7}   AIM\n",
            self.runs, "WRITE GAP", "CLUSTERCTL", "DEFAULTS", "RATIO"
        );
        for row in self.rows() {
            let aim = match (&row.aim, row.reached()) {
                (Some(Aim::Ratio(most)), reached) => format!("{most} {}", mark(reached)),
                (Some(Aim::Seconds(most)), reached) => format!("{most:.0} s {}", mark(reached)),
                (None, _) => String::new(),
            };
            let ratio = row
                .ratio()
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let line = format!(
                "{:<46} {:>10} {:>10} {ratio:>7}   {aim}",
                row.what,
                seconds(row.ours),
                if row.compared {
                    seconds(row.theirs)
                } else {
                    "-".to_owned()
                }
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// For scripts, on one line.
    pub fn document(&self) -> Value {
        let rows = self.rows().into_iter().map(|row| {
            let (ratio, reached) = (row.ratio().map(rounded), row.reached());
            let figures = json!({
                "ours_s": row.ours.map(rounded), "theirs_s": row.theirs.map(rounded), "ratio": ratio, "aim_reached": reached,
            });
            (row.name, figures)
        });
        let all = self.seen.iter().map(|((fault, way), seen)| {
            let gaps: Vec<_> = seen
                .iter()
                .map(|one| one.gap.map(|gap| rounded(gap.as_secs_f64())))
                .collect();
            (format!("{}_{way:?}", fault.name()).to_lowercase(), json!(gaps))
        });
        json!({
            "bench": "heal",
            "runs": self.runs,
            "ended_early": self.ended_early,
            "medians": rows.collect::<serde_json::Map<_, _>>(),
            "all_s": all.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for fault in FAULTS {
            let of = |way, part: fn(&Seen) -> Option<Duration>| {
                let all = self.seen.get(&(fault, way)).into_iter().flatten();
                median(all.map(part).collect::<Option<Vec<_>>>()?)
            };
            if !self.seen.contains_key(&(fault, Way::Ours)) {
                continue;
            }
            let compared = self.seen.contains_key(&(fault, Way::Theirs));
            rows.push(Row {
                compared,
                what: fault.title().to_owned(),
                name: fault.name().to_owned(),
                ours: of(Way::Ours, |seen| seen.gap),
                theirs: of(Way::Theirs, |seen| seen.gap),
                aim: match fault {
                    Fault::Outage => Some(Aim::Seconds(OUTAGE_AIM_S)),
                    _ => fault.aim().map(Aim::Ratio),
                },
            });
            if fault == Fault::PowerOff {
                rows.push(Row {
                    compared,
                    what: "  power-on to ONLINE of the one that returns".to_owned(),
                    name: "power_on_to_online".to_owned(),
                    ours: of(Way::Ours, |seen| seen.online),
                    theirs: of(Way::Theirs, |seen| seen.online),
                    aim: None,
                });
            }
            if let Some(ours) = of(Way::Ours, |seen| seen.rejoin) {
                rows.push(Row {
                    compared,
                    what: "  the longest gap while it returns".to_owned(),
                    name: format!("{}_rejoin", fault.name()),
                    ours: Some(ours),
                    theirs: of(Way::Theirs, |seen| seen.rejoin),
                    aim: None,
                });
            }
        }
        rows
    }
}

fn mark(reached: Option<bool>) -> &'static str {
    match reached {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "",
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "never".to_owned(), |value| format!("{value:.2} s"))
}

/// Of seconds; none of nothing.
fn median(mut all: Vec<Duration>) -> Option<f64> {
    all.sort();
    let half = all.len() / 2;
    let upper = all.get(half)?.as_secs_f64();
    if all.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(all[half - 1].as_secs_f64(), upper))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
