//! The lineage of this server's data before and after it enters a group (safety rule 7).
//!
//! Called by the steps that start Group Replication and by the agent that acts alone (`keeper/`), while they hold the entrance. The record
//! is in the ledger, so that it is right whatever happens to this agent between START and the next look, which compares it with the view
//! that the server is in (`observe/lineage.rs`). It never starts anything.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::lineage::{LineageId, Measure, MemberLineage, Span};
use clusterctl_proto::step::{History, StepData};
use tokio::time::Instant;

use super::Context;
use super::join_group::errant;
use crate::lineage::{Look, Record};
use crate::mysql::{Db, clone, group, log, schema_rules};

/// From the note of a bootstrap until its first view, at the longest: mysqld begins within a few seconds, and is alone.
const FIRST_VIEW: Duration = Duration::from_secs(60);
/// Longest that a START may take until it has found a donor.
const STARTING: Duration = Duration::from_secs(120);
/// Longest that a step waits after its copy until the donor has vouched: a coordinator tells it within seconds.
const VOUCHED: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 20_000 });
const VOUCHED_AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 200 });

/// Before a bootstrap: the data are those that the plan counts on. From here on the lineage that begins is the plan's.
pub async fn before_bootstrap(planned: Option<&LineageId>, db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let (uuid, held) = (server_uuid(db).await?, errant::held(db).await?);
    let record = cx.ledger.lineage(&cx.cluster)?;
    whole(uuid, &record)?;
    goes_on_from(planned, uuid, &record)?;
    let (generation, within) = (cx.generation, logged_within(db, FIRST_VIEW).await?);
    cx.ledger
        .change_lineage(&cx.cluster, move |record| {
            record.bootstraps(uuid, held, generation, within)
        })
        .await
}

/// After and until when a START that begins now logs what it does if it takes no longer than this, in microseconds since 1970. The log may
/// run ahead of the server's clock.
async fn logged_within(db: &mut Db, longest: Duration) -> Result<(u64, u64), Failure> {
    let since = log::newest_us(db).await?.unwrap_or(0);
    let sql = format!("SELECT UNIX_TIMESTAMP(SYSDATE(6)) + {}", longest.as_secs());
    let clock = log::micros(&db.value(&sql).await?.unwrap_or_default());
    let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Ok((since, clock.max(since.saturating_add(longest))))
}

/// These data were not being replaced by a copy that is not known to be complete.
pub async fn not_half_copied(db: &mut Db, cx: &Context) -> Result<(), Failure> {
    whole(server_uuid(db).await?, &cx.ledger.lineage(&cx.cluster)?)
}

/// Before this server is made the primary: its data are the group's by this agent's own record.
pub async fn proven(db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let (uuid, record) = (server_uuid(db).await?, cx.ledger.lineage(&cx.cluster)?);
    whole(uuid, &record)?;
    if record.member.is_none() || record.verified(uuid).is_some() {
        return Ok(());
    }
    Err(Failure::refused(
        "unproven_data",
        "the data of this server are of an unproven history: they may be other transactions under the same numbers, so it is not made the primary",
    )
    .fact(format!("on record: {}", shown(&record)))
    .hint(format!("clusterctl why {}", cx.name)))
}

fn whole(uuid: ServerUuid, record: &Record) -> Result<(), Failure> {
    if !record.half_copied(uuid) {
        return Ok(());
    }
    let copy = record.member.as_ref().and_then(|member| member.copy_of.as_ref());
    let (why, hint) = match copy {
        None => (
            "a copy of another member's data was begun on this server and is not known to be complete: no group is entered with what is here"
                .to_owned(),
            "nothing to do: the coordinator copies the data again; see: clusterctl why",
        ),
        Some(copy) => (
            format!(
                "this server holds a copy of the data of {}, of which it is not known yet that they were the group's: no group is entered \
                 with what is here",
                copy.donor
            ),
            "it comes in as soon as the agent of that member has told; see: clusterctl why",
        ),
    };
    Err(Failure::new("half_copied", why).hint(hint).transient())
}

/// Before the first byte is dropped for a copy; to be called after [`before_entering`].
pub async fn copies(db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let uuid = server_uuid(db).await?;
    let change = move |record: &mut Record| record.copies(uuid);
    cx.ledger.change_lineage(&cx.cluster, change).await
}

