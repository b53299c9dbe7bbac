//! Asks for a password: twice on the terminal without echo, or one line of stdin.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::password::Secret;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// Longest password that MySQL's `caching_sha2_password` is documented to take.
const LONGEST: usize = 255;

/// Puts the terminal back, whatever happens.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> std::io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut now = before.clone();
        // Signals off, too: Ctrl-C must not leave the terminal without echo, so it is read as a character.
        now.local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(terminal, OptionalActions::Flush, &now)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks on the controlling terminal, twice. None when interrupted.
pub fn password_twice(what: &str) -> Result<Option<Secret>, Failure> {
    let unusable = |err: std::io::Error| {
        Failure::new("no_terminal", format!("cannot ask on the terminal: {err}"))
            .hint("give the password on stdin with --password-stdin, or have one made with --generate")
    };
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(unusable)?;
    for _ in 0..3 {
        let Some(first) = ask_once(&terminal, &format!("password for {what}: ")).map_err(unusable)? else {
            return Ok(None);
        };
        if let Err(failure) = acceptable(&first) {
            say(&terminal, &format!("{failure}\n"));
            continue;
        }
        let Some(second) = ask_once(&terminal, "the same again: ").map_err(unusable)? else {
            return Ok(None);
        };
        if first == second {
            return Ok(Some(first.into()));
        }
        say(&terminal, "they differ\n");
    }
    Err(Failure::new("no_password", "no password was given in three tries").exit(ExitClass::Usage))
}

/// One line of stdin, without its end.
pub fn password_from_stdin() -> Result<Secret, Failure> {
    read_password(&mut std::io::stdin().lock()).map(Secret::from)
}

fn read_password(input: &mut impl BufRead) -> Result<String, Failure> {
    let unreadable = |why: String| {
        Failure::new("no_password", format!("cannot read a password from stdin: {why}")).exit(ExitClass::Usage)
    };
    let mut bytes = Vec::new();
    // A little more than allowed, so that what is too long is noticed and a wrong file is not read whole.
    input
        .take(4096)
        .read_to_end(&mut bytes)
        .map_err(|err| unreadable(err.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    acceptable(line)?;
    Ok(line.to_owned())
}

fn acceptable(password: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Err(Failure::new("bad_password", why).exit(ExitClass::Usage));
    if password.is_empty() {
        return wrong("the password is empty");
    }
    if password.len() > LONGEST {
        return wrong("the password is longer than 255 bytes");
    }
    if password.chars().any(char::is_control) {
        return wrong("the password holds a control character or more than one line");
    }
    Ok(())
}

fn say(mut terminal: &File, text: &str) {
    let _ = terminal.write_all(text.as_bytes());
}

fn ask_once(terminal: &File, prompt: &str) -> std::io::Result<Option<String>> {
    let _quiet = Quiet::new(terminal)?;
    say(terminal, prompt);
    let line = read_keys(&mut std::iter::from_fn(|| next_key(terminal)));
    say(terminal, "\n");
    line
}

/// One byte at a time: what is typed ahead stays for whoever asks next.
fn next_key(mut terminal: &File) -> Option<std::io::Result<u8>> {
    let mut byte = [0];
    loop {
        match terminal.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => return Some(Ok(byte[0])),
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => return Some(Err(err)),
        }
    }
}

/// Reads up to Enter. None on Ctrl-C, or on Ctrl-D where nothing was typed.
fn read_keys(keys: &mut impl Iterator<Item = std::io::Result<u8>>) -> std::io::Result<Option<String>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    const BACKSPACE: u8 = 8;
    const DELETE: u8 = 127;
    let mut typed: Vec<u8> = Vec::new();
    for key in keys {
        match key? {
            b'\n' | b'\r' => return Ok(Some(String::from_utf8_lossy(&typed).into_owned())),
            CTRL_C => return Ok(None),
            CTRL_D if typed.is_empty() => return Ok(None),
            CTRL_U => typed.clear(),
            BACKSPACE | DELETE => {
                // A whole character: its continuation bytes and its first.
                while typed.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
            }
            byte if typed.len() <= LONGEST => typed.push(byte),
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Option<String> {
        read_keys(&mut bytes.iter().map(|byte| Ok(*byte))).unwrap()
    }

    #[test]
    fn keys_are_edited_by_whole_characters() {
        assert_eq!(keys(b"secret\r").as_deref(), Some("secret"));
        assert_eq!(keys("aä\u{7f}b\n".as_bytes()).as_deref(), Some("ab"));
        assert_eq!(keys(b"wrong\x15right\n").as_deref(), Some("right"));
        assert_eq!(keys(b"abc\x03\n"), None);
        assert_eq!(keys(b"\x04"), None);
        assert_eq!(keys(b"\x7f\n").as_deref(), Some(""));
    }

    #[test]
    fn stdin_gives_one_line() {
        assert_eq!(read_password(&mut &b"s3cret pass\n"[..]).unwrap(), "s3cret pass");
        assert_eq!(read_password(&mut &b"s3cret"[..]).unwrap(), "s3cret");
        for bad in [&b""[..], b"\n", b"two\nlines\n", b"\xff\n", &[b'x'; 300]] {
            assert_eq!(read_password(&mut &*bad).unwrap_err().exit, ExitClass::Usage);
        }
    }
}
