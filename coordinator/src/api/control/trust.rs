//! Tokens and operators. Only hashes of secrets are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::{Identity, PeerName, Role};
use clusterctl_proto::ids::{HostName, HostRole, InvalidName};
use clusterctl_proto::token;
use clusterctl_proto::wire::control as pb;

use super::{ControlApi, request, wire};
use crate::leader::proposer;
use crate::machine::{Change, hosts, tokens};
use crate::model::Token;
use crate::model::token::MAX_FAILURES;
use crate::pki::{Names, PublicKey};

const DEFAULT_TTL: u64 = 3600;
const LONGEST_TTL: u64 = 30 * 24 * 3600;
const MAX_USES: u32 = 1000;
const LONGEST_OPERATOR: u64 = 10 * 365 * 24 * 3600;

fn usage(code: &str, message: impl Into<String>) -> Failure {
    Failure::new(code, message).exit(ExitClass::Usage)
}

impl ControlApi {
    pub(super) async fn make_token(
        &self,
        who: &str,
        asked: &pb::CreateTokenRequest,
    ) -> Result<pb::CreateTokenReply, Failure> {
        let roles: Result<BTreeSet<HostRole>, InvalidName> = asked.roles.iter().map(|role| role.parse()).collect();
        let mut roles = roles.map_err(|error| usage("bad_role", error.to_string()))?;
        let host = match asked.host.as_str() {
            "" => None,
            name => Some(request::host_name(name)?),
        };
        if asked.replace {
            let known = self.replaced(host.as_ref(), asked.uses)?;
            if roles.is_empty() {
                roles = known;
            }
        }
        if roles.is_empty() {
            return Err(usage("bad_role", "a token needs a role").hint("--role db, router or coordinator"));
        }
        let uses = asked.uses.max(1);
        if uses > MAX_USES {
            return Err(usage("too_many_uses", format!("{uses} uses are more than {MAX_USES}")));
        }
        let ttl = if asked.ttl_seconds == 0 {
            DEFAULT_TTL
        } else {
            asked.ttl_seconds
        };
        if ttl > LONGEST_TTL {
            return Err(usage(
                "too_long",
                format!("a token may live {} days at most", LONGEST_TTL / 86_400),
            ));
        }
        let token = token::Token::generate(self.shared.endpoints.clone(), self.shared.authority.sha256().to_owned())?;
        let now = proposer::now();
        let kept = Token {
            id: token.id.clone(),
            secret_sha256: token::Token::secret_hash(&token.secret),
            roles,
            host,
            replace: asked.replace,
            expires_at: now.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX).saturating_mul(1000)),
            uses_left: uses,
            failures: 0,
            revoked: false,
            created_by: who.to_owned(),
            created_at: now,
        };
        let expires_at = wire::time(kept.expires_at);
        self.shared
            .leader
            .proposer
            .by(who, Change::AddToken { token: kept })
            .await?;
        Ok(pb::CreateTokenReply {
            id: token.id.clone(),
            token: token.to_string(),
            expires_at,
        })
    }

    /// Roles of the host whose key a token is to replace: exactly one host, which is enrolled.
    fn replaced(&self, host: Option<&HostName>, uses: u32) -> Result<BTreeSet<HostRole>, Failure> {
        let example = "clusterctl token create --host node1 --replace";
        let host = host.ok_or_else(|| {
            usage(
                "replaces_no_host",
                "a token that replaces a host's key must name that host",
            )
            .hint(example)
        })?;
        if uses > 1 {
            return Err(usage("too_many_uses", "a token that replaces a host's key works once").hint(example));
        }
        let state = self.shared.leader.node.state();
        let roles = state.read(|model| model.hosts.get(host).map(|known| known.roles.clone()));
        roles.ok_or_else(|| hosts::unknown(host))
    }

    pub(super) fn tokens(&self) -> pb::ListTokensReply {
        let now = proposer::now();
        let row = |token: &Token| pb::Token {
            id: token.id.clone(),
            roles: token.roles.iter().map(ToString::to_string).collect(),
            expires_at: wire::time(token.expires_at),
            uses_left: token.uses_left,
            created_by: token.created_by.clone(),
            state: state(token, now).to_owned(),
            host: token.host.as_ref().map(ToString::to_string).unwrap_or_default(),
            replace: token.replace,
        };
        let tokens = self.shared.leader.node.state().read(|model| {
            let mut list: Vec<&Token> = model.tokens.values().collect();
            list.sort_by_key(|token| token.created_at);
            list.into_iter().map(row).collect()
        });
        pb::ListTokensReply { tokens }
    }

    pub(super) async fn take_back_token(&self, who: &str, id: &str) -> Result<pb::RevokeTokenReply, Failure> {
        let revoked = self
            .shared
            .leader
            .node
            .state()
            .read(|model| model.tokens.get(id).map(|token| token.revoked));
        match revoked {
            None => Err(tokens::unknown(&id.chars().take(80).collect::<String>()).exit(ExitClass::Usage)),
            Some(true) => Ok(pb::RevokeTokenReply { already: true }),
            Some(false) => {
                self.shared
                    .leader
                    .proposer
                    .by(who, Change::RevokeToken { id: id.to_owned() })
                    .await?;
                Ok(pb::RevokeTokenReply { already: false })
            }
        }
    }

    pub(super) async fn make_operator(
        &self,
        who: &str,
        asked: &pb::CreateOperatorRequest,
    ) -> Result<pb::CreateOperatorReply, Failure> {
        let role: Role = asked.role.parse().map_err(|_| {
            usage(
                "bad_role",
                format!(
                    "{:?} is no operator's role",
                    asked.role.chars().take(40).collect::<String>()
                ),
            )
            .hint("viewer (reads), operator (changes clusters) or admin (also changes trust)")
        })?;
        let identity = Identity::operator(&asked.name, role).map_err(|error| usage("bad_name", error.to_string()))?;
        let life = match asked.ttl_seconds {
            0 => self.shared.lives.operator(),
            seconds if seconds <= LONGEST_OPERATOR => Duration::from_secs(seconds),
            _ => {
                return Err(usage(
                    "too_long",
                    "an operator's certificate may live ten years at most",
                ));
            }
        };
        let key = PublicKey::from_request(&asked.csr_der)?;
        let peer = PeerName {
            group: self.shared.group.clone(),
            identity,
        };
        let signed = self.shared.authority.sign_peer(&key, &peer, &Names::default(), life)?;
        let text = format!(
            "certificate for {} with role {role}, until {}, serial {}",
            peer.identity,
            signed.facts.expires(),
            signed.facts.serial
        );
        let note = Change::Note {
            kind: "operator_created".to_owned(),
            cluster: None,
            host: None,
            text,
        };
        self.shared.leader.proposer.by(who, note).await?;
        Ok(pb::CreateOperatorReply {
            certificate_pem: signed.certificate_pem,
            ca_pem: self.shared.authority.certificate_pem().to_owned(),
            endpoints: self.shared.endpoints.clone(),
        })
    }
}

fn state(token: &Token, now: i64) -> &'static str {
    if token.revoked {
        "revoked"
    } else if token.failures >= MAX_FAILURES {
        "locked"
    } else if token.uses_left == 0 {
        "used"
    } else if token.expires_at <= now {
        "expired"
    } else {
        "valid"
    }
}
