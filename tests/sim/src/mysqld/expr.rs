//! Expressions that mysqld evaluates itself: in select lists without a table, and behind `SET … =`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use clusterctl_proto::gtid::GtidSet;

use super::session::SqlError;

/// A value; none: NULL.
pub(crate) type Value = Option<String>;

/// What an expression may ask.
pub(crate) trait Scope {
    /// A system variable.
    fn variable(&self, name: &str) -> Result<Value, SqlError>;
    /// Microseconds since 1970 by the server's clock.
    fn micros(&self) -> u64;
    /// A parameter.
    fn param(&self, place: usize) -> Value;
}

/// `2026-11-29 14:00:00.123456`.
pub(crate) fn time_text(micros: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_micros(micros);
    let text = humantime::format_rfc3339_micros(at).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

/// As UNIX_TIMESTAMP writes a time with microseconds.
pub(crate) fn seconds_text(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn time_micros(text: &str) -> Option<u128> {
    let at = humantime::parse_rfc3339(&format!("{}Z", text.replace(' ', "T"))).ok()?;
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_micros())
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Text(String),
    Number(String),
    Word(String),
    Variable(String),
    Sign(char),
    NotEqual,
}

std::thread_local! {
    /// What was read already: an agent asks the same few things every second.
    static READ: RefCell<HashMap<String, Rc<[Token]>>> = RefCell::default();
}
/// Texts that differ each time would fill the memory.
const KEPT: usize = 2000;

fn tokens(text: &str) -> Option<Rc<[Token]>> {
    if let Some(known) = READ.with_borrow(|all| all.get(text).cloned()) {
        return Some(known);
    }
    let found: Rc<[Token]> = read(text)?.into();
    READ.with_borrow_mut(|all| {
        if all.len() < KEPT {
            all.insert(text.to_owned(), Rc::clone(&found));
        }
    });
    Some(found)
}

fn read(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let all: Vec<char> = text.chars().collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut at = 0;
    while at < all.len() {
        let c = all[at];
        if c.is_whitespace() {
            at += 1;
        } else if c == '\'' {
            let mut literal = String::new();
            at += 1;
            loop {
                match (all.get(at)?, all.get(at + 1)) {
                    ('\'', Some('\'')) => {
                        literal.push('\'');
                        at += 2;
                    }
                    ('\'', _) => break,
                    ('\\', Some(next)) => {
                        literal.push(*next);
                        at += 2;
                    }
                    (other, _) => {
                        literal.push(*other);
                        at += 1;
                    }
                }
            }
            at += 1;
            found.push(Token::Text(literal));
        } else if c == '@' || is_name(c) {
            let start = at;
            while at < all.len() && (is_name(all[at]) || all[at] == '@') {
                at += 1;
            }
            let word: String = all[start..at].iter().collect();
            found.push(match word.strip_prefix("@@") {
                Some(name) => {
                    let lower = name.to_ascii_lowercase();
                    let name = lower.strip_prefix("global.").or(lower.strip_prefix("session."));
                    Token::Variable(name.unwrap_or(&lower).to_owned())
                }
                None if word.starts_with(|c: char| c.is_ascii_digit()) => Token::Number(word),
                None => Token::Word(word.to_ascii_uppercase()),
            });
        } else if c == '<' && all.get(at + 1) == Some(&'>') {
            found.push(Token::NotEqual);
            at += 2;
        } else if "()<>=+*,?".contains(c) {
            found.push(Token::Sign(c));
            at += 1;
        } else {
            return None;
        }
    }
    Some(found)
}

struct Reader<'a> {
    tokens: Rc<[Token]>,
    at: usize,
    params: usize,
    scope: &'a dyn Scope,
}

/// Values of a comma-separated list; none: it is no list of expressions that are known here.
pub(crate) fn list(text: &str, scope: &dyn Scope) -> Option<Result<Vec<Value>, SqlError>> {
    let mut reader = Reader {
        tokens: tokens(text)?,
        at: 0,
        params: 0,
        scope,
    };
    let mut values = Vec::new();
    loop {
        match reader.or() {
            Ok(value) => values.push(value?),
            Err(error) => return Some(Err(error)),
        }
        if reader.is_word("AS") {
            reader.at += 2;
        }
        if reader.at >= reader.tokens.len() {
            return Some(Ok(values));
        }
        if !reader.takes(',') {
            return None;
        }
    }
}

