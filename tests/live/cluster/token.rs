//! Tokens taken apart and mangled: what an attacker or a slip of the mouse would bring.
//!
//! Base64url by hand: the tests' package has few dependencies, being the first thing built on a fresh machine.

use anyhow::{Context, Result};
use serde_json::Value;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The document within a token.
pub fn open(token: &str) -> Result<Value> {
    let body = token
        .trim()
        .strip_prefix("cct1.")
        .context("no token: it does not start with cct1.")?;
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for character in body.bytes() {
        let value = ALPHABET
            .iter()
            .position(|known| *known == character)
            .context("a character that no token has")?;
        held = held << 6 | u32::try_from(value)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff)?);
        }
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// A token of this document.
pub fn close(document: &Value) -> String {
    let mut text = String::from("cct1.");
    for chunk in document.to_string().as_bytes().chunks(3) {
        let whole = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = (whole >> (18 - 6 * place)) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// A token with one string in it turned into another of the same form.
pub fn with_other(token: &str, key: &str) -> Result<String> {
    let mut document = open(token)?;
    let old = document[key].as_str().context("the token has no such part")?;
    let turn = |first: char| if first == 'a' { 'b' } else { 'a' };
    let mut characters = old.chars();
    let first = characters.next().context("it is empty")?;
    let new: String = std::iter::once(turn(first)).chain(characters).collect();
    document[key] = Value::String(new);
    Ok(close(&document))
}

#[test]
fn what_is_closed_opens() {
    for text in ["a", "ab", "abc", "abcd"] {
        let document = serde_json::json!({ "secret": text });
        assert_eq!(open(&close(&document)).unwrap(), document);
    }
    let token = close(&serde_json::json!({ "secret": "abc" }));
    assert_eq!(open(&with_other(&token, "secret").unwrap()).unwrap()["secret"], "bbc");
}
