//! The string that lets a new host in: where the coordinators are, which CA to trust, an id and a secret.
//!
//! `cct1.` and base64url of a JSON document, one line. The coordinator makes it and keeps only a hash of the secret; the
//! agent reads it from stdin or a file. It must never stand in argv, a log or an error.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::failure::{ExitClass, Failure};

const PREFIX: &str = "cct1.";
/// Longer than any of ours: five coordinators with a few addresses each.
const MAX_LENGTH: usize = 8 * 1024;
const SECRET_BYTES: usize = 32;

/// An enrolment token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// `ip:port` of the coordinators.
    pub endpoints: Vec<String>,
    /// SHA-256 of the CA certificate's DER, lower-case hexadecimal.
    pub ca_sha256: String,
    /// Names the token; not secret.
    pub id: String,
    /// 32 random bytes, base64url.
    pub secret: String,
}

/// Why a text is no token. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing came.
    #[error("there is no token: the input is empty")]
    Empty,
    /// Something else was pasted.
    #[error("this is not an enrolment token: it does not start with cct1.")]
    NotAToken,
    /// A token of another release.
    #[error("this token has another format than this program knows; it was made by a coordinator of another version")]
    OtherVersion,
    /// A character that no token has, or a line break within.
    #[error(
        "the token is mangled: it has a character that does not belong (a line break, a space?) or a part of it twice"
    )]
    Mangled,
    /// Its end is missing.
    #[error("the token is truncated: its end is missing")]
    Truncated,
    /// Well formed, but a value in it cannot be.
    #[error("the token is mangled: its {0} cannot be right")]
    BadPart(&'static str),
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Failure::new("bad_token", error.to_string())
            .hint("copy the whole line that `clusterctl token create` printed, or make a new one: clusterctl token create --role db")
            .exit(ExitClass::Denied)
    }
}

impl Token {
    /// A new token with a random id and secret.
    pub fn generate(endpoints: Vec<String>, ca_sha256: String) -> Result<Self, Failure> {
        let (mut id, mut secret) = ([0; 6], [0; SECRET_BYTES]);
        let random = SystemRandom::new();
        random
            .fill(&mut id)
            .and_then(|()| random.fill(&mut secret))
            .map_err(|_| no_random())?;
        Ok(Self {
            endpoints,
            ca_sha256,
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            secret: URL_SAFE_NO_PAD.encode(secret),
        })
    }

    /// SHA-256 of the secret, lower-case hexadecimal: what the coordinator keeps. The secret has 256 random bits, so a slow
    /// hash would add nothing.
    pub fn secret_hash(secret: &str) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares a presented secret with a kept hash in constant time.
    pub fn secret_matches(secret: &str, hash: &str) -> bool {
        let (presented, kept) = (Self::secret_hash(secret), hash.as_bytes());
        let differ = presented.bytes().zip(kept).fold(0, |sum, (a, b)| sum | (a ^ b));
        presented.len() == kept.len() && std::hint::black_box(differ) == 0
    }

    fn check(&self) -> Result<(), TokenError> {
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if self.endpoints.is_empty() || self.endpoints.len() > 64 {
            return Err(TokenError::BadPart("list of coordinators"));
        }
        if self
            .endpoints
            .iter()
            .any(|endpoint| endpoint.parse::<SocketAddr>().is_err())
        {
            return Err(TokenError::BadPart("coordinator address"));
        }
        if self.ca_sha256.len() != 64 || !is_hex(&self.ca_sha256) {
            return Err(TokenError::BadPart("CA fingerprint"));
        }
        if !(1..=64).contains(&self.id.len()) || !self.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(TokenError::BadPart("id"));
        }
        match URL_SAFE_NO_PAD.decode(&self.secret) {
            Ok(bytes) if bytes.len() == SECRET_BYTES => Ok(()),
            _ => Err(TokenError::BadPart("secret")),
        }
    }
}

pub(crate) fn no_random() -> Failure {
    Failure::new("no_random", "the operating system gives no random bytes").transient()
}

