//! Every host of the cluster resolves to its real addresses here; where it does not, by our block in /etc/hosts.

use std::path::Path;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::HostEntry;

use super::{Context, Done};
use crate::host::hosts_file::{self, HostsError};
use crate::host::{Access, names};

const PATH: &str = "/etc/hosts";

/// Looks, writes the block if it must, looks again.
pub async fn ensure(entries: &[HostEntry], cx: &Context) -> Result<Done, Failure> {
    let host = &*cx.host;
    let old = host.read(Path::new(PATH)).await?.unwrap_or_default();
    if !hosts_file::has_block(&old) && wrong(entries, cx).await?.is_empty() {
        return Ok(Done::Unchanged);
    }
    let new = hosts_file::rewrite(&old, entries).map_err(explain)?;
    if new == old {
        return confirm(entries, cx).await.map(|()| Done::Unchanged);
    }
    host.write(Path::new(PATH), &new, &Access::Keep).await?;
    confirm(entries, cx).await?;
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    Ok(Done::changed(format!("wrote {} to {PATH}", names.join(", "))))
}

/// Names that do not resolve, or to an address that is not theirs: a line for each.
async fn wrong(entries: &[HostEntry], cx: &Context) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for entry in entries {
        let found = names::resolve(&*cx.host, entry.name.as_str()).await?;
        if found.is_empty() {
            wrong.push(format!("{} does not resolve", entry.name));
        } else if let Some(stray) = found.iter().find(|address| !entry.addresses.contains(address)) {
            wrong.push(format!("{} resolves to {stray}", entry.name));
        }
    }
    Ok(wrong)
}

async fn confirm(entries: &[HostEntry], cx: &Context) -> Result<(), Failure> {
    let wrong = wrong(entries, cx).await?;
    if wrong.is_empty() {
        return Ok(());
    }
    let failure = Failure::new("name_resolution", format!("{PATH} is written, but names still resolve wrongly on {}", cx.name))
        .hint("look at 'hosts:' in /etc/nsswitch.conf (files must come first) and at caches (nscd), then run the command again");
    Err(wrong.into_iter().fold(failure, Failure::fact))
}

fn explain(error: HostsError) -> Failure {
    match &error {
        HostsError::Damaged { begins, ends } => Failure::refused("hosts_block_damaged", format!("{PATH}: {error}"))
            .fact(format!(
                "opening markers on lines {begins:?}, closing markers on lines {ends:?}"
            ))
            .hint(format!(
                "remove what is left of the block from {PATH}: all lines from '# BEGIN clusterctl' to '{}'",
                hosts_file::END
            )),
        HostsError::Conflict { line, name, .. } => Failure::refused(
            "hosts_conflict",
            format!("{PATH}: {error}, which is not one of its addresses"),
        )
        .hint(format!(
            "correct or remove {name} on line {line} of {PATH}, then run the command again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::host::{Command, Output};
    use crate::steps::testing;

    fn entries() -> Vec<HostEntry> {
        [("node1", "10.0.0.1"), ("node2", "10.0.0.2")]
            .map(|(name, address)| HostEntry {
                name: name.parse().unwrap(),
                addresses: vec![address.parse().unwrap()],
            })
            .into()
    }

    /// Answers as the C library would from the fake's own /etc/hosts.
    fn getent(host: &FakeHost, command: &Command) -> Output {
        let name = &command.args[1];
        let text = host.text(PATH).unwrap_or_default();
        let found: Vec<&str> = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or(""))
            .filter(|line| line.split_whitespace().skip(1).any(|word| word == name))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        Output::new(if found.is_empty() { 2 } else { 0 }, found.join("\n"), "")
    }

    #[tokio::test]
    async fn writes_once_and_then_nothing() {
        let fake = FakeHost::new()
            .with_file(PATH, "127.0.0.1 localhost\n127.0.1.1 node1\n")
            .answer("getent", getent);
        let fake = Arc::new(fake);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert_eq!(
            ensure(&entries(), &cx).await.unwrap(),
            Done::changed("wrote node1, node2 to /etc/hosts")
        );
        assert!(
            fake.text(PATH)
                .unwrap()
                .starts_with("127.0.0.1 localhost\n#127.0.1.1 node1 # clusterctl")
        );
        assert_eq!(ensure(&entries(), &cx).await.unwrap(), Done::Unchanged);
    }

    #[tokio::test]
    async fn where_dns_is_right_nothing_is_written() {
        let fake = FakeHost::new()
            .with_file(PATH, "127.0.0.1 localhost\n")
            .on("getent ahosts node1", "10.0.0.1 STREAM node1\n")
            .on("getent ahosts node2", "10.0.0.2 STREAM node2\n");
        let fake = Arc::new(fake);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert_eq!(ensure(&entries(), &cx).await.unwrap(), Done::Unchanged);
        assert_eq!(fake.text(PATH).unwrap(), "127.0.0.1 localhost\n");
    }

    #[tokio::test]
    async fn a_resolver_that_ignores_the_file_is_told() {
        let fake = FakeHost::new().with_file(PATH, "").on("getent", "192.0.2.1 STREAM x\n");
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(Arc::new(fake), dir.path());
        let failure = ensure(&entries(), &cx).await.unwrap_err();
        assert_eq!(failure.code, "name_resolution");
        assert_eq!(failure.facts[0], "node1 resolves to 192.0.2.1");
    }

    #[tokio::test]
    async fn a_damaged_block_is_refused_and_not_touched() {
        let text = "# END clusterctl\n";
        let fake = Arc::new(FakeHost::new().with_file(PATH, text).answer("getent", getent));
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert_eq!(ensure(&entries(), &cx).await.unwrap_err().code, "hosts_block_damaged");
        assert_eq!(fake.text(PATH).unwrap(), text);
    }
}
