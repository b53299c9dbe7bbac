//! The ledger in memory: what the file held when this process began, and what it holds now. Used by `ledger.rs` only.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation};
use clusterctl_proto::observe::LedgerFacts;
use tokio::time::Instant;

use super::Began;
use super::document::{Document, Found};
use super::failures::{lost, unreadable};

/// The ledger as this process knows it.
#[derive(Debug)]
pub struct Held {
    /// What was read, and what was changed since.
    pub found: Found,
    /// When the file was read.
    pub read_at: Instant,
    /// What earlier processes had accepted; none: not known.
    before: Option<Before>,
}

#[derive(Debug, Default)]
struct Before {
    floor: Option<Generation>,
    generations: BTreeMap<ClusterName, Generation>,
}

impl Held {
    /// Just read.
    pub fn of(found: Found) -> Self {
        let before = match &found {
            Found::Known(document) => Some(Before {
                floor: document.floor,
                generations: generations(document),
            }),
            Found::Lost(_) | Found::Unreadable(_) => None,
        };
        Self {
            found,
            read_at: Instant::now(),
            before,
        }
    }

    /// The document, or why it is not known.
    pub fn document(&self) -> Result<&Document, Failure> {
        match &self.found {
            Found::Known(document) => Ok(document),
            Found::Lost(_) => Err(lost()),
            Found::Unreadable(why) => Err(unreadable(why)),
        }
    }

    /// Whether an earlier process of this agent can have begun a step of this generation.
    pub fn began(&self, cluster: &ClusterName, generation: Generation) -> Began {
        let before = self.before.as_ref();
        let accepted = before.map(|before| before.generations.get(cluster).copied().max(before.floor));
        match accepted {
            Some(accepted) if accepted < Some(generation) => Began::Never,
            _ => Began::Perhaps,
        }
    }
}

fn generations(document: &Document) -> BTreeMap<ClusterName, Generation> {
    let entries = document.clusters.iter();
    entries.map(|(name, entry)| (name.clone(), entry.generation)).collect()
}

/// What an observation says.
pub fn facts(found: &Found) -> LedgerFacts {
    match found {
        Found::Lost(_) => LedgerFacts::default(),
        Found::Unreadable(why) => LedgerFacts {
            unreadable: Some(why.clone()),
            ..LedgerFacts::default()
        },
        Found::Known(document) => LedgerFacts {
            known: true,
            unreadable: None,
            generations: generations(document),
            promises: document
                .clusters
                .keys()
                .filter_map(|name| Some((name.clone(), document.promise(name)?)))
                .collect(),
            may_return: Some(
                document
                    .clusters
                    .keys()
                    .filter(|name| document.let_in(name).is_some())
                    .cloned()
                    .collect(),
            ),
            proofs: document
                .clusters
                .iter()
                .filter_map(|(name, entry)| Some((name.clone(), entry.proof.clone()?)))
                .collect(),
            lineages: document
                .lineages
                .iter()
                .filter_map(|(name, record)| Some((name.clone(), record.member.clone()?)))
                .collect(),
            last_words: document
                .lineages
                .iter()
                .filter_map(|(name, record)| Some((name.clone(), record.last_word()?)))
                .collect(),
            untold: BTreeMap::new(),
            copies_are_vouched: true,
            half_copied: document
                .lineages
                .iter()
                .filter_map(|(name, record)| Some((name.clone(), record.copying?)))
                .collect(),
        },
    }
}

/// Says in the log what was read.
pub fn tell(path: &str, found: &Found) {
    match found {
        Found::Known(_) => tracing::debug!(path, "the ledger is read"),
        Found::Lost(why) => {
            tracing::error!(
                path,
                why,
                "the ledger is lost; no order is accepted before a leader tells its committed index"
            );
        }
        Found::Unreadable(why) => {
            tracing::error!(
                path,
                why,
                "the ledger cannot be read; no order is accepted before it can"
            );
        }
    }
}
