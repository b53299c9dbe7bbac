//! A random password lives on this host under a name; its hash is answered for the leader's memory (safety rule 9).

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::password;

use super::{Context, Done};
use crate::host::Access;

/// Looks, makes it if it is not there, answers the hash. The hash is kept, too: asked again, the answer is the same, and an
/// account that has it is left as it is.
pub async fn ensure(name: &str, cx: &Context) -> Result<Done, Failure> {
    check_name(name)?;
    let (secret_path, hash_path) = (
        cx.config.secret_path(name),
        cx.config.secret_path(&format!("{name}.hash")),
    );
    cx.host
        .make_dir(&cx.config.secret_path(""), &Access::Own(0o700))
        .await?;
    let read = |bytes: Option<Vec<u8>>| {
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|t| !t.is_empty())
    };
    let kept = read(cx.host.read(&secret_path).await?);
    let done = if kept.is_some() {
        Done::Unchanged
    } else {
        Done::changed(format!("made the password {name}"))
    };
    let secret = match kept {
        Some(secret) => secret,
        None => {
            let made = password::generate()?;
            cx.host
                .write(&secret_path, made.expose().as_bytes(), &Access::Own(0o600))
                .await?;
            made.expose().to_owned()
        }
    };
    let kept_hash = read(cx.host.read(&hash_path).await?).filter(|hash| password::verify(&secret, hash.as_bytes()));
    let hash = match kept_hash {
        Some(hash) => hash,
        None => {
            let hash = password::caching_sha2_hash(&secret, &password::random_salt()?);
            cx.host.write(&hash_path, hash.as_bytes(), &Access::Own(0o600)).await?;
            hash
        }
    };
    cx.give_secret(name, hash);
    Ok(done)
}

/// A name becomes a file's name: it must not lead out of the folder, nor clash with a hash's file.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let plain = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        && !name.starts_with('.')
        && !name.ends_with(".hash");
    if plain {
        return Ok(());
    }
    Err(Failure::new("bad_secret_name", format!("{name:?} cannot be the name of a secret")).exit(ExitClass::Usage))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::{drop_secret, testing};

    #[tokio::test]
    async fn made_once_and_the_same_hash_each_time() {
        let fake = Arc::new(FakeHost::new());
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert!(matches!(
            ensure("bootstrap:router1", &cx).await.unwrap(),
            Done::Changed(_)
        ));
        let path = cx.config.secret_path("bootstrap:router1");
        let secret = fake.text(path.to_str().unwrap()).unwrap();
        assert_eq!(fake.access(path.to_str().unwrap()), Some(Access::Own(0o600)));
        let hash = cx.found.lock().unwrap().secrets["bootstrap:router1"].clone();
        assert!(password::verify(&secret, hash.as_bytes()) && !hash.contains(&secret));
        assert_eq!(ensure("bootstrap:router1", &cx).await.unwrap(), Done::Unchanged);
        assert_eq!(cx.found.lock().unwrap().secrets["bootstrap:router1"], hash);
        assert!(matches!(
            drop_secret::ensure("bootstrap:router1", &cx).await.unwrap(),
            Done::Changed(_)
        ));
        assert_eq!(fake.text(path.to_str().unwrap()), None);
        assert_eq!(
            drop_secret::ensure("bootstrap:router1", &cx).await.unwrap(),
            Done::Unchanged
        );
    }

    #[tokio::test]
    async fn names_that_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(Arc::new(FakeHost::new()), dir.path());
        for name in ["", "../ledger.json", "a/b", ".x", "a.hash", "a b", "a\0"] {
            assert_eq!(ensure(name, &cx).await.unwrap_err().code, "bad_secret_name", "{name:?}");
        }
    }
}
