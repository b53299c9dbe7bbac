//! Names of MySQL accounts, schemas and operators as typed: checked before anything is asked of a coordinator.

use std::fmt;
use std::str::FromStr;

use clusterctl_proto::identity::{Identity, Role};
use clusterctl_proto::ids::InvalidName;

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(InvalidName { kind: $kind, given: text.chars().take(80).collect(), rule: $rule })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// User part of an account that a person may make.
    User,
    "user name",
    "1 to 32 characters: letters, digits, '_', '-', '.', not root and not beginning with mysql_ or mysql.",
    |text| {
        let lower = text.to_ascii_lowercase();
        plain(text, 32) && lower != "root" && !lower.starts_with("mysql_") && !lower.starts_with("mysql.")
    }
);
checked_text!(
    /// Host part of an account: a name, an address, or a pattern with `%`.
    FromHost,
    "host part",
    "1 to 255 characters: letters, digits, '.', ':', '-', '_', '/', '%'",
    |text| (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-_/%".contains(&b))
);
checked_text!(
    /// A schema of an application.
    Database,
    "database name",
    "1 to 64 characters: letters, digits, '_', '-', '.', none of the server's own schemas",
    |text| {
        const OWN: [&str; 6] = [
            "mysql",
            "sys",
            "information_schema",
            "performance_schema",
            "mysql_innodb_cluster_metadata",
            "clusterctl_verify",
        ];
        plain(text, 64) && !OWN.contains(&text.to_ascii_lowercase().as_str())
    }
);
/// An operator's name, by the rule of the certificates that carry it.
pub fn parse_operator(text: &str) -> Result<String, String> {
    Identity::operator(text, Role::Viewer)
        .map(|_| text.to_owned())
        .map_err(|err| err.to_string())
}

fn plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_own_names_are_refused() {
        assert!("app".parse::<User>().is_ok());
        for bad in [
            "",
            "root",
            "mysql.sys",
            "mysql_innodb_cluster_1",
            "a b",
            "o'neil",
            "a@b",
            &"u".repeat(33),
        ] {
            assert!(bad.parse::<User>().is_err(), "{bad}");
        }
        assert!("appdb".parse::<Database>().is_ok());
        for bad in ["", "mysql", "SYS", "a`b", "clusterctl_verify"] {
            assert!(bad.parse::<Database>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_parts_are_addresses_names_or_patterns() {
        for good in ["%", "10.0.%", "10.0.0.0/255.255.255.0", "app1.example", "fd00::1"] {
            assert!(good.parse::<FromHost>().is_ok(), "{good}");
        }
        assert!("a'b".parse::<FromHost>().is_err());
    }
}
