//! Enrolled hosts in the model.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;

use super::apply::Applied;
use super::{Answer, Command, journal, tokens};
use crate::model::{Host, Model};

/// Spends a use of the token and stores the host in one change. The same key again (the agent did not get the answer)
/// spends nothing, unless the token replaces a key: nobody else is to use that one.
pub(super) fn enrol(model: &mut Model, command: &Command, token_id: &str, host: &Host) -> Applied {
    let known = model.hosts.get(&host.name);
    let again = known.is_some_and(|known| known.key_sha256 == host.key_sha256);
    let token = model
        .tokens
        .get_mut(token_id)
        .ok_or_else(|| tokens::unknown(token_id))?;
    tokens::usable(token, command.at)?;
    if let Some(only) = token.host.as_ref().filter(|only| **only != host.name) {
        return Err(Failure::new(
            "token_for_other_host",
            format!("token {token_id} is for {only}, not for {}", host.name),
        )
        .hint(format!("clusterctl token create --role db --host {}", host.name))
        .exit(ExitClass::Denied));
    }
    // A token that replaces is bound to one host, see `tokens::add`.
    let replaces = token.replace && token.host.as_ref() == Some(&host.name);
    match known {
        None if replaces => return Err(unknown(&host.name)),
        Some(_) if !again && !replaces => return Err(taken(&host.name)),
        _ => {}
    }
    if !again {
        token.uses_left = token.uses_left.checked_sub(1).ok_or_else(|| tokens::used_up(token))?;
    } else if replaces {
        token.uses_left = token.uses_left.saturating_sub(1);
    }
    let replaced = known.is_some() && !again;
    let mut roles = token.roles.clone();
    let mut stored = host.clone();
    if let Some(known) = known {
        roles.extend(known.roles.iter().copied());
        stored.enrolled_at = known.enrolled_at;
    }
    stored.roles = roles;
    let shown: Vec<&str> = stored.roles.iter().map(|role| role.as_str()).collect();
    let (kind, text) = if replaced {
        let text = format!(
            "{} enrolled again as itself, with another key, by token {token_id} of {}: its earlier certificate is no longer accepted",
            host.name, token.created_by
        );
        ("host_replaced", text)
    } else {
        let how = if again { "enrolled again" } else { "enrolled" };
        (
            "host_enrolled",
            format!("{} {how}: role {}", host.name, shown.join(",")),
        )
    };
    model.hosts.insert(host.name.clone(), stored);
    journal::line(kind, text).host(&host.name).write(model, command);
    Ok(Answer::Applied)
}

/// A host of this name is enrolled with another key.
pub fn taken(name: &HostName) -> Failure {
    Failure::new(
        "host_name_taken",
        format!("a host named {name} is enrolled already, with another key"),
    )
    .hint(format!(
        "if this is {name} itself (its certificate expired, or its system disk was replaced): {}; else give this machine another \
         name: hostnamectl set-hostname NAME",
        enrol_again(name)
    ))
    .exit(ExitClass::Conflict)
}

/// The commands that enrol a host again as itself.
pub fn enrol_again(name: &HostName) -> String {
    format!("clusterctl token create --host {name} --replace, then on {name}: clusterctl-agent enroll --token-file -")
}

pub(super) fn renew(model: &mut Model, command: &Command, host: &Host) -> Applied {
    let known = model.hosts.get_mut(&host.name).ok_or_else(|| unknown(&host.name))?;
    if known.key_sha256 != host.key_sha256 {
        return Err(taken(&host.name));
    }
    let moved = known.addresses != host.addresses;
    known.addresses.clone_from(&host.addresses);
    known.certificate_expires = host.certificate_expires;
    if moved {
        let shown: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        let text = format!("{} is at {}", host.name, shown.join(", "));
        journal::line("host_moved", text).host(&host.name).write(model, command);
    }
    Ok(Answer::Applied)
}

pub(super) fn remove(model: &mut Model, command: &Command, name: &HostName) -> Applied {
    if !model.hosts.contains_key(name) {
        return Err(unknown(name));
    }
    if let Some(cluster) = model.cluster_of(name) {
        let what = if cluster.members.contains_key(name) {
            "remove"
        } else {
            "router remove"
        };
        return Err(
            Failure::refused("host_in_cluster", format!("{name} belongs to cluster {}", cluster.name))
                .hint(format!("take it out first: clusterctl {what} {name}")),
        );
    }
    model.hosts.remove(name);
    journal::line(
        "host_removed",
        format!("{name} forgotten: its certificate is no longer accepted"),
    )
    .host(name)
    .write(model, command);
    Ok(Answer::Applied)
}

/// No such host.
pub fn unknown(name: &HostName) -> Failure {
    Failure::new("host_not_enrolled", format!("host {name} is not enrolled"))
        .hint(format!(
            "clusterctl token create --role db, then on {name}: clusterctl-agent enroll --token-file -"
        ))
        .exit(ExitClass::Usage)
}
