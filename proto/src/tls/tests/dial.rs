//! Endpoints, lost connections, renewals.

use super::*;

#[tokio::test]
async fn each_learns_who_the_other_is() -> Outcome {
    let ca = Ca::new()?;
    let endpoint = coordinator(&ca).await?;
    let channel = connect(std::slice::from_ref(&endpoint), ca.agent()?).await?;
    assert_eq!(ask(channel.clone(), "").await?, "clusterctl://g1/agent/node1");
    let refused = ask(channel, "refuse").await.err().ok_or("no failure")?;
    assert_eq!(
        (refused.code.as_str(), refused.exit, refused.facts[0].len()),
        ("because", ExitClass::Refused, 20_000)
    );
    Ok(())
}

#[tokio::test]
async fn the_next_endpoint_is_tried_and_every_reason_told() -> Outcome {
    let ca = Ca::new()?;
    let closed = TcpListener::bind(ANY).await?.local_addr()?.to_string();
    let silent = TcpListener::bind(ANY).await?;
    let silent_endpoint = silent.local_addr()?.to_string();
    let options = ConnectOptions {
        attempt: Duration::from_millis(400),
        ..Default::default()
    };

    let endpoints = [closed.clone(), silent_endpoint.clone(), coordinator(&ca).await?];
    let channel = connect_with(&endpoints, ca.agent()?, options).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");

    let failure = connect_with(&endpoints[..2], ca.agent()?, options)
        .await
        .err()
        .ok_or("connected")?;
    assert_eq!((failure.exit, failure.retry), (ExitClass::Unreachable, true));
    assert!(
        failure.facts[0].starts_with(&format!("{closed}: connection refused")),
        "{failure:?}"
    );
    assert!(
        failure.facts[1].starts_with(&format!("{silent_endpoint}: no answer in time")),
        "{failure:?}"
    );

    let failure = connect(std::slice::from_ref(&closed), ca.agent()?)
        .await
        .err()
        .ok_or("connected")?;
    assert!(
        failure.message.contains(&closed) && failure.message.contains("refused"),
        "{failure:?}"
    );
    let failure = connect(&[], ca.agent()?).await.err().ok_or("connected")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("no_endpoints", ExitClass::Usage)
    );
    let failure = connect(&["no port".to_owned()], ca.agent()?)
        .await
        .err()
        .ok_or("connected")?;
    assert_eq!(failure.exit, ExitClass::Unreachable);
    Ok(())
}

#[tokio::test]
async fn what_is_no_tls_server_is_called_so() -> Outcome {
    let ca = Ca::new()?;
    let listener = TcpListener::bind(ANY).await?;
    let endpoint = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut tcp, b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
        }
    });
    let failure = refusal(endpoint, ca.agent()?).await?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn a_renewal_reaches_the_next_connection_on_both_sides() -> Outcome {
    let ca = Ca::new()?;
    let server = SharedCredentials::new(ca.coordinator()?);
    let endpoints = [serve(server_config(&server)?, ANY).await?];
    let client = SharedCredentials::new(ca.agent()?);
    let serial = |shared: &SharedCredentials| shared.current().facts().serial.clone();

    assert!(client.renew(ca.credentials("clusterctl://g1/agent/node2")?).is_err());
    let before = (serial(&client), serial(&server));
    client.renew(ca.agent()?)?;
    server.renew(ca.coordinator()?)?;
    assert_ne!((serial(&client), serial(&server)), before);
    let channel = connect(&endpoints, &client).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");
    Ok(())
}

#[tokio::test]
async fn a_channel_connects_again_and_tells_why_it_cannot() -> Outcome {
    let ca = Ca::new()?;
    let config = server_config(ca.coordinator()?)?;
    // A runtime of its own: dropped, it closes what a killed coordinator would.
    let first = tokio::runtime::Runtime::new()?;
    let serving = serve(config.clone(), ANY);
    let endpoint = first
        .spawn(async { serving.await.map_err(|error| error.to_string()) })
        .await??;
    let channel = connect(std::slice::from_ref(&endpoint), ca.agent()?).await?;
    assert_eq!(ask(channel.clone(), "").await?, "clusterctl://g1/agent/node1");
    first.shutdown_background();

    // The first call may still find the old connection closing.
    let mut failure = ask(channel.clone(), "").await.err().ok_or("still answered")?;
    for _ in 0..50 {
        if failure.message.contains("connection refused") {
            break;
        }
        assert_eq!(failure.exit, ExitClass::Unreachable, "{failure:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        failure = ask(channel.clone(), "").await.err().ok_or("still answered")?;
    }
    assert!(failure.message.contains(&endpoint), "{failure:?}");
    assert_eq!((failure.exit, failure.retry), (ExitClass::Unreachable, true));

    serve(config, &endpoint).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");
    Ok(())
}
