//! mysqld has a key that was born here and a certificate of our CA for this host's names.
//!
//! The key is kept for renewals: key and certificate then always fit, wherever a crash comes. A mysqld that runs with these files
//! loads the new ones without a restart.

use std::net::IpAddr;
use std::path::Path;

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;
use clusterctl_proto::identity::{new_key_and_request, request_for_key};
use clusterctl_proto::ids::HostName;

use super::{Context, Done};
use crate::host::Access;
use crate::host::certificate::{Expected, misfit};
use crate::mysql::{Db, MysqlError};

/// Looks, asks for a signature if it must, looks again.
pub async fn ensure(host: &HostName, addresses: &[IpAddr], cx: &Context) -> Result<Done, Failure> {
    let dir = &cx.config.mysql.tls_dir;
    let (key_path, certificate_path, ca_path) = (dir.join("server.key"), dir.join("server.pem"), dir.join("ca.pem"));
    let our_ca = read(cx, &cx.config.identity_dir().join("ca.pem"))
        .await?
        .ok_or_else(|| {
            Failure::new("no_credentials", "this host's agent has no CA certificate")
                .hint("clusterctl-agent enroll --token-file -")
        })?;
    let (key, certificate, ca) = (
        read(cx, &key_path).await?,
        read(cx, &certificate_path).await?,
        read(cx, &ca_path).await?,
    );
    let judge = |key: &str, certificate: &str| {
        let expected = Expected {
            host: host.as_str(),
            addresses,
            ca_pem: &our_ca,
            key_pem: key,
            now: i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX),
        };
        misfit(certificate, &expected)
    };
    let reason = match (&key, &certificate) {
        (Some(key), Some(certificate)) => judge(key, certificate),
        _ => Some("there was none".to_owned()),
    };
    let access = |mode| Access::of(mode, "root", &cx.config.mysql.os_user);
    cx.host.make_dir(dir, &access(0o750)).await?;
    let Some(reason) = reason else {
        if ca.as_deref() == Some(our_ca.as_str()) {
            return Ok(Done::Unchanged);
        }
        cx.host.write(&ca_path, our_ca.as_bytes(), &access(0o640)).await?;
        reload(cx, &certificate_path).await?;
        return Ok(Done::changed("renewed the CA's certificate of mysqld"));
    };
    let kept = key.and_then(|key| request_for_key(&key).ok().map(|csr| (key, csr)));
    let (key_pem, csr_der) = match kept {
        Some(pair) => pair,
        None => {
            let made = new_key_and_request()?;
            cx.host
                .write(&key_path, made.key_pem.as_bytes(), &access(0o640))
                .await?;
            (made.key_pem, made.csr_der)
        }
    };
    let signed = cx.signer.sign_server(csr_der).await?;
    if let Some(why) = judge(&key_pem, &signed) {
        return Err(Failure::new(
            "bad_server_certificate",
            "the coordinator answered a certificate that does not fit",
        )
        .fact(format!("wanted for {host}, {addresses:?}"))
        .fact(why));
    }
    cx.host.write(&ca_path, our_ca.as_bytes(), &access(0o640)).await?;
    cx.host
        .write(&certificate_path, signed.as_bytes(), &access(0o640))
        .await?;
    reload(cx, &certificate_path).await?;
    Ok(Done::changed(format!("new certificate for mysqld: {reason}")))
}

async fn read(cx: &Context, path: &Path) -> Result<Option<String>, Failure> {
    Ok(cx
        .host
        .read(path)
        .await?
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A mysqld that runs with this certificate takes the new one.
async fn reload(cx: &Context, certificate: &Path) -> Result<(), Failure> {
    let mut db = match Db::local(&*cx.servers, &cx.config.mysql).await {
        Ok(db) => db,
        // it takes the new files when it starts
        Err(MysqlError::NotRunning { .. } | MysqlError::Connect { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let used = db.value("SELECT @@GLOBAL.ssl_cert").await?;
    if used.as_deref() == certificate.to_str() {
        db.run("ALTER INSTANCE RELOAD TLS").await?;
    }
    db.close().await;
    Ok(())
}

#[cfg(test)]
mod tests;