/// The whole token, secret included: for the one who asked for it.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Token {{ id: {:?}, endpoints: {:?}, secret: hidden }}",
            self.id, self.endpoints
        )
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let Some(body) = text.strip_prefix(PREFIX) else {
            return Err(if is_other_version(text) {
                TokenError::OtherVersion
            } else {
                TokenError::NotAToken
            });
        };
        let is_ours = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if text.len() > MAX_LENGTH || !body.bytes().all(is_ours) {
            return Err(TokenError::Mangled);
        }
        // A cut may leave 6 bits too many; what is whole before the cut still decodes and then ends early.
        let whole = body.len() - usize::from(body.len() % 4 == 1);
        let json = match URL_SAFE_NO_PAD.decode(&body[..whole]) {
            Ok(json) => json,
            Err(base64::DecodeError::InvalidLastSymbol { .. }) => {
                return Err(TokenError::Truncated);
            }
            Err(_) => return Err(TokenError::Mangled),
        };
        let token: Self = serde_json::from_slice(&json).map_err(|error| {
            if error.is_eof() {
                TokenError::Truncated
            } else {
                TokenError::Mangled
            }
        })?;
        if whole != body.len() {
            return Err(TokenError::Mangled);
        }
        token.check()?;
        Ok(token)
    }
}

fn is_other_version(text: &str) -> bool {
    let digits = text
        .strip_prefix("cct")
        .and_then(|rest| rest.split_once('.'))
        .map(|(digits, _)| digits);
    digits.is_some_and(|digits| (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn token() -> Result<Token, Failure> {
        Token::generate(vec!["10.0.0.1:7440".into(), "[fd00::1]:7440".into()], "ab".repeat(32))
    }

    #[test]
    fn there_and_back_in_one_line() -> Outcome {
        let token = token()?;
        let text = token.to_string();
        assert!(text.starts_with("cct1.") && !text.contains(char::is_whitespace));
        assert_eq!(format!(" {text}\n").parse::<Token>()?, token);
        assert_ne!(Token::generate(vec![], String::new())?.secret, token.secret);
        assert!(!format!("{token:?}").contains(&token.secret));
        Ok(())
    }

    #[test]
    fn every_cut_is_an_error_and_most_are_called_truncated() -> Outcome {
        let text = token()?.to_string();
        for length in 0..text.len() {
            let error = text[..length]
                .parse::<Token>()
                .err()
                .ok_or("a part was taken for a token")?;
            if length > PREFIX.len() {
                assert_eq!(error, TokenError::Truncated, "{length} of {}", text.len());
            }
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_told_apart() -> Outcome {
        let text = token()?.to_string();
        assert_eq!("".parse::<Token>(), Err(TokenError::Empty));
        assert_eq!("hello".parse::<Token>(), Err(TokenError::NotAToken));
        assert_eq!(
            text.replace("cct1.", "cct2.").parse::<Token>(),
            Err(TokenError::OtherVersion)
        );
        assert_eq!(
            format!("{}\n{}", &text[..40], &text[40..]).parse::<Token>(),
            Err(TokenError::Mangled)
        );
        assert_eq!(format!("{text}{text}").parse::<Token>(), Err(TokenError::Mangled));
        assert!(format!("{text}A").parse::<Token>().is_err());
        assert_eq!(
            format!("cct1.{}", "A".repeat(9000)).parse::<Token>(),
            Err(TokenError::Mangled)
        );
        let with = |change: fn(&mut Token)| -> Result<Token, Box<dyn std::error::Error>> {
            let mut token = token()?;
            change(&mut token);
            Ok(token.to_string().parse::<Token>()?)
        };
        assert!(with(|t| t.endpoints.clear()).is_err());
        assert!(with(|t| t.endpoints = vec!["node1:7440".into()]).is_err());
        assert!(with(|t| t.ca_sha256.truncate(60)).is_err());
        assert!(with(|t| t.secret.truncate(20)).is_err());
        assert!(with(|t| t.id = "a b".into()).is_err());
        Ok(())
    }

    #[test]
    fn a_changed_character_never_panics() -> Outcome {
        let text = token()?.to_string();
        for at in 0..text.len() {
            for with in ["A", "_", " ", "ü", "\0"] {
                let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                let _ = changed.parse::<Token>();
            }
        }
        Ok(())
    }

    #[test]
    fn secrets_are_compared_by_hash() -> Outcome {
        let token = token()?;
        let hash = Token::secret_hash(&token.secret);
        assert!(Token::secret_matches(&token.secret, &hash));
        assert!(!Token::secret_matches("x", &hash));
        assert!(!Token::secret_matches(&token.secret, ""));
        assert!(!Token::secret_matches(&token.secret, &hash[..63]));
        Ok(())
    }
}
