//! One step run by hand on a lab host, without a coordinator: for trying a step on real servers.
//!
//! Build the crate's tests, copy the test program into a host, and there:
//! `STEP='{"step":"set_primary","timeout_seconds":0}' CLUSTER=prod ./clusterctl_agent-… --ignored --nocapture by_hand`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clusterctl_proto::ids::Generation;
use clusterctl_proto::step::Step;

use super::testing::{NoPeers, NoSigner};
use super::{Context, Found, NoLeader, ProgressSink};
use crate::config::Config;
use crate::host::RealHost;
use crate::ledger::Ledger;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs the step in $STEP on this machine"]
async fn run_the_step_of_the_environment() {
    let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}"));
    let step: Step = serde_json::from_str(&get("STEP")).unwrap();
    let config = Config::default();
    Ledger::create(&config.state_dir).unwrap();
    let secrets: BTreeMap<String, String> = std::env::var("SECRETS")
        .map(|text| serde_json::from_str(&text).unwrap())
        .unwrap_or_default();
    let cx = Context {
        host: Arc::new(RealHost),
        name: get("HOSTNAME").parse().unwrap(),
        group: "by-hand".to_owned(),
        ledger: Arc::new(Ledger::open(&config.state_dir)),
        config: Arc::new(config),
        cluster: get("CLUSTER").parse().unwrap(),
        generation: Generation { epoch: 1, index: 1 },
        signer: Arc::new(NoSigner),
        leader: Arc::new(NoLeader),
        servers: Arc::new(crate::mysql::Driver),
        standstill: Arc::default(),
        peers: Arc::new(NoPeers),
        progress: ProgressSink::new(|line| eprintln!("  … {} {}/{}", line.text, line.done, line.total)),
        secrets,
        found: Mutex::new(Found::default()),
    };
    let outcome = super::run(&step, &cx).await;
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    for (name, hash) in &cx.found.lock().unwrap().secrets {
        println!("secret {name} {hash}");
    }
}
