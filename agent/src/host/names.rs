//! What names resolve to on this host, through the C library's own order (files, DNS, …).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Command, Host, HostError};

/// Addresses of a name; none if it does not resolve. DNS that does not answer within 5 s counts as "does not resolve".
pub async fn resolve(host: &dyn Host, name: &str) -> Result<Vec<IpAddr>, HostError> {
    let command = Command::new("getent")
        .args(["ahosts", name])
        .timeout(Duration::from_secs(5));
    match command.run(host).await {
        // 2: the name is not known
        Ok(output) => Ok(if output.success() {
            parse(&output.stdout)
        } else {
            Vec::new()
        }),
        Err(HostError::Timeout { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        // a link-local address comes with its interface, `fe80::1%eth0`
        .filter_map(|field| field.split('%').next()?.parse().ok())
        .filter(|address| seen.insert(*address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn each_address_comes_once() {
        let text = "10.0.0.2  STREAM node2\n10.0.0.2  DGRAM\n10.0.0.2  RAW\nfe80::1%eth0 STREAM\n";
        let host = FakeHost::new()
            .on("getent ahosts node2", text)
            .on_failure("getent ahosts gone", 2, "");
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(resolve(&host, "node2").await.unwrap(), expected);
        assert!(resolve(&host, "gone").await.unwrap().is_empty());
    }
}
