//! How the agent does by itself what was decided. All of it goes the ways that steps go.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation};
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::step::{History, Recovery};
use clusterctl_proto::test_point;

use super::notice::{self, Told};
use crate::config::Config;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::membership::Membership;
use crate::mysql::{Db, MysqlError, Servers, group, peer, start, weight};
use crate::session::Runner;
use crate::steps::join_group::{self, Order, errant};
use crate::steps::{Done, start_server};

/// A member is in the view a second after its START.
const TURN: Duration = Duration::from_millis(1500);
/// A group has nine members at most.
const LAST_TURN: u32 = 8;

/// What deeds need.
#[derive(Clone)]
pub struct Tools {
    /// This machine.
    pub host: Arc<dyn Host>,
    /// The way to mysqlds.
    pub servers: Arc<dyn Servers>,
    /// The configuration.
    pub config: Arc<Config>,
    /// What is permitted.
    pub ledger: Arc<Ledger>,
    /// Makes contexts, and knows whether a step runs.
    pub runner: Arc<Runner>,
}

/// Sets the bootstrap flag OFF; true: it was ON. None: not now, somebody starts or stops Group Replication, or mysqld does not run.
/// It waits for nobody: the keeper looks again soon, and has more to do.
pub async fn clear_flag(tools: &Tools) -> Result<Option<bool>, Failure> {
    // who holds it sets the flag OFF himself, or bootstraps
    let Some(_entrance) = tools.ledger.entrance_if_free() else {
        return Ok(None);
    };
    let mut db = match Db::local(&*tools.servers, &tools.config.mysql).await {
        Ok(db) => db,
        Err(MysqlError::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let quiet = group::under_way(&mut db).await?.is_none();
    let result = if quiet {
        start::clear_bootstrap_flag(&mut db).await.map(Some)
    } else {
        Ok(None)
    };
    db.close().await;
    result
}

/// Makes this member the last that is elected. `note` is called with its weight before that; not where it is the last already.
pub async fn lower<N>(tools: &Tools, note: impl FnOnce(u64) -> N) -> Result<bool, Failure>
where
    N: Future<Output = Result<(), Failure>>,
{
    let mut db = Db::local(&*tools.servers, &tools.config.mysql).await?;
    let own = weight::read(&mut db).await?.filter(|own| *own != weight::LAST);
    if let Some(own) = own {
        note(own).await?;
        weight::set(&mut db, weight::LAST).await?;
    }
    db.close().await;
    Ok(own.is_some())
}

/// Gives this member its own weight back, unless somebody has set another one since.
pub async fn restore_weight(tools: &Tools, own: u64) -> Result<(), Failure> {
    let mut db = Db::local(&*tools.servers, &tools.config.mysql).await?;
    if weight::read(&mut db).await? == Some(weight::LAST) {
        weight::set(&mut db, own).await?;
    }
    db.close().await;
    Ok(())
}

/// Starts a mysqld that has failed. It enters no group by that: `start_on_boot` is OFF.
pub async fn start_server(tools: &Tools, cluster: &ClusterName) -> Result<Done, Failure> {
    let cx = tools.runner.context(cluster.clone(), Generation::default());
    start_server::ensure(&cx).await
}

/// Brings the server back into its live group; a failure where none is found, or where anything is in the way.
/// `alone` is asked once more before anything is done: a coordinator may have come back, or an operator may have spoken, meanwhile.
pub async fn rejoin(tools: &Tools, membership: &Membership, alone: impl Fn() -> bool + Send) -> Result<Done, Failure> {
    let mysql = &tools.config.mysql;
    let mut db = Db::local(&*tools.servers, mysql).await?;
    // a START or STOP of somebody else: he knows what he does, and holding the entrance meanwhile would keep a promise waiting
    if let Some(statement) = group::under_way(&mut db).await? {
        return Err(busy(&format!("it runs {statement}")));
    }
    let (seeds, turn) = seeds(&mut db, membership).await?;
    tokio::time::sleep(turn).await;
    let name = membership.group.group_name;
    let peers = peer::ByCertificate {
        servers: Arc::clone(&tools.servers),
        tls_dir: mysql.tls_dir.clone(),
    };
    let primary = peer::find_primary(&peers, &seeds, name, &membership.group.account.user).await?;
    // also before the server is touched: where something is only here, it stays as it is
    errant::guard(&mut db, &primary.gtid_executed, name).await?;
    let told = notice::told(tools, &membership.cluster, &primary, &mut db).await?;
    db.close().await;

    let entrance = tools.ledger.entrance().await;
    let generation = tools.ledger.may_rejoin_alone(&membership.cluster)?;
    // since the decision a coordinator may have come back, and may have taken this server out
    let still = Membership::read(&*tools.host, &tools.config.state_dir).await?;
    if still.as_ref() != Some(membership) || !tools.runner.running().is_empty() || !alone() {
        return Err(busy("a coordinator is back"));
    }
    test_point::reach("agent.rejoin_alone.before").await;
    tracing::warn!(
        primary = primary.address,
        "no coordinator is there: rejoining the live group"
    );
    let cx = tools.runner.context(membership.cluster.clone(), generation);
    let history = history(tools, &membership.cluster, &primary, &told)?;
    let group = &membership.group;
    let order = Order {
        group,
        recovery: &Recovery::Incremental,
        account: &group.account,
        group_gtid: &primary.gtid_executed,
        history: Some(&history),
    };
    join_group::join(&order, entrance, &cx).await
}

/// The lineage of the group that lives, by the notices of its agents, and all that this agent knows of others or was told. For who holds
/// nothing, the primary's view says enough.
fn history(tools: &Tools, cluster: &ClusterName, primary: &peer::Primary, told: &Told) -> Result<History, Failure> {
    let mut lineages = tools.ledger.lineage(cluster)?.known;
    lineages.merge(&told.lineages);
    let by_view = || LineageId::of_view(&primary.view_id).map(|(id, _)| id);
    match told.group.clone().or_else(by_view) {
        Some(group) => Ok(History { group, lineages }),
        None => Err(
            busy("the primary does not tell which bootstrap its group descends from")
                .fact(format!("{}: asked", primary.address)),
        ),
    }
}

fn busy(why: &str) -> Failure {
    Failure::new("rejoin_postponed", "this server is not brought back now")
        .fact(why)
        .transient()
}

/// Whom to ask: the other members as the last step knew them, and as the server is set up. And how long this server lets others go
/// first: after an outage several come back, and two that join at the same moment hold each other up.
async fn seeds(db: &mut Db, membership: &Membership) -> Result<(Vec<String>, Duration), MysqlError> {
    let sql = "SELECT @@GLOBAL.group_replication_group_seeds, @@GLOBAL.group_replication_local_address";
    let row = db.row(sql).await?;
    let (set, own) = (crate::mysql::conn::text(&row, 0), crate::mysql::conn::text(&row, 1));
    let seeds = merged(membership.seeds(), &set, &own);
    let turn = turn(&seeds, &own);
    Ok((seeds, turn))
}

/// Everybody has another turn, without asking anybody.
fn turn(others: &[String], own: &str) -> Duration {
    let before = others.iter().filter(|other| other.as_str() < own).count();
    TURN * u32::try_from(before).unwrap_or(0).min(LAST_TURN)
}

fn merged(mut seeds: Vec<String>, set: &str, own: &str) -> Vec<String> {
    seeds.extend(set.split(',').map(|seed| seed.trim().to_owned()));
    seeds.retain(|seed| !seed.is_empty() && !seed.eq_ignore_ascii_case(own));
    seeds.sort();
    seeds.dedup();
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_asked_once_and_this_server_never() {
        let known = vec!["node2:3306".to_owned(), "node1:3306".to_owned()];
        let seeds = merged(known, "node3:3306, node2:3306,", "NODE1:3306");
        assert_eq!(seeds, ["node2:3306", "node3:3306"]);
    }

    #[test]
    fn members_that_come_back_together_take_turns() {
        let all = ["node1:3306", "node2:3306", "node3:3306"].map(str::to_owned);
        let turns = all.iter().map(|own| {
            let others: Vec<String> = all.iter().filter(|other| *other != own).cloned().collect();
            turn(&others, own)
        });
        assert_eq!(turns.collect::<Vec<_>>(), [0, 1, 2].map(|n| TURN * n));
    }
}
