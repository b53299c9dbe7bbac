//! Looks at every member once a second: does more than one of them lead?
//!
//! Runs on a thread for the whole drill. A member *claims* to lead if it says of itself that it is ONLINE, PRIMARY, writable, and
//! reaches a majority of its view. Looks are not simultaneous, so two claims count only if both are made again at once. Two claims in
//! different lives of the group (the first part of the view id) are a split. In one life the older claim can be that of a member
//! that was frozen and has not yet noticed; that ends within seconds, or it is a split, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clusterctl_lab::Lab;
use clusterctl_lab::schedule::NODES;

use crate::story::Story;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The longest that a member may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// The longest that a member may believe that it still leads.
const STALE: Duration = Duration::from_secs(15);

const CLAIM: &str = "SELECT IF(m.member_state = 'ONLINE' AND m.member_role = 'PRIMARY' AND NOT @@super_read_only AND NOT @@offline_mode \
    AND (SELECT SUM(member_state IN ('ONLINE', 'RECOVERING')) * 2 > COUNT(*) FROM performance_schema.replication_group_members), \
    s.view_id, '') FROM performance_schema.replication_group_members m \
    JOIN performance_schema.replication_group_member_stats s USING (member_id) WHERE m.member_id = @@server_uuid";

/// A member that says it leads, and the life of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Claim {
    host: &'static str,
    life: String,
}

/// What was seen.
#[derive(Default)]
pub struct Watch {
    ending: AtomicBool,
    seen: Mutex<Seen>,
}

/// Figures and findings of the watch.
#[derive(Default, Clone)]
pub struct Seen {
    /// How often members were looked at.
    pub looks: u64,
    /// How often somebody claimed to lead.
    pub led: u64,
    /// How often two members of one life of the group claimed to lead.
    pub overlaps: u64,
    /// The longest time that this lasted.
    pub longest: Duration,
    /// Splits, in words.
    pub splits: Vec<String>,
}

impl Watch {
    /// Looks until the end.
    pub fn run(&self, lab: &Lab, story: &Story) {
        let mut led: Vec<Claim> = Vec::new();
        let mut overlap: Option<Instant> = None;
        let mut told = false;
        while !self.ending.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let mut claims = look(lab);
            if claims.len() > 1 {
                let again = look(lab);
                claims.retain(|claim| again.contains(claim));
            }
            if !claims.is_empty() && claims != led {
                let who: Vec<_> = claims
                    .iter()
                    .map(|claim| format!("{} ({})", claim.host, claim.life))
                    .collect();
                story.tell(&format!("                 leads: {}", who.join(", ")));
                led.clone_from(&claims);
            }
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.looks += 1;
            seen.led += u64::from(!claims.is_empty());
            overlap = (claims.len() > 1).then(|| {
                seen.overlaps += u64::from(overlap.is_none());
                overlap.unwrap_or(begun)
            });
            let lasted = overlap.map_or(Duration::ZERO, |since| since.elapsed());
            seen.longest = seen.longest.max(lasted);
            let split = split(&claims, lasted);
            let first = !std::mem::replace(&mut told, split.is_some());
            if let Some(split) = split.filter(|_| first) {
                story.tell(&format!("SPLIT            {split}"));
                seen.splits.push(split);
            }
            drop(seen);
            std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
    }

    /// What the whole drill has shown: no split, also none after the last round; and somebody was seen to lead in a fifth of all looks, or
    /// the watch is blind. Where all lose power again and again, nobody leads for more than half of the time (seed 20261201).
    pub fn judge(&self) -> Result<()> {
        let seen = self.seen();
        if let Some(split) = seen.splits.first() {
            bail!("{split}");
        }
        ensure!(
            seen.led * 5 >= seen.looks,
            "the watch is blind: somebody led in {} of {} looks only",
            seen.led,
            seen.looks
        );
        Ok(())
    }

    /// Ends the watch after the look that runs.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why these claims are a split, if they are.
fn split(claims: &[Claim], lasted: Duration) -> Option<String> {
    let [first, _, ..] = claims else { return None };
    let who: Vec<_> = claims.iter().map(|claim| claim.host).collect();
    let who = who.join(" and ");
    if claims.iter().any(|claim| claim.life != first.life) {
        return Some(format!("{who} lead different groups: {claims:?}"));
    }
    (lasted > STALE).then(|| format!("{who} have said for {:.0} s that they lead", lasted.as_secs_f32()))
}

/// Who claims to lead; a member that does not answer claims nothing.
fn look(lab: &Lab) -> Vec<Claim> {
    std::thread::scope(|scope| {
        let asked = NODES.map(|host| scope.spawn(move || ask(lab, host)));
        asked.into_iter().filter_map(|thread| thread.join().ok()?).collect()
    })
}

fn ask(lab: &Lab, host: &'static str) -> Option<Claim> {
    let said = lab.exec_within(ANSWER, host, "root", &["mysql", "-NB"], CLAIM).ok()?;
    let life = said.stdout.trim().split(':').next()?.to_owned();
    (said.status == 0 && !life.is_empty()).then_some(Claim { host, life })
}
