//! Tokens over TLS: good, wrong, mangled, expired, used, for another host; and names that are taken.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::identity::new_key_and_request;
use clusterctl_proto::token::Token;
use clusterctl_proto::wire::agent::SignRequest;
use clusterctl_proto::wire::control as pb;

use crate::agent::{Agent, enroll};
use crate::coordinator::{Coordinator, eventually, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_buys_one_certificate() {
    let coordinator = Coordinator::new().await;
    let key = new_key_and_request().expect("key");
    let token = coordinator.token(1, 600, "").await;
    let reply = enroll(&token, "Node1", &key).await.expect("enrolled");
    assert_eq!(
        (reply.host.as_str(), reply.roles.as_slice()),
        ("node1", ["db".to_owned()].as_slice())
    );
    assert_eq!(reply.endpoints, coordinator.endpoints());

    // The answer was lost: the same key again.
    enroll(&token, "node1", &key)
        .await
        .expect("the same host with the same key");
    let other = new_key_and_request().expect("key");
    let used = enroll(&token, "node2", &other).await.expect_err("used");
    assert_eq!((used.code.as_str(), used.exit), ("token_used", ExitClass::Denied));
    assert!(used.hint.is_some_and(|hint| hint.contains("clusterctl token create")));

    let taken = coordinator.token(1, 600, "").await;
    let refused = enroll(&taken, "node1", &other).await.expect_err("taken");
    assert_eq!(
        (refused.code.as_str(), refused.exit),
        ("host_name_taken", ExitClass::Conflict)
    );
    assert!(
        refused
            .hint
            .is_some_and(|hint| hint.contains("clusterctl token create --host node1 --replace"))
    );
    enroll(&taken, "node3", &other).await.expect("the token was not spent");
    let bad = enroll(&coordinator.token(1, 600, "").await, "no such_name", &other)
        .await
        .expect_err("bad name");
    assert_eq!(bad.code, "bad_host_name");

    let hosts = coordinator
        .admin()
        .await
        .list_hosts(pb::ListHostsRequest {})
        .await
        .expect("hosts")
        .into_inner()
        .hosts;
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["node1", "node3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_enrolled_again_as_itself_by_a_token_that_says_so() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let mut before = agent.client(&coordinator).await.expect("connected");
    let mut admin = coordinator.admin().await;
    let request = |host: &str, uses: u32| pb::CreateTokenRequest {
        host: host.to_owned(),
        uses,
        replace: true,
        ..Default::default()
    };
    for (host, uses, code) in [
        ("", 1, "replaces_no_host"),
        ("node1", 2, "too_many_uses"),
        ("node9", 1, "host_not_enrolled"),
    ] {
        assert_eq!(refusal(admin.create_token(request(host, uses)).await).code, code);
    }
    let made = admin
        .create_token(request("node1", 1))
        .await
        .expect("token")
        .into_inner();
    let token: Token = made.token.parse().expect("a token");
    let key = new_key_and_request().expect("key");
    let other = enroll(&token, "node2", &key).await.expect_err("it is for node1");
    assert_eq!(other.code, "token_for_other_host");
    let reply = enroll(&token, "node1", &key).await.expect("enrolled again");
    assert_eq!(
        (reply.roles.as_slice(), reply.member),
        (["db".to_owned()].as_slice(), false)
    );
    enroll(&token, "node1", &key).await.expect("its answer was lost");
    let third = new_key_and_request().expect("key");
    assert_eq!(
        enroll(&token, "node1", &third).await.expect_err("used").code,
        "token_used"
    );

    // The certificate from before is no longer accepted, on the connection from before.
    let refused = refusal(before.renew_certificate(SignRequest { csr_der: Vec::new() }).await);
    assert_eq!(refused.code, "host_replaced");
    let listed = admin
        .list_tokens(pb::ListTokensRequest {})
        .await
        .expect("tokens")
        .into_inner()
        .tokens;
    let listed = listed.iter().find(|row| row.id == token.id).expect("listed");
    assert!(listed.replace && listed.host == "node1" && listed.state == "used");
    let events = admin
        .list_events(pb::ListEventsRequest::default())
        .await
        .expect("events");
    let mut events = events.into_inner();
    let mut lines = Vec::new();
    while let Some(event) = events.message().await.expect("event") {
        lines.push(format!("{} {}: {}", event.who, event.kind, event.text));
    }
    let has = |start: &str, holds: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(holds));
    assert!(
        has("operator/admin token_created", "which replaces the key of that host")
            && has("agent/node1 host_replaced", "by token"),
        "{lines:?}"
    );
}

/// A certificate of ten seconds: it is renewed in time, its stream goes on, and one that was not renewed is enrolled again.
#[tokio::test(flavor = "multi_thread")]
async fn lives_of_seconds_work_and_end() {
    let coordinator = Coordinator::with_settings("[certificates]\nagent_life = \"10s\"\n").await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let facts = agent.credentials().facts().clone();
    let mut client = agent.client(&coordinator).await.expect("connected");
    let now = || i64::try_from(clusterctl_proto::clock::now_ms() / 1000).expect("clock");
    assert!((5..=10).contains(&(facts.not_after - now())), "{facts:?}");
    assert!((1..=8).contains(&(facts.renew_at() - now())), "{facts:?}");
    eventually("the certificate expires", || async {
        (now() > facts.not_after).then_some(())
    })
    .await;
    let refused = refusal(client.renew_certificate(SignRequest { csr_der: Vec::new() }).await);
    assert_eq!(refused.code, "certificate_expired");
    let hint = refused.hint.expect("a hint");
    assert!(
        hint.contains("clusterctl token create --host node1 --replace"),
        "{hint}"
    );
    let again = coordinator.token(1, 600, "node1").await;
    enroll(&again, "node1", &agent.key())
        .await
        .expect("with its own key any token of its name will do");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_refused_each_in_its_way() {
    let coordinator = Coordinator::new().await;
    let key = new_key_and_request().expect("key");
    let good = coordinator.token(5, 600, "node1").await;
    let code = async |token: &Token, host: &str| {
        enroll(token, host, &key)
            .await
            .err()
            .map(|failure| failure.code)
            .unwrap_or_default()
    };

    assert_eq!(code(&good, "node2").await, "token_for_other_host");
    let unknown = Token {
        id: "000000000000".to_owned(),
        ..good.clone()
    };
    assert_eq!(code(&unknown, "node1").await, "token_wrong");
    let pinned = Token {
        ca_sha256: "0".repeat(64),
        ..good.clone()
    };
    let failure = enroll(&pinned, "node1", &key).await.expect_err("another CA");
    assert_eq!(failure.exit, ExitClass::Denied, "{failure:?}");
    assert!(
        good.to_string().replace("cct1.", "cct1.A").parse::<Token>().is_err(),
        "mangled"
    );

    let expired = coordinator.token(1, 1, "").await;
    eventually("the token expires", || async {
        (code(&expired, "").await == "token_expired").then_some(())
    })
    .await;

    let wrong = Token {
        secret: Token::generate(vec![], String::new()).expect("token").secret,
        ..good.clone()
    };
    for _ in 0..5 {
        assert_eq!(code(&wrong, "node1").await, "token_wrong");
    }
    assert_eq!(code(&good, "node1").await, "token_locked", "even with the right secret");
    let mut admin = coordinator.admin().await;
    let tokens = admin
        .list_tokens(pb::ListTokensRequest {})
        .await
        .expect("tokens")
        .into_inner()
        .tokens;
    let states: Vec<&str> = tokens.iter().map(|token| token.state.as_str()).collect();
    assert_eq!(states, ["locked", "expired"]);

    let revoked = coordinator.token(1, 600, "").await;
    let revoke = pb::RevokeTokenRequest { id: revoked.id.clone() };
    assert!(
        !admin
            .revoke_token(revoke.clone())
            .await
            .expect("revoked")
            .into_inner()
            .already
    );
    assert!(admin.revoke_token(revoke).await.expect("again").into_inner().already);
    assert_eq!(code(&revoked, "node1").await, "token_revoked");
    // Nothing of it was logged.
    assert!(!coordinator.log().contains(&good.secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_signed_renewed_and_end_with_the_host() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let mut client = agent.client(&coordinator).await.expect("connected");
    let mysqld = new_key_and_request().expect("key");
    let request = SignRequest {
        csr_der: mysqld.csr_der.clone(),
    };
    let signed = client
        .sign_server_certificate(request)
        .await
        .expect("signed")
        .into_inner();
    assert!(signed.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    let refused = refusal(
        client
            .renew_certificate(SignRequest {
                csr_der: mysqld.csr_der,
            })
            .await,
    );
    assert_eq!(refused.code, "other_key");
    let refused = refusal(
        client
            .sign_server_certificate(SignRequest {
                csr_der: b"nonsense".to_vec(),
            })
            .await,
    );
    assert_eq!(refused.code, "bad_request");

    let running = agent.start(&coordinator);
    let mut admin = coordinator.admin().await;
    eventually("the agent is connected", || async {
        let hosts = coordinator
            .admin()
            .await
            .list_hosts(pb::ListHostsRequest {})
            .await
            .ok()?
            .into_inner()
            .hosts;
        hosts.iter().any(|host| host.agent == "connected").then_some(())
    })
    .await;
    let remove = pb::RemoveHostRequest {
        name: "node1".to_owned(),
    };
    assert!(
        !admin
            .remove_host(remove.clone())
            .await
            .expect("removed")
            .into_inner()
            .already
    );
    assert!(admin.remove_host(remove).await.expect("again").into_inner().already);
    let refused = refusal(client.renew_certificate(SignRequest { csr_der: Vec::new() }).await);
    assert_eq!(
        (refused.code.as_str(), refused.exit),
        ("host_not_enrolled", ExitClass::Denied)
    );
    drop(running);
}
