//! Enrolment tokens in the model: made, spent, locked, taken back. The secret itself never gets here.

use clusterctl_proto::failure::{ExitClass, Failure};

use super::apply::Applied;
use super::{Answer, Command, journal};
use crate::model::token::MAX_FAILURES;
use crate::model::{Model, Token, UnixMs};

/// Tokens that can do nothing any more are forgotten after this time.
const KEEP_DEAD_MS: i64 = 30 * 24 * 3600 * 1000;

pub(super) fn add(model: &mut Model, command: &Command, token: &Token) -> Applied {
    if model.tokens.contains_key(&token.id) {
        return Err(
            Failure::new("token_exists", format!("token {} exists already", token.id)).exit(ExitClass::Conflict),
        );
    }
    if token.replace && token.host.is_none() {
        return Err(Failure::refused(
            "replaces_no_host",
            "a token that replaces a host's key must name that host",
        )
        .hint("clusterctl token create --host NAME --replace"));
    }
    model
        .tokens
        .retain(|_, old| old.expires_at.saturating_add(KEEP_DEAD_MS) > command.at);
    let roles: Vec<&str> = token.roles.iter().map(|role| role.as_str()).collect();
    let only = token
        .host
        .as_ref()
        .map(|host| format!(" for {host}"))
        .unwrap_or_default();
    let replaces = if token.replace {
        ", which replaces the key of that host"
    } else {
        ""
    };
    let text = format!(
        "token {} made{only}{replaces}: role {}, {} use(s)",
        token.id,
        roles.join(","),
        token.uses_left
    );
    model.tokens.insert(token.id.clone(), token.clone());
    journal::line("token_created", text).write(model, command);
    Ok(Answer::Applied)
}

pub(super) fn failure(model: &mut Model, command: &Command, id: &str) -> Applied {
    let token = find_mut(model, id)?;
    token.failures = token.failures.saturating_add(1);
    let failures = token.failures;
    if failures == MAX_FAILURES {
        let text = format!("token {id} locked after {failures} wrong secrets");
        journal::line("token_locked", text).write(model, command);
    }
    Ok(Answer::Applied)
}

pub(super) fn revoke(model: &mut Model, command: &Command, id: &str) -> Applied {
    let token = find_mut(model, id)?;
    if !token.revoked {
        token.revoked = true;
        journal::line("token_revoked", format!("token {id} revoked")).write(model, command);
    }
    Ok(Answer::Applied)
}

fn find_mut<'a>(model: &'a mut Model, id: &str) -> Result<&'a mut Token, Failure> {
    model.tokens.get_mut(id).ok_or_else(|| unknown(id))
}

/// No token has this id.
pub fn unknown(id: &str) -> Failure {
    Failure::new("token_unknown", format!("no token has the id {id:?}"))
        .hint("list them: clusterctl token list")
        .exit(ExitClass::Denied)
}

/// Why this token may not be used now; uses that are left are judged apart, see [`used_up`].
pub fn usable(token: &Token, now: UnixMs) -> Result<(), Failure> {
    let refuse =
        |code: &str, message: String| Err(Failure::new(code, message).hint(MAKE_ANOTHER).exit(ExitClass::Denied));
    if token.failures >= MAX_FAILURES {
        return refuse(
            "token_locked",
            format!("token {} is locked: too many wrong secrets were tried", token.id),
        );
    }
    if token.revoked {
        return refuse("token_revoked", format!("token {} was revoked", token.id));
    }
    if token.expires_at <= now {
        let ended = clusterctl_proto::clock::rfc3339(u64::try_from(token.expires_at).unwrap_or_default());
        return refuse("token_expired", format!("token {} expired at {ended}", token.id));
    }
    Ok(())
}

/// All its uses are spent.
pub fn used_up(token: &Token) -> Failure {
    Failure::new("token_used", format!("token {} was used already", token.id))
        .hint(MAKE_ANOTHER)
        .exit(ExitClass::Denied)
}

const MAKE_ANOTHER: &str = "make another, as an operator with role admin: clusterctl token create --role db";
