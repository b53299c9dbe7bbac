//! Addresses at which other hosts can reach this one. Read by `init` once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Global addresses of this host's interfaces, the one of the default route first.
pub fn global() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    found.extend(preferred());
    found.extend(from_fib_trie(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4));
    found.extend(from_if_inet6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    let mut unique = Vec::new();
    for address in found {
        if is_global(address) && !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

/// The source address of the default route; nothing is sent.
fn preferred() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified() && !v4.is_multicast(),
        IpAddr::V6(v6) => {
            !v6.is_loopback() && !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

/// Local addresses stand as `|-- ADDRESS` before a line `/32 host LOCAL`.
fn from_fib_trie(text: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last.take());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Columns: address in hexadecimal, interface, prefix, scope (00 is global), flags, name.
fn from_if_inet6(text: &str) -> Vec<Ipv6Addr> {
    const TENTATIVE_OR_TEMPORARY: u32 = 0x40 | 0x01 | 0x08;
    text.lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [address, _, _, "00", flags, ..] = columns.as_slice() else {
                return None;
            };
            if u32::from_str_radix(flags, 16).ok()? & TENTATIVE_OR_TEMPORARY != 0 {
                return None;
            }
            u128::from_str_radix(address, 16).ok().map(Ipv6Addr::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.81.0.11\n        /32 host LOCAL\n\
                    |-- 10.81.0.255\n  /32 link BROADCAST\n  |-- 127.0.0.1\n  /32 host LOCAL\n";
        let v4: Vec<IpAddr> = from_fib_trie(trie)
            .into_iter()
            .map(IpAddr::V4)
            .filter(|a| is_global(*a))
            .collect();
        assert_eq!(v4, ["10.81.0.11".parse::<IpAddr>().expect("address")]);
        let v6 = "fe80000000000000ac1d2bfffe000001 02 40 20 80     eth0\n20010db8000000000000000000000001 02 40 00 80     eth0\n\
                  00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(from_if_inet6(v6), ["2001:db8::1".parse::<Ipv6Addr>().expect("address")]);
    }
}
