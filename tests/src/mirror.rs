//! Finding the Debian mirror this machine already uses.
//!
//! Called by `base`. The mirror is taken from `--mirror` (or `CLUSTERCTL_LAB_MIRROR`), else from the
//! machine's own apt configuration, deb822 or one-line. It must never name a mirror itself.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::error::hinted;
use crate::home::names_in;

/// One line or stanza of an apt configuration.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

/// The mirror to build from: the one asked for, else the machine's own.
pub(crate) fn find(asked: Option<&str>) -> Result<String> {
    if let Some(uri) = asked {
        return Ok(uri.trim_end_matches('/').to_owned());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = field(&release, "VERSION_CODENAME").unwrap_or_default();
    let uri = (field(&release, "ID").as_deref() == Some("debian"))
        .then(|| configured(Path::new("/etc/apt")))
        .and_then(|sources| debian_archive(&sources, &codename))
        .and_then(|uri| resolve(&uri));
    uri.ok_or_else(|| {
        hinted(
            "this machine's apt knows no Debian archive that would have sid",
            "name a Debian mirror: `cargo lab up --mirror http://…/debian`, or CLUSTERCTL_LAB_MIRROR",
        )
    })
}

/// Everything apt is told to use, in apt's own order of files.
fn configured(folder: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    if let Ok(text) = fs::read_to_string(folder.join("sources.list")) {
        sources.extend(one_line(&text));
    }
    let parts = folder.join("sources.list.d");
    for name in names_in(&parts).unwrap_or_default() {
        let Ok(text) = fs::read_to_string(parts.join(&name)) else {
            continue;
        };
        if name.ends_with(".list") {
            sources.extend(one_line(&text));
        } else if name.ends_with(".sources") {
            sources.extend(deb822(&text));
        }
    }
    sources
}

/// The URI of the distribution's own archive: others (security, third parties) have no sid.
fn debian_archive(sources: &[Source], codename: &str) -> Option<String> {
    let suites = [codename, "sid", "unstable", "testing", "stable", "oldstable"];
    sources
        .iter()
        .filter(|source| source.components.iter().any(|name| name == "main"))
        .filter(|source| source.suites.iter().any(|suite| suites.contains(&suite.as_str())))
        .flat_map(|source| &source.uris)
        .find(|uri| !uri.contains("security") && !uri.starts_with("cdrom:"))
        .map(|uri| uri.trim_end_matches('/').to_owned())
}

/// Cloud images write `mirror+file:/etc/apt/mirrors/debian.list`: the file's first line is the mirror.
fn resolve(uri: &str) -> Option<String> {
    let Some(path) = uri.strip_prefix("mirror+file:") else {
        return Some(uri.to_owned());
    };
    let list = fs::read_to_string(path.replace("//", "/")).ok()?;
    let first = list
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(first.split_whitespace().next()?.trim_end_matches('/').to_owned())
}

fn one_line(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb ").map(str::trim_start) else {
            continue;
        };
        let rest = match rest.strip_prefix('[').and_then(|options| options.split_once(']')) {
            Some((_, after)) => after,
            None => rest,
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source {
                uris: vec![uri],
                suites: vec![suite],
                components: words.collect(),
            });
        }
    }
    sources
}

fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let uncommented: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in uncommented.join("\n").split("\n\n") {
        let words = |name: &str| words_of(stanza, name);
        if words("Enabled").first().is_some_and(|word| word == "no") || !words("Types").contains(&"deb".to_owned()) {
            continue;
        }
        sources.push(Source {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
        });
    }
    sources
}

/// The words of a deb822 field, continuation lines included.
fn words_of(stanza: &str, name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in stanza.lines() {
        let value = if line.starts_with([' ', '\t']) {
            line
        } else {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            inside = key.eq_ignore_ascii_case(name);
            value
        };
        if inside {
            words.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// A value of `/etc/os-release`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_with_comments_several_stanzas_and_others() {
        let text = "Types: deb\n# a snapshot\nURIs: http://mirror.example/debian-security/\nSuites: bookworm-security\n\
            Components: main\n\nTypes: deb deb-src\nURIs:\n http://mirror.example/debian/\nSuites: bookworm\n \
            bookworm-updates\nComponents: main contrib\n";
        assert_eq!(
            debian_archive(&deb822(text), "bookworm").as_deref(),
            Some("http://mirror.example/debian")
        );
        let disabled = text.replace("Suites: bookworm\n", "Enabled: no\nSuites: bookworm\n");
        assert_eq!(debian_archive(&deb822(&disabled), "bookworm"), None);
    }

    #[test]
    fn one_line_with_options_and_third_parties() {
        let text = "# deb http://old.example/debian bookworm main\n\
            deb [signed-by=/k.gpg arch=amd64] https://other.example/apt nodistro main\n\
            deb cdrom:[Debian 12]/ bookworm main\n\
            deb [trusted=yes] http://mirror.example/debian trixie main contrib # ours\n";
        assert_eq!(
            debian_archive(&one_line(text), "trixie").as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(debian_archive(&one_line(text), "forky"), None);
    }

    #[test]
    fn an_ordinary_uri_stays_and_one_asked_for_wins() {
        assert_eq!(resolve("file:/srv/debian").as_deref(), Some("file:/srv/debian"));
        assert_eq!(
            find(Some("http://m.example/debian/")).unwrap(),
            "http://m.example/debian"
        );
    }
}