/// Read or not understood, or an error of the server's.
type Read = Result<Option<Value>, SqlError>;

fn real(value: &Value) -> f64 {
    value.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

fn truth(value: bool) -> Value {
    Some(u8::from(value).to_string())
}

impl Reader<'_> {
    fn takes(&mut self, sign: char) -> bool {
        let is = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(is);
        is
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word)
    }

    fn or(&mut self) -> Read {
        let Some(mut left) = self.and()? else { return Ok(None) };
        while self.is_word("OR") {
            self.at += 1;
            let Some(right) = self.and()? else { return Ok(None) };
            left = truth(real(&left) != 0.0 || real(&right) != 0.0);
        }
        Ok(Some(left))
    }

    fn and(&mut self) -> Read {
        let Some(mut left) = self.compared()? else {
            return Ok(None);
        };
        while self.is_word("AND") {
            self.at += 1;
            let Some(right) = self.compared()? else { return Ok(None) };
            left = truth(real(&left) != 0.0 && real(&right) != 0.0);
        }
        Ok(Some(left))
    }

    fn compared(&mut self) -> Read {
        let Some(left) = self.sum()? else { return Ok(None) };
        let compare = |left: &Value, right: &Value| match (left, right) {
            (Some(a), Some(b)) if a.parse::<f64>().is_ok() && b.parse::<f64>().is_ok() => {
                real(left).partial_cmp(&real(right))
            }
            (Some(a), Some(b)) => Some(a.cmp(b)),
            _ => None,
        };
        let wanted: fn(std::cmp::Ordering) -> bool = match self.tokens.get(self.at) {
            Some(Token::Sign('<')) => std::cmp::Ordering::is_lt,
            Some(Token::Sign('>')) => std::cmp::Ordering::is_gt,
            Some(Token::Sign('=')) => std::cmp::Ordering::is_eq,
            Some(Token::NotEqual) => std::cmp::Ordering::is_ne,
            _ => return Ok(Some(left)),
        };
        self.at += 1;
        let Some(right) = self.sum()? else { return Ok(None) };
        Ok(Some(
            compare(&left, &right).map(|order| u8::from(wanted(order)).to_string()),
        ))
    }

    fn sum(&mut self) -> Read {
        let Some(mut left) = self.one()? else { return Ok(None) };
        loop {
            let times = match self.tokens.get(self.at) {
                Some(Token::Sign('+')) => false,
                Some(Token::Sign('*')) => true,
                _ => return Ok(Some(left)),
            };
            self.at += 1;
            let Some(right) = self.one()? else { return Ok(None) };
            let (a, b) = (real(&left), real(&right));
            let result = if times { a * b } else { a + b };
            let is_whole = [&left, &right]
                .iter()
                .all(|value| !value.as_deref().unwrap_or("").contains('.'));
            left = Some(if is_whole {
                format!("{result:.0}")
            } else {
                format!("{result:.6}")
            });
        }
    }

    fn one(&mut self) -> Read {
        let tokens = Rc::clone(&self.tokens);
        let token = tokens.get(self.at);
        self.at += 1;
        match token {
            Some(Token::Text(text) | Token::Number(text)) => Ok(Some(Some(text.clone()))),
            Some(Token::Variable(name)) => self.scope.variable(name).map(Some),
            Some(Token::Sign('?')) => {
                self.params += 1;
                Ok(Some(self.scope.param(self.params - 1)))
            }
            Some(Token::Sign('(')) => {
                let value = self.or()?;
                Ok(if self.takes(')') { value } else { None })
            }
            Some(Token::Word(word)) if self.takes('(') => self.call(word),
            Some(Token::Word(word)) => Ok(match word.as_str() {
                "NULL" => Some(None),
                "ON" | "OFF" | "TRUE" | "FALSE" => Some(Some(word.clone())),
                _ => None,
            }),
            _ => Ok(None),
        }
    }

    fn call(&mut self, name: &str) -> Read {
        let mut args = Vec::new();
        if !self.takes(')') {
            loop {
                let Some(value) = self.or()? else { return Ok(None) };
                args.push(value);
                if self.is_word("AS") {
                    // CAST(… AS CHAR)
                    self.at += 2;
                }
                if self.takes(')') {
                    break;
                }
                if !self.takes(',') {
                    return Ok(None);
                }
            }
        }
        let first = args.first().cloned().flatten();
        let digits = first
            .as_deref()
            .and_then(|text| text.parse::<usize>().ok())
            .unwrap_or(0);
        let set = |value: Option<&Value>| -> GtidSet {
            let text = value.cloned().flatten().unwrap_or_default();
            text.parse().unwrap_or_default()
        };
        Ok(Some(match name {
            "IF" => {
                let place = if real(&first) == 0.0 { 2 } else { 1 };
                args.get(place).cloned().flatten()
            }
            "COALESCE" => args.iter().flatten().next().cloned(),
            "CAST" => first,
            "GREATEST" => {
                let most = args.iter().map(real).fold(0.0, f64::max);
                Some(format!("{most:.0}"))
            }
            // Nothing keeps a statement that has begun from its end here, so both are the same moment.
            "NOW" | "SYSDATE" | "CURRENT_TIMESTAMP" => {
                let text = time_text(self.scope.micros());
                let cut = if digits == 0 { 19 } else { (20 + digits).min(text.len()) };
                Some(text[..cut].to_owned())
            }
            "UNIX_TIMESTAMP" => {
                let micros = match first {
                    None => Some(u128::from(self.scope.micros() / 1_000_000 * 1_000_000)),
                    Some(text) => time_micros(&text),
                };
                micros.map(|micros| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000))
            }
            "GTID_SUBTRACT" => Some(set(args.first()).subtract(&set(args.get(1))).to_string()),
            "GTID_SUBSET" => truth(set(args.get(1)).contains(&set(args.first()))),
            "CONCAT" => args
                .iter()
                .cloned()
                .collect::<Option<Vec<_>>>()
                .map(|parts| parts.concat()),
            "REPLACE" => {
                let text = |place: usize| args.get(place).cloned().flatten().unwrap_or_default();
                Some(text(0).replace(&text(1), &text(2)))
            }
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Scope for Fixed {
        fn variable(&self, name: &str) -> Result<Value, SqlError> {
            match name {
                "flag" => Ok(Some("1".to_owned())),
                _ => Err(SqlError::new(1193, "unknown")),
            }
        }

        fn micros(&self) -> u64 {
            1_795_949_783_976_711
        }

        fn param(&self, _: usize) -> Value {
            Some("p".to_owned())
        }
    }

    fn one(text: &str) -> Value {
        list(text, &Fixed).unwrap().unwrap().remove(0)
    }

    #[test]
    fn expressions_of_the_bootstrap_packet() {
        assert_eq!(
            one("UNIX_TIMESTAMP(SYSDATE(6)) + 5").as_deref(),
            Some("1795949788.976711")
        );
        let before = "UNIX_TIMESTAMP(SYSDATE(6)) < 1795949783.976712";
        assert_eq!(one(&format!("IF({before}, 'ON', 'EXPIRED')")).as_deref(), Some("ON"));
        let late = "UNIX_TIMESTAMP(SYSDATE(6)) < 1795949783.976711";
        assert_eq!(
            one(&format!("IF(@@GLOBAL.flag = 1 AND {late}, 'ON', 'EXPIRED')")).as_deref(),
            Some("EXPIRED")
        );
        assert_eq!(one("NOW(6)").as_deref(), Some("2026-11-29 10:56:23.976711"));
        assert_eq!(one("COALESCE(NULL, ?)").as_deref(), Some("p"));
        assert_eq!(one("1 OR 0").as_deref(), Some("1"));
        assert!(list("@@GLOBAL.none", &Fixed).unwrap().is_err());
        assert!(list("a.b", &Fixed).is_none());
    }
}
