//! A [`Context`] over a [`FakeHost`], for the unit tests of steps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::Generation;
use futures_util::future::{BoxFuture, ready};

use super::{Context, Found, NoLeader, ProgressLine, ProgressSink, Signer};
use crate::config::Config;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::mysql::Driver;
use crate::mysql::peer::{Answer, Peers};

/// A signer that refuses.
pub struct NoSigner;

impl Signer for NoSigner {
    fn sign_server<'a>(&'a self, _csr_der: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(ready(Err(Failure::new("test", "no signer in this test"))))
    }
}

/// Peers that do not answer.
pub struct NoPeers;

impl Peers for NoPeers {
    fn ask<'a>(&'a self, address: &'a str, _user: &'a str) -> BoxFuture<'a, Answer> {
        Box::pin(ready(Answer::Unknown(format!(
            "{address} does not answer in this test"
        ))))
    }
}

/// A step's context on this host, its state in this folder; lines of progress are collected.
pub fn context(host: Arc<dyn Host>, state_dir: &Path) -> (Context, Arc<Mutex<Vec<ProgressLine>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    Ledger::create(state_dir).unwrap();
    let cx = Context {
        host,
        name: "node1".parse().unwrap(),
        group: "group-1".to_owned(),
        config: Arc::new(Config {
            state_dir: state_dir.to_owned(),
            ..Config::default()
        }),
        cluster: "prod".parse().unwrap(),
        generation: Generation { epoch: 1, index: 7 },
        ledger: Arc::new(Ledger::open(state_dir)),
        signer: Arc::new(NoSigner),
        leader: Arc::new(NoLeader),
        servers: Arc::new(Driver),
        standstill: Arc::default(),
        peers: Arc::new(NoPeers),
        progress: ProgressSink::new(move |line| heard.lock().unwrap().push(line)),
        secrets: BTreeMap::new(),
        found: Mutex::new(Found::default()),
    };
    (cx, lines)
}
