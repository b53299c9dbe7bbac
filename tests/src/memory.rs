//! How much memory a host believes to have.
//!
//! Hosts share the machine's memory, and `/proc/meminfo` would tell each of them the whole of it: every mysqld would be
//! sized for a machine that it does not have. A unit puts a smaller table over it, early in the boot. Called by `host`
//! when a host is made. It limits nothing: it only tells.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;

/// Memory of one host: four of them fit into the machines that we know.
const MEBIBYTES: u64 = 3 * 1024;

const UNIT: &str = "clusterctl-lab-memory.service";
const TABLE: &str = "clusterctl-lab-meminfo";

/// Writes table and unit below `etc`.
pub(crate) fn tell(etc: &Path) -> Result<()> {
    let wants = etc.join("systemd/system/sysinit.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(etc.join(TABLE), table(MEBIBYTES))?;
    fs::write(etc.join("systemd/system").join(UNIT), unit())?;
    let link = wants.join(UNIT);
    if fs::symlink_metadata(&link).is_err() {
        symlink(Path::new("..").join(UNIT), link)?;
    }
    Ok(())
}

fn table(mebibytes: u64) -> String {
    let total = mebibytes * 1024;
    let lines = [
        ("MemTotal", total),
        ("MemFree", total / 2),
        ("MemAvailable", total * 3 / 4),
        ("Buffers", 0),
        ("Cached", total / 4),
        ("SwapCached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Shmem", 0),
        ("SReclaimable", 0),
    ];
    lines
        .map(|(name, kib)| format!("{:16}{kib:8} kB\n", format!("{name}:")))
        .concat()
}

fn unit() -> String {
    format!(
        "[Unit]\nDescription=A lab host's own share of the machine's memory\nDefaultDependencies=no\nBefore=sysinit.target\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/mount --bind /etc/{TABLE} /proc/meminfo\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_the_kernels_does() {
        let text = table(2048);
        assert!(text.starts_with("MemTotal:        2097152 kB\n"), "{text}");
        assert_eq!(text.lines().count(), 10);
    }
}