/// The copy is complete: what is here now belongs to the group's lineage, once the donor has vouched for what it gave in these views. None:
/// lineages are not recorded.
pub async fn copied(
    history: Option<&History>,
    (donor, given): (String, Option<Span>),
    db: &mut Db,
    cx: &Context,
) -> Result<(), Failure> {
    let (uuid, now) = (server_uuid(db).await?, log::newest(db).await?);
    let log = (now, clone::last(db).await?);
    let group = history.map(|history| history.group.clone());
    let change = move |record: &mut Record| match (group, given) {
        (Some(group), Some(given)) => record.copied_from(uuid, (group, donor, given), log),
        (group, _) => record.copied(uuid, group, log),
    };
    cx.ledger.change_lineage(&cx.cluster, change).await
}

/// The server's last copy is on record as complete.
pub async fn copy_is_recorded(db: &mut Db, cx: &Context) -> Result<bool, Failure> {
    let (uuid, cloned) = (server_uuid(db).await?, clone::last(db).await?);
    let record = cx.ledger.lineage(&cx.cluster)?;
    Ok(!record.is_being_copied(uuid) && record.cloned == Some(cloned))
}

/// The donor of the copy that is here has vouched for it, or does so in a moment.
pub async fn vouched(db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let (uuid, end) = (server_uuid(db).await?, Instant::now() + VOUCHED);
    loop {
        match whole(uuid, &cx.ledger.lineage(&cx.cluster)?) {
            Err(failure) if Instant::now() >= end => return Err(failure),
            Err(_) => tokio::time::sleep(VOUCHED_AGAIN).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// The record of this server's data is what the plan was made of.
fn goes_on_from(planned: Option<&LineageId>, uuid: ServerUuid, record: &Record) -> Result<(), Failure> {
    let unverified = record.member.is_some() && record.verified(uuid).is_none();
    let same = planned.is_none() || record.verified(uuid) == planned;
    if same && !unverified {
        return Ok(());
    }
    let failure = Failure::new(
        "other_lineage",
        "the data of this server do not descend from the bootstrap that the plan counts on: nothing was started",
    );
    let failure = match planned {
        Some(planned) => failure.fact(format!("the plan counts on lineage {planned}")),
        None => failure,
    };
    Err(failure
        .fact(format!("on record: {}", shown(record)))
        .hint("nothing to do: the coordinator plans anew; see: clusterctl why")
        .transient())
}

/// After the START of a bootstrap has certainly failed: a person's bootstrap later is not taken for the plan's.
pub async fn not_bootstrapped(cx: &Context) {
    if let Err(failure) = cx.ledger.change_lineage(&cx.cluster, Record::not_bootstrapped).await {
        tracing::warn!(%failure, "the ledger still expects the bootstrap that failed");
    }
}

/// After a bootstrap that began then: the lineage is recorded, and told with the outcome. The group lives whatever comes of this; what
/// the server's log does not tell, the next look does, once START has ended.
pub async fn bootstrapped(since: Option<&str>, db: &mut Db, cx: &Context) {
    match record_of(since, db, cx).await {
        Ok(Some(lineage)) => cx.data(StepData::Bootstrapped {
            lineage: Box::new(lineage),
        }),
        Ok(None) => {}
        Err(failure) => tracing::warn!(%failure, "the lineage of the group is not recorded yet"),
    }
}

/// The group that this server is in was bootstrapped here by this very generation. What the look could not tell yet is judged by what was
/// written down before the START.
pub async fn made_here(db: &mut Db, cx: &Context) -> Result<bool, Failure> {
    let (uuid, record) = (server_uuid(db).await?, cx.ledger.lineage(&cx.cluster)?);
    let member = record.member.as_ref().filter(|member| member.server_uuid == uuid);
    let made = member.and_then(|member| member.branch.as_ref()?.generation);
    let makes = record.bootstrapping.as_ref().filter(|begun| begun.server_uuid == uuid);
    Ok(made == Some(cx.generation) || makes.is_some_and(|begun| begun.generation == cx.generation))
}

async fn record_of(since: Option<&str>, db: &mut Db, cx: &Context) -> Result<Option<MemberLineage>, Failure> {
    let view_id = match since {
        Some(since) => log::installed_since(db, since).await?,
        None => Some(group::view_id(db).await?),
    };
    match view_id {
        Some(view_id) => Ok(look(view_id, db, cx).await?.member),
        None => Ok(None),
    }
}

/// Before a START or a copy: what this server holds is all in the group's history, or the step refuses. From here on its data belong to
/// the group's lineage.
pub async fn before_entering(
    history: Option<&History>,
    group_gtid: &str,
    db: &mut Db,
    cx: &Context,
) -> Result<(), Failure> {
    let (uuid, held) = (server_uuid(db).await?, errant::held(db).await?);
    if held.is_empty() {
        nothing_unseen(&schema_rules::user_schemas(db).await?)?;
    }
    let Some(history) = history.cloned() else {
        without_history(&held, uuid, &cx.ledger.lineage(&cx.cluster)?)?;
        let change = move |record: &mut Record| record.enters_with(uuid, held);
        return cx.ledger.change_lineage(&cx.cluster, change).await;
    };
    let group_has: GtidSet = group_gtid.parse().unwrap_or_default();
    let now = log::newest(db).await?;
    cx.ledger
        .change_lineage(&cx.cluster, move |record| {
            record.learn(&history.lineages);
            may_enter(record, uuid, (&history.group, &group_has), &held)?;
            record.enter(uuid, history.group, now);
            Ok(())
        })
        .await?
}

/// Right before the START of a step, which has looked that no member's data are unproven: its donor needs nobody to vouch.
pub async fn starts(db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let (now, (_, until)) = (log::newest(db).await?, logged_within(db, STARTING).await?);
    let change = move |record: &mut Record| record.step_starts(now, until);
    cx.ledger.change_lineage(&cx.cluster, change).await
}

/// The START of a step has failed: a person's START later is not taken for it. What the log tells of until now is its doing; where that cannot
/// be read, nothing is.
pub async fn start_failed(cx: &Context) {
    let newest = async {
        let mut db = Db::local(&*cx.servers, &cx.config.mysql).await.ok()?;
        let newest = log::newest_us(&mut db).await.ok()?;
        db.close().await;
        newest
    };
    let until = newest.await.unwrap_or(0);
    let change = move |record: &mut Record| record.step_failed(until);
    if let Err(failure) = cx.ledger.change_lineage(&cx.cluster, change).await {
        tracing::warn!(%failure, "the ledger still expects the donor of the START that failed");
    }
}

/// A server that holds no transaction holds no data: RESET BINARY LOGS AND GTIDS leaves the data and takes the numbers.
fn nothing_unseen(schemas: &[String]) -> Result<(), Failure> {
    if schemas.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        "foreign_data",
        "this server holds schemas that no transaction accounts for: nothing was started",
    )
    .fact(format!("schemas: {}", schemas.join(", ")))
    .hint("when nobody needs them, empty this server's data directory and join again"))
}

/// Lineages are not recorded yet, or the plan has just made the group: only data that nobody has doubts about come in.
fn without_history(held: &GtidSet, uuid: ServerUuid, record: &Record) -> Result<(), Failure> {
    let doubtful = record.member.is_some() && record.verified(uuid).is_none();
    if held.is_empty() || !doubtful {
        return Ok(());
    }
    Err(unknown(record, None))
}

fn may_enter(
    record: &Record,
    uuid: ServerUuid,
    (group, group_has): (&LineageId, &GtidSet),
    held: &GtidSet,
) -> Result<(), Failure> {
    match record.measure(uuid, held, group, group_has) {
        Measure::Inside => Ok(()),
        Measure::Beyond(more) => Err(Failure::refused(
            "errant_transactions",
            "this server holds transactions that are not the group's, although the group may have used their numbers",
        )
        .fact(format!("only here: {more}"))
        .fact(format!(
            "on record here: {}; the group's lineage: {group}",
            shown(record)
        ))
        .hint(
            "look at them with mysqlbinlog --include-gtids; when nobody needs them, empty this server's data directory \
             and join again, or keep them by writing them on the primary",
        )),
        Measure::Unknown => Err(unknown(record, Some(group))),
    }
}

fn unknown(record: &Record, group: Option<&LineageId>) -> Failure {
    let group = group.map_or("not recorded", LineageId::as_str);
    Failure::refused(
        "history_unknown",
        "this server holds transactions, and nothing proves that they are those of the group",
    )
    .fact(format!(
        "on record here: {}; the group's lineage: {group}",
        shown(record)
    ))
    .hint("see: clusterctl why; when nobody needs them, empty this server's data directory and join again")
}

/// The server itself found transactions that the group has not: a later START would succeed once the group has used their numbers, so
/// these data are not trusted any more.
pub async fn distrust(failure: Failure, cx: &Context) -> Failure {
    if failure.code == "errant_transactions"
        && let Err(error) = cx.ledger.change_lineage(&cx.cluster, Record::distrust).await
    {
        tracing::error!(%error, "the ledger does not remember that this server has diverged");
    }
    failure
}

async fn look(view_id: String, db: &mut Db, cx: &Context) -> Result<Record, Failure> {
    let (before, _) = errant::executed_and_received(db).await?;
    let mut view = group::view(db).await?;
    if let Some(view) = &mut view {
        view.view_id = view_id;
    }
    let (executed, received) = errant::executed_and_received(db).await?;
    let (uuid, host) = (server_uuid(db).await?, cx.name.clone());
    let began = view.as_ref().and_then(|view| LineageId::of_view(&view.view_id));
    let (log, first_view_here) = log::told(db, began.as_ref().map(|(id, _)| id)).await?;
    let older = match began.filter(|(id, _)| log.falls_short(id, 1)) {
        Some((id, _)) => Some(log::older(db, &id, 1).await?),
        None => None,
    };
    cx.ledger
        .change_lineage(&cx.cluster, move |record| {
            let held = executed.union(&received);
            record.look(&Look {
                host: &host,
                server_uuid: uuid,
                view: view.as_ref(),
                executed: &executed,
                before: &before,
                held: &held,
                force_members: None,
                last_in: None,
                first_view_here,
                log: Some(&log),
                older: older.as_ref(),
                at: None,
                cloned: None,
            });
            record.clone()
        })
        .await
}

/// `@@server_uuid` of the local server.
pub async fn server_uuid(db: &mut Db) -> Result<ServerUuid, Failure> {
    let text = db.value("SELECT @@GLOBAL.server_uuid").await?.unwrap_or_default();
    text.parse()
        .map_err(|_| Failure::new("server_uuid", format!("@@server_uuid {text:?} cannot be read")).transient())
}

fn shown(record: &Record) -> String {
    match &record.member {
        None => "nothing".to_owned(),
        Some(member) => match member.verified() {
            Some(id) => format!("lineage {id}"),
            None => format!("lineage {}, unverified", member.id),
        },
    }
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::lineage::{Branch, Lineages};

    use super::*;

    const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

    fn id(text: &str) -> LineageId {
        text.parse().unwrap()
    }

    fn set(ranges: &str) -> GtidSet {
        format!("{GROUP}:{ranges}").parse().unwrap()
    }

    fn uuid(number: u128) -> ServerUuid {
        uuid::Uuid::from_u128(number)
    }

    fn member_of(lineage: &str) -> Record {
        let mut lineages = Lineages::default();
        for (name, parent, base) in [("1", None, GtidSet::new()), ("2", Some(id("1")), set("1-97"))] {
            let branch = Branch {
                parent,
                base,
                generation: None,
                host: None,
                abandoned: Default::default(),
            };
            lineages.add(id(name), branch);
        }
        let mut record = Record::default();
        record.learn(&lineages);
        record.enter(uuid(1), id(lineage), String::new());
        record
    }

    fn code(result: Result<(), Failure>) -> String {
        result.map_or_else(|failure| failure.code, |()| "ok".to_owned())
    }

    /// The scene of a quarantine that ended by itself: twelve writes later the numbers are the group's, too.
    #[test]
    fn numbers_that_the_group_has_used_again_bring_nobody_in() {
        let record = member_of("1");
        let has = set("1-300");
        assert_eq!(code(may_enter(&record, uuid(1), (&id("2"), &has), &set("1-97"))), "ok");
        assert_eq!(
            code(may_enter(&record, uuid(1), (&id("2"), &has), &set("1-100"))),
            "errant_transactions"
        );
        assert_eq!(
            code(may_enter(&record, uuid(1), (&id("9"), &has), &set("1-97"))),
            "history_unknown"
        );
        assert_eq!(
            code(may_enter(&record, uuid(2), (&id("2"), &has), &set("1-97"))),
            "history_unknown",
            "these are another server's data"
        );
    }

    #[test]
    fn a_server_that_its_own_mysqld_called_diverged_stays_out() {
        let mut record = member_of("2");
        let has = set("1-300");
        assert_eq!(code(may_enter(&record, uuid(1), (&id("2"), &has), &set("1-120"))), "ok");
        record.distrust();
        assert_eq!(
            code(may_enter(&record, uuid(1), (&id("2"), &has), &set("1-120"))),
            "history_unknown"
        );
        assert_eq!(
            code(without_history(&set("1-120"), uuid(1), &record)),
            "history_unknown"
        );
    }

    #[test]
    fn a_bootstrap_goes_on_from_the_lineage_that_its_plan_was_made_of() {
        let mut record = member_of("2");
        assert_eq!(code(goes_on_from(Some(&id("2")), uuid(1), &record)), "ok");
        assert_eq!(code(goes_on_from(Some(&id("1")), uuid(1), &record)), "other_lineage");
        assert_eq!(code(goes_on_from(Some(&id("2")), uuid(2), &record)), "other_lineage");
        assert_eq!(
            code(goes_on_from(None, uuid(1), &Record::default())),
            "ok",
            "a new cluster"
        );
        record.distrust();
        assert_eq!(code(goes_on_from(Some(&id("2")), uuid(1), &record)), "other_lineage");
        assert_eq!(code(goes_on_from(None, uuid(1), &record)), "other_lineage");
    }
}
