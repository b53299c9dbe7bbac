//! SHA-crypt with SHA-256, by Ulrich Drepper's public description (2007), for any length of salt.
//!
//! crypt(3) cuts the salt to 16 bytes; MySQL takes 20. The rest is the same, so the public test vectors hold.

use ring::digest::{Context, Digest, SHA256, SHA256_OUTPUT_LEN};

/// Characters of the result.
pub(super) const LENGTH: usize = 43;

/// The hash alone, in crypt's base 64.
pub(super) fn sha256(password: &[u8], salt: &[u8], rounds: u32) -> String {
    let inner = digest(|context| {
        context.update(password);
        context.update(salt);
        context.update(password);
    });
    let mut sum = digest(|context| {
        context.update(password);
        context.update(salt);
        repeat(context, inner.as_ref(), password.len());
        // One piece for each bit of the length, from the lowest.
        let mut bits = password.len();
        while bits > 0 {
            context.update(if bits & 1 == 1 { inner.as_ref() } else { password });
            bits >>= 1;
        }
    });

    let of_password = digest(|context| (0..password.len()).for_each(|_| context.update(password)));
    let times = 16 + usize::from(sum.as_ref()[0]);
    let of_salt = digest(|context| (0..times).for_each(|_| context.update(salt)));
    let stretch =
        |from: &Digest, length: usize| -> Vec<u8> { from.as_ref().iter().copied().cycle().take(length).collect() };
    let (p, s) = (stretch(&of_password, password.len()), stretch(&of_salt, salt.len()));

    for round in 0..rounds {
        sum = digest(|context| {
            let odd = round % 2 == 1;
            context.update(if odd { &p } else { sum.as_ref() });
            if round % 3 != 0 {
                context.update(&s);
            }
            if round % 7 != 0 {
                context.update(&p);
            }
            context.update(if odd { sum.as_ref() } else { &p });
        });
    }
    encode(sum.as_ref())
}

fn digest(fill: impl FnOnce(&mut Context)) -> Digest {
    let mut context = Context::new(&SHA256);
    fill(&mut context);
    context.finish()
}

/// `length` bytes of `piece` again and again.
fn repeat(context: &mut Context, piece: &[u8], length: usize) {
    let mut left = length;
    while left > 0 {
        let now = left.min(SHA256_OUTPUT_LEN).min(piece.len());
        context.update(&piece[..now]);
        left -= now;
    }
}

/// crypt's own alphabet, order of bytes and order of bits.
fn encode(sum: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(LENGTH);
    let mut put = |value: u32, characters: u32| {
        for place in 0..characters {
            text.push(char::from(DIGITS[(value >> (6 * place) & 0x3f) as usize]));
        }
    };
    let byte = |index: usize| u32::from(sum[index]);
    // Three bytes, ten apart; each group begins where the group before had its last.
    let (mut a, mut b, mut c) = (0, 10, 20);
    for _ in 0..10 {
        put(byte(a) << 16 | byte(b) << 8 | byte(c), 4);
        (a, b, c) = (c + 1, a + 1, b + 1);
    }
    put(byte(31) << 8 | byte(30), 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first three are Drepper's, the others were made with glibc's crypt(3).
    #[test]
    fn public_test_vectors() {
        let long = "ünï-".repeat(20);
        let hundred = "p".repeat(100);
        for (password, salt, rounds, hash) in [
            (
                "Hello world!",
                "saltstring",
                5000,
                "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            ),
            (
                "Hello world!",
                "saltstringsaltst",
                10000,
                "3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
            ),
            (
                "we have a short salt string but not a short password",
                "short",
                77777,
                "JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/",
            ),
            (
                "",
                "abcdefghijklmnop",
                5000,
                "p99E2fxZB/BTl9j.a2VRY5z71zEP761isnVBuiGlzV3",
            ),
            (
                hundred.as_str(),
                "x",
                5000,
                "Y6rweeR6Ln7pdbewkirJRtwRb8uAMHNn0Eo9iqwlCuC",
            ),
            (
                long.as_str(),
                "0123456789abcdef",
                5000,
                "nLK2rWj3LrN596GIyMbQG/x4Nm3MKcmArfQI4PTDp13",
            ),
        ] {
            assert_eq!(sha256(password.as_bytes(), salt.as_bytes(), rounds), hash, "{password}");
        }
    }
}
