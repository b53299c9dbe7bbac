//! Holds back the start of mysqld and mysqlrouter while Debian packages are installed, by `/usr/sbin/policy-rc.d`.
//!
//! Packages of Debian start their service as soon as they are unpacked, with default settings; we want the first start to be ours.
//! A policy that was there before is put aside and obeyed for every other service. [`put`] and [`lift`] are idempotent
//! and recover from a crash between any two of their lines: ours is known by its content.

use std::path::Path;

use clusterctl_proto::failure::Failure;

use crate::host::{Access, Host, HostError};

/// Where Debian looks.
pub const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where an administrator's own policy waits.
pub const SAVED: &str = "/usr/sbin/policy-rc.d.before-clusterctl";

const OURS: &str = "#!/bin/sh
# put here by clusterctl-agent while it installs packages, and taken away by it afterwards
for word; do
    case \"$word\" in
        mysql|mysqld|mysqlrouter|mysql.service|mysqld.service|mysqlrouter.service) exit 101 ;;
    esac
done
if [ -x /usr/sbin/policy-rc.d.before-clusterctl ]; then
    exec /usr/sbin/policy-rc.d.before-clusterctl \"$@\"
fi
exit 0
";

/// Our policy stands: an installation of ours runs, or was killed.
pub async fn stands(host: &dyn Host) -> Result<bool, HostError> {
    let current = host.read(Path::new(POLICY)).await?;
    Ok(current.is_some_and(|bytes| is_ours(&bytes)))
}

/// Puts our policy in place.
pub async fn put(host: &dyn Host) -> Result<(), Failure> {
    let (policy, saved) = (Path::new(POLICY), Path::new(SAVED));
    if let Some(current) = host.read(policy).await?
        && !is_ours(&current)
    {
        if host.stat(saved).await?.is_some() {
            return Err(Failure::refused(
                "policy_rc_d",
                format!("both {POLICY} and {SAVED} are there and neither is ours"),
            )
            .hint(format!("keep the one that you want as {POLICY} and remove {SAVED}")));
        }
        host.rename(policy, saved).await?;
    }
    host.write(policy, OURS.as_bytes(), &Access::Own(0o755)).await?;
    Ok(())
}

/// Takes our policy away and puts back what was there before.
pub async fn lift(host: &dyn Host) -> Result<(), HostError> {
    let (policy, saved) = (Path::new(POLICY), Path::new(SAVED));
    match host.read(policy).await? {
        Some(current) if !is_ours(&current) => return Ok(()),
        _ => {}
    }
    if host.stat(saved).await?.is_some() {
        // one rename: there is no moment without a policy
        host.rename(saved, policy).await
    } else {
        host.remove(policy).await.map(drop)
    }
}

fn is_ours(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes)
        .lines()
        .nth(1)
        .is_some_and(|line| line.starts_with("# put here by clusterctl-agent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn comes_and_goes() {
        let host = FakeHost::new();
        put(&host).await.unwrap();
        assert!(stands(&host).await.unwrap());
        assert_eq!(host.access(POLICY), Some(Access::Own(0o755)));
        lift(&host).await.unwrap();
        assert_eq!(host.text(POLICY), None);
    }

    #[tokio::test]
    async fn an_existing_policy_is_put_aside_and_comes_back_even_after_a_crash() {
        let host = FakeHost::new().with_file(POLICY, "#!/bin/sh\nexit 104\n");
        put(&host).await.unwrap();
        // killed here; the next installation begins anew
        put(&host).await.unwrap();
        assert_eq!(host.text(SAVED).unwrap(), "#!/bin/sh\nexit 104\n");
        lift(&host).await.unwrap();
        assert_eq!(host.text(POLICY).unwrap(), "#!/bin/sh\nexit 104\n");
        assert_eq!(host.text(SAVED), None);
        lift(&host).await.unwrap();
        assert_eq!(host.text(POLICY).unwrap(), "#!/bin/sh\nexit 104\n");
    }

    #[tokio::test]
    async fn two_foreign_policies_are_told() {
        let host = FakeHost::new().with_file(POLICY, "a\n").with_file(SAVED, "b\n");
        assert_eq!(put(&host).await.unwrap_err().code, "policy_rc_d");
        assert_eq!(host.text(POLICY).unwrap(), "a\n");
    }
}
