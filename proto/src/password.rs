//! Passwords of MySQL accounts: made on the host that uses them, known elsewhere by their hash.
//!
//! The host that needs an account makes the password ([`generate`]) and hands out [`caching_sha2_hash`] only, which goes to
//! the primary in `CREATE USER … IDENTIFIED WITH caching_sha2_password AS 0x…` (safety rule 9). The server reads the same
//! form back, so [`verify`] can tell whether an account already has a password.

mod sha_crypt;

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

use crate::failure::Failure;
use crate::token::no_random;

/// Bytes of salt in MySQL's authentication string.
pub const SALT_LENGTH: usize = 20;

/// What a 9.7 server takes itself (`$A$00A$`; 8.0.24 and later read any number); stands in the string in thousands.
const ROUNDS: u32 = 10_000;
/// The server's own limit (4095 thousands); more than a check here should cost.
const MAX_THOUSANDS: u32 = 100;

const LENGTH: usize = 32;
// 66 characters: nothing that a shell, an option file, a URI or SQL would read as more than itself.
const SPECIAL: &[u8] = b"-_.+";
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+";

/// A text that must not be shown. Kept out of `Debug`; there is no `Display` and no serde.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text itself: for a file of mode 0600, the server, or the one who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A password of 32 characters (more than 180 random bits) with an upper and a lower case letter, a digit and a special
/// character, as `validate_password` asks for. It begins with a letter, so that nothing takes it for an option.
pub fn generate() -> Result<Secret, Failure> {
    let random = SystemRandom::new();
    loop {
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let mut byte = [0];
            random.fill(&mut byte).map_err(|_| no_random())?;
            // Seven bits, those beyond the alphabet thrown away: each character is as likely as any other.
            if let Some(&character) = ALPHABET.get(usize::from(byte[0] & 0x7f)) {
                text.push(char::from(character));
            }
        }
        let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
        if text.starts_with(|first: char| first.is_ascii_alphabetic())
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
            && has(|byte| SPECIAL.contains(byte))
        {
            return Ok(Secret(text));
        }
    }
}

/// A salt as the server makes it: seven bits a byte, without NUL and `$`.
pub fn random_salt() -> Result<[u8; SALT_LENGTH], Failure> {
    let mut salt = [0; SALT_LENGTH];
    let random = SystemRandom::new();
    for place in &mut salt {
        while *place == 0 || *place == b'$' {
            let mut byte = [0];
            random.fill(&mut byte).map_err(|_| no_random())?;
            *place = byte[0] & 0x7f;
        }
    }
    Ok(salt)
}

/// MySQL's authentication string for `caching_sha2_password`, `$A$00A$<salt><hash>`, as a hexadecimal literal (`0x…`):
/// salts have control characters.
pub fn caching_sha2_hash(password: &str, salt: &[u8; SALT_LENGTH]) -> String {
    let mut text = format!("$A${:03X}$", ROUNDS / 1000).into_bytes();
    text.extend_from_slice(salt);
    text.extend_from_slice(sha_crypt::sha256(password.as_bytes(), salt, ROUNDS).as_bytes());
    let hex: String = text.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("0x{hex}")
}

/// Whether this is the password of an authentication string, given as `0x…` or as the server's own bytes.
pub fn verify(password: &str, authentication_string: &[u8]) -> bool {
    let bytes = match authentication_string.strip_prefix(b"0x") {
        Some(hex) => match from_hex(hex) {
            Some(bytes) => bytes,
            None => return false,
        },
        None => authentication_string.to_vec(),
    };
    let Some((salt, hash, rounds)) = split(&bytes) else {
        return false;
    };
    let made = sha_crypt::sha256(password.as_bytes(), salt, rounds);
    let differ = made.bytes().zip(hash).fold(0, |sum, (a, b)| sum | (a ^ b));
    made.len() == hash.len() && std::hint::black_box(differ) == 0
}

/// Whether a text is a hexadecimal literal of an authentication string: nothing else may be put into a statement.
pub fn is_hash(literal: &str) -> bool {
    let hex = literal.strip_prefix("0x").and_then(|hex| from_hex(hex.as_bytes()));
    hex.is_some_and(|bytes| split(&bytes).is_some())
}

/// Salt, hash and rounds.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], u32)> {
    let rest = bytes.strip_prefix(b"$A$")?;
    let (thousands, rest) = (rest.get(..3)?, rest.get(3..)?.strip_prefix(b"$")?);
    let thousands = u32::from_str_radix(std::str::from_utf8(thousands).ok()?, 16).ok()?;
    let (salt, hash) = (rest.get(..SALT_LENGTH)?, rest.get(SALT_LENGTH..)?);
    ((1..=MAX_THOUSANDS).contains(&thousands) && hash.len() == sha_crypt::LENGTH)
        .then(|| (salt, hash, thousands * 1000))
}

fn from_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_satisfy_the_usual_policy_and_differ() -> Result<(), Failure> {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let password = generate()?;
            let text = password.expose();
            assert_eq!(text.len(), LENGTH);
            assert!(text.bytes().all(|byte| ALPHABET.contains(&byte)));
            assert!(text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| SPECIAL.contains(&byte)));
            assert!(!format!("{password:?}").contains(text));
            assert!(seen.insert(text.to_owned()));
        }
        Ok(())
    }

    #[test]
    fn salts_have_no_byte_that_ends_them() -> Result<(), Failure> {
        for _ in 0..500 {
            assert!(
                random_salt()?
                    .iter()
                    .all(|&byte| (1..=0x7f).contains(&byte) && byte != b'$')
            );
        }
        Ok(())
    }

    #[test]
    fn a_hash_verifies_its_password_only() -> Result<(), Failure> {
        let password = generate()?;
        let hash = caching_sha2_hash(password.expose(), &random_salt()?);
        assert_eq!(hash.len(), 2 + 2 * (7 + SALT_LENGTH + sha_crypt::LENGTH));
        assert!(is_hash(&hash) && hash.starts_with("0x244124303041"));
        assert!(verify(password.expose(), hash.as_bytes()));
        assert!(!verify("x", hash.as_bytes()));
        let raw = from_hex(&hash.as_bytes()[2..]).unwrap_or_default();
        assert!(verify(password.expose(), &raw) && !verify("x", &raw));
        Ok(())
    }

    /// Made by mysqld 9.7.4 with `CREATE USER s1 IDENTIFIED BY 'Hello world!'`. The other way was tried by hand on the
    /// same server: it let in twelve accounts whose hashes were made here.
    #[test]
    fn a_hash_of_the_real_server_verifies() {
        let hash = b"0x244124303041243F4B691E117C7E013C4216381246042D78146356653450414A473755764C417A41\
                     705073393359427666736C4D4548574649523847486A2E75705279427542";
        assert!(verify("Hello world!", hash) && !verify("Hello world", hash));
    }

    #[test]
    fn what_is_no_hash_is_not_taken_for_one() {
        for text in [
            "",
            "0x",
            "0x2",
            "$A$005$",
            "0x244124303035",
            "x'; DROP USER root",
            "0xzz",
            "$A$FFF$",
            "0x ü",
        ] {
            assert!(!is_hash(text) && !verify("", text.as_bytes()), "{text}");
        }
        let salt = [b'a'; SALT_LENGTH];
        let good = caching_sha2_hash("x", &salt);
        assert!(!is_hash(&good[..good.len() - 2]) && !is_hash(&format!("{good}00")));
        assert!(!is_hash(&format!("{good}' OR 1")));
    }
}
