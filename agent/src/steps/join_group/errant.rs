//! The guard against losing what only this server has (safety rules 2 and 3).

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use uuid::Uuid;

use crate::mysql::group::APPLIER_CHANNEL;
use crate::mysql::{Db, binlog};

/// What a comparison of the two sets means.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// The group has all that is here.
    Inside,
    /// The group may have got these since it was asked: they are its own.
    Outdated(GtidSet),
    /// The group never had these.
    Errant(GtidSet),
}

fn compare(here: &GtidSet, group: &GtidSet, name: Uuid) -> Verdict {
    let extra = here.subtract(group);
    if extra.is_empty() {
        Verdict::Inside
    } else if extra.sources().all(|source| source == name) {
        Verdict::Outdated(extra)
    } else {
        Verdict::Errant(extra)
    }
}

/// What this server has applied or received.
pub async fn held(db: &mut Db) -> Result<GtidSet, Failure> {
    let (executed, received) = executed_and_received(db).await?;
    Ok(executed.union(&received))
}

/// What this server has applied, and what its applier has received, applied or not.
pub async fn executed_and_received(db: &mut Db) -> Result<(GtidSet, GtidSet), Failure> {
    let executed = db.value("SELECT @@GLOBAL.gtid_executed").await?.unwrap_or_default();
    let received = db
        .value(&format!(
            "SELECT received_transaction_set FROM performance_schema.replication_connection_status \
             WHERE channel_name = '{APPLIER_CHANNEL}'"
        ))
        .await?
        .unwrap_or_default();
    Ok((parse(&executed)?, parse(&received)?))
}

/// Executed and received here must be inside what the group has; else a refusal that shows the sets and what is in them.
pub async fn guard(db: &mut Db, group_gtid: &str, group_name: Uuid) -> Result<(), Failure> {
    let here = held(db).await?;
    let group = parse(group_gtid)?;
    match compare(&here, &group, group_name) {
        Verdict::Inside => Ok(()),
        Verdict::Outdated(extra) => Err(Failure::new(
            "group_gtid_outdated",
            "this server has transactions of the group that the group had not yet when the plan was made",
        )
        .fact(format!("here and not in the plan's set: {extra}"))
        .fact(format!("the plan's set: {}", show(&group)))
        .transient()),
        Verdict::Errant(extra) => {
            let failure = Failure::refused("errant_transactions", "this server holds transactions that the group does not have")
                .fact(format!("only here: {extra}"))
                .fact(format!("executed and received here: {}", show(&here)))
                .fact(format!("the group has: {}", show(&group)))
                .hint(
                    "look at them with mysqlbinlog --include-gtids; when nobody needs them, empty this server's data directory \
                     and join again, or keep them by writing them on the primary",
                );
            Err(binlog::describe(db, &extra)
                .await
                .into_iter()
                .fold(failure, Failure::fact))
        }
    }
}

/// Group Replication's own guard speaks only in the error log.
pub fn explain_start(mut failure: Failure) -> Failure {
    let errant = failure
        .facts
        .iter()
        .any(|fact| fact.contains("MY-011526") || fact.contains("MY-011522"));
    if errant {
        failure.code = "errant_transactions".to_owned();
        failure.retry = false;
        failure.exit = clusterctl_proto::failure::ExitClass::Refused;
        failure = failure.hint("compare @@gtid_executed of this server and of the primary; see: clusterctl status");
    }
    failure
}

fn parse(set: &str) -> Result<GtidSet, Failure> {
    set.parse()
        .map_err(|error| Failure::new("gtid_set", format!("a GTID set cannot be read: {error}")))
}

fn show(set: &GtidSet) -> String {
    if set.is_empty() {
        "nothing".to_owned()
    } else {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
    const OTHER: &str = "6ced32ca-e649-11f1-bb94-02fc00000001";

    fn verdict(here: &str, group: &str) -> Verdict {
        compare(&here.parse().unwrap(), &group.parse().unwrap(), GROUP.parse().unwrap())
    }

    #[test]
    fn inside_outdated_errant() {
        assert_eq!(verdict("", ""), Verdict::Inside);
        assert_eq!(
            verdict(&format!("{GROUP}:1-5"), &format!("{GROUP}:1-9")),
            Verdict::Inside
        );
        assert!(matches!(
            verdict(&format!("{GROUP}:1-12"), &format!("{GROUP}:1-9")),
            Verdict::Outdated(_)
        ));
        assert!(matches!(
            verdict(&format!("{GROUP}:1-5,{OTHER}:1"), &format!("{GROUP}:1-9")),
            Verdict::Errant(_)
        ));
        assert!(matches!(
            verdict(&format!("{GROUP}:1-12,{OTHER}:1"), &format!("{GROUP}:1-9")),
            Verdict::Errant(_)
        ));
        assert!(matches!(
            verdict(&format!("{GROUP}:tag:1"), &format!("{GROUP}:1-9")),
            Verdict::Outdated(_)
        ));
    }

    #[test]
    fn the_servers_own_refusal_is_named() {
        let failure = Failure::new("group_start", "refused")
            .fact("error log: MY-011526 this member has more executed")
            .transient();
        let explained = explain_start(failure);
        assert_eq!(
            (explained.code.as_str(), explained.retry),
            ("errant_transactions", false)
        );
        let other = explain_start(Failure::new("group_start", "refused").transient());
        assert!(other.retry);
    }
}
