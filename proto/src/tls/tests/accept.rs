//! Who is accepted, and what those who are not are told.

use super::*;

#[tokio::test]
async fn a_coordinator_of_a_foreign_ca_is_refused() -> Outcome {
    let (ours, foreign) = (Ca::new()?, Ca::new()?);
    let failure = refusal(coordinator(&foreign).await?, ours.agent()?).await?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("foreign_ca", ExitClass::Denied),
        "{failure:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_of_a_foreign_ca_is_told_so() -> Outcome {
    let (ours, foreign) = (Ca::new()?, Ca::new()?);
    // It trusts our CA, but its own certificate is of another.
    let stranger = foreign.agent()?;
    let tls = ClientTls::new(ours.agent()?.showing(Arc::unwrap_or_clone(stranger.certified)))?;
    let endpoints = [coordinator(&ours).await?];
    let failure = client::channel(&endpoints, tls, ConnectOptions::default())
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("certificate_refused", ExitClass::Denied),
        "{failure:?}"
    );
    assert!(failure.hint.is_some_and(|hint| hint.contains("journalctl")));
    Ok(())
}

#[tokio::test]
async fn clients_without_a_name_of_this_group_are_refused() -> Outcome {
    let ca = Ca::new()?;
    let endpoint = coordinator(&ca).await?;
    for uri in [
        None,
        Some("clusterctl://g2/agent/node1"),
        Some("clusterctl://g1/operator/x?role=root"),
    ] {
        let (certificate, key) = ca.sign(uri, |_| {})?;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider())?;
        // As mysqld's key would be misused: the certificate is shown by a client that is otherwise ours.
        let credentials = ca.agent()?.showing(certified);
        let failure = refusal(endpoint.clone(), credentials).await?;
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("certificate_refused", ExitClass::Denied),
            "{uri:?} {failure:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn only_a_coordinator_of_our_group_may_be_the_server() -> Outcome {
    let ca = Ca::new()?;
    for (uri, code) in [
        (Some("clusterctl://g1/agent/node1"), "not_a_coordinator"),
        (Some("clusterctl://g1/operator/alice?role=admin"), "not_a_coordinator"),
        (Some("clusterctl://g2/coordinator/1"), "foreign_group"),
        // mysqld's
        (None, "not_a_coordinator"),
    ] {
        let failure = refusal(other_server(&ca, uri, |_| {}).await?, ca.agent()?).await?;
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            (code, ExitClass::Denied),
            "{uri:?} {failure:?}"
        );
    }
    let ours = Some("clusterctl://g1/coordinator/1");
    let client_only =
        |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let failure = refusal(other_server(&ca, ours, client_only).await?, ca.agent()?).await?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    let expired = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let failure = refusal(other_server(&ca, ours, expired).await?, ca.agent()?).await?;
    assert_eq!(failure.code, "certificate_expired", "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn an_expired_client_is_told_so() -> Outcome {
    let ca = Ca::new()?;
    let expired = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let (certificate, key) = ca.sign(Some("clusterctl://g1/agent/node1"), expired)?;
    let credentials = Credentials::from_pem(&ca.pem, &certificate, &key)?;
    let failure = refusal(coordinator(&ca).await?, credentials).await?;
    assert_eq!(failure.code, "certificate_refused");
    assert!(failure.message.contains("expired"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn a_pin_accepts_its_ca_only() -> Outcome {
    let (ca, foreign) = (Ca::new()?, Ca::new()?);
    let endpoints = [coordinator(&ca).await?];
    let (channel, pem) = pinned_connect(&endpoints, &fingerprint(&ca.der)).await?;
    assert_eq!(pem.replace('\r', ""), ca.pem.replace('\r', ""));
    assert_eq!(ask(channel, "").await?, "nobody");

    let failure = pinned_connect(&endpoints, &fingerprint(&foreign.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("ca_pin_mismatch", ExitClass::Denied),
        "{failure:?}"
    );
    // The right CA beside a leaf that it did not sign.
    let (certificate, key) = foreign.sign(Some("clusterctl://g1/coordinator/1"), |_| {})?;
    let chain = vec![
        CertificateDer::from_pem_slice(certificate.as_bytes())?,
        CertificateDer::from(ca.der.clone()),
    ];
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    let endpoints = [serve(Arc::new(config), ANY).await?];
    let failure = pinned_connect(&endpoints, &fingerprint(&ca.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(failure.exit, ExitClass::Denied, "{failure:?}");
    // An agent's certificate of the right CA.
    let endpoints = [other_server(&ca, Some("clusterctl://g1/agent/node1"), |_| {}).await?];
    let failure = pinned_connect(&endpoints, &fingerprint(&ca.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    Ok(())
}

#[test]
fn files_that_do_not_fit_together_are_named() -> Outcome {
    let (ca, foreign) = (Ca::new()?, Ca::new()?);
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    let failure = || Credentials::load(folder.path()).err().ok_or("loaded");

    assert!(failure()?.message.contains("ca.pem"));
    assert_eq!(
        (failure()?.code.as_str(), failure()?.exit),
        ("no_credentials", ExitClass::Denied)
    );
    let (certificate, key) = ca.sign(Some("clusterctl://g1/agent/node1"), |_| {})?;
    let (other_certificate, other_key) = foreign.sign(Some("clusterctl://g1/agent/node1"), |_| {})?;
    write("ca.pem", &ca.pem)?;
    write("cert.pem", &certificate)?;
    assert!(failure()?.message.contains("key.pem"));
    write("key.pem", &other_key)?;
    let wrong_key = failure()?;
    assert!(
        wrong_key
            .message
            .contains("key.pem: it is not the key of the certificate"),
        "{wrong_key:?}"
    );
    write("key.pem", &key)?;
    let loaded = Credentials::load(folder.path())?;
    assert_eq!(loaded.peer().to_string(), "clusterctl://g1/agent/node1");
    assert_eq!(fingerprint(loaded.ca_der()), fingerprint(&ca.der));
    assert!(!format!("{loaded:?}").contains("BEGIN"));
    write("cert.pem", &other_certificate)?;
    assert!(failure()?.message.contains("cert.pem: it is not signed by the CA"));
    write("cert.pem", "nonsense")?;
    assert!(failure()?.message.contains("cert.pem: there is no certificate in it"));
    let (mysqld, _) = ca.sign(None, |_| {})?;
    write("cert.pem", &mysqld)?;
    assert!(failure()?.message.contains("names no clusterctl program"));
    assert!(server_config(ca.agent()?).is_err());
    Ok(())
}
