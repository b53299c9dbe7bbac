//! Durations, sizes, times and addresses: how they are typed and how they are shown.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// `90s`, `10m`, `2h`; a bare number is refused, because it says no unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is not a duration: a number and a unit, such as 90s, 10m or 2h"))?;
    if parsed.is_zero() {
        return Err(format!("{text:?} is no time at all: give at least 1s"));
    }
    Ok(parsed)
}

/// As the API takes a time: never 0, which there means that none was given.
pub fn whole_seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more).max(1)
}

/// `7`: an operation's number.
pub fn parse_operation(text: &str) -> Result<u64, String> {
    let id = text.trim().parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| format!("{text:?} is no operation's number: see clusterctl ops list"))
}

/// Bytes from `512M`, `4G`, `1.5GiB`, `1073741824`; units are powers of 1024, as in MySQL's option files.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: a number with K, M, G or T, such as 512M or 4G");
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if !(1.0..=1e15).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// `10.0.0.1:7440`, `[fd00::1]:7440` or `node1:7440`.
pub fn parse_endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an endpoint: ADDRESS:PORT, such as 10.0.0.1:7440");
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port_ok = port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_ok = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    (port_ok && host_ok).then(|| text.to_owned()).ok_or_else(wrong)
}

/// `1.4 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `340ms`, `12.3s`, `4m 05s`, `2h 10m`: as long as a step took.
pub fn elapsed(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{:.1}s", millis as f64 / 1000.0),
        60_000..3_600_000 => format!("{}m {:02}s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{}h {:02}m", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// `42s`, `17m`, `5h 12m`, `3d 4h`: as long as something has been up.
pub fn uptime(seconds: u64) -> String {
    match seconds {
        0 => "-".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `3m ago`, `in 59m` of an RFC 3339 time; the text itself when it is none, `-` when empty.
pub fn relative(rfc3339: &str, now: SystemTime) -> String {
    if rfc3339.is_empty() {
        return "-".to_owned();
    }
    let Ok(at) = humantime::parse_rfc3339_weak(rfc3339) else {
        return rfc3339.to_owned();
    };
    match now.duration_since(at) {
        Ok(past) if past.as_secs() == 0 => "now".to_owned(),
        Ok(past) => format!("{} ago", coarse(past.as_secs())),
        Err(future) => format!("in {}", coarse(future.duration().as_secs().max(1))),
    }
}

fn coarse(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds between two RFC 3339 times; none when either is missing.
pub fn between(start: &str, end: &str) -> Option<u64> {
    let start = humantime::parse_rfc3339_weak(start).ok()?;
    let end = humantime::parse_rfc3339_weak(end).ok()?;
    u64::try_from(end.duration_since(start).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("1073741824"), Ok(1 << 30));
        for bad in ["", "0", "x", "4 parsecs", "-1G", "1e9", "9999999T", "."] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        for bad in ["", "10", "0s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_name_a_port() {
        for good in ["10.0.0.1:7440", "[fd00::1]:7440", "node1:7440", "a.b-c:1"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "node1",
            "node1:",
            ":7440",
            "node1:0",
            "https://node1:7440",
            "a b:1",
            "node1:70000",
        ] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_well() {
        let now = humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap();
        assert_eq!(relative("2026-05-01T11:57:00Z", now), "3m ago");
        assert_eq!(relative("2026-05-01T13:00:00Z", now), "in 1h");
        assert_eq!(relative("", now), "-");
        assert_eq!(relative("whenever", now), "whenever");
        assert_eq!(elapsed(245_000), "4m 05s");
        assert_eq!(elapsed(12_340), "12.3s");
        assert_eq!(uptime(277_000), "3d 4h");
        assert_eq!(bytes(1_503_238_553), "1.4 GiB");
        assert_eq!(between("2026-05-01T12:00:00Z", "2026-05-01T12:00:01.500Z"), Some(1500));
    }
}
