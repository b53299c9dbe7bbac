//! Operations in the words of the one who typed them. Used by events, by the API's titles and by waiting texts.

use crate::model::{OperationKind, operation::RecoveryWish};

/// As typed: `join node3`, `create prod --primary node1 --with node2,node3`.
pub fn title(kind: &OperationKind, cluster: &str) -> String {
    let list = |names: &[clusterctl_proto::ids::HostName]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        names.join(",")
    };
    match kind {
        OperationKind::Create {
            primary, with, routers, ..
        } => {
            let mut text = format!("create {cluster} --primary {primary}");
            if !with.is_empty() {
                text.push_str(&format!(" --with {}", list(with)));
            }
            for router in routers {
                text.push_str(&format!(" --router {router}"));
            }
            text
        }
        OperationKind::Join { host, recovery, .. } => match recovery {
            RecoveryWish::Auto => format!("join {host}"),
            RecoveryWish::Incremental => format!("join {host} --recovery incremental"),
            RecoveryWish::Clone => format!("join {host} --recovery clone"),
        },
        OperationKind::Remove { host, force } => format!("remove {host}{}", forced(*force)),
        OperationKind::AddRouter { host, .. } => format!("router add {host}"),
        OperationKind::RemoveRouter { host, force } => format!("router remove {host}{}", forced(*force)),
        OperationKind::CreateAccount { account } => format!("account create {}", account.user),
        OperationKind::DropAccount { user, .. } => format!("account drop {user}"),
        OperationKind::Switchover { to: Some(host) } => format!("switchover --to {host}"),
        OperationKind::Switchover { to: None } => "switchover".to_owned(),
        OperationKind::Verify => "verify".to_owned(),
        OperationKind::Rejoin { host } => format!("rejoin {host}"),
        OperationKind::Recover { without, .. } if without.is_empty() => format!("recover {cluster}"),
        OperationKind::Recover { without, .. } => format!("recover {cluster} --without {}", list(without)),
        OperationKind::StartRouter { host } => format!("start router {host}"),
        OperationKind::Forget { host } => format!("forget {host}"),
    }
}

fn forced(force: bool) -> &'static str {
    if force { " --force" } else { "" }
}
