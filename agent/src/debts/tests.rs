//! What is taken back by a note, and what is left as it is.

use std::sync::Arc;

use super::start::{self, is_owed, settle, settle_of_order};
use super::*;
use crate::host::fake::FakeHost;
use crate::mysql::Db;
use crate::mysql::fake::{FakeMysqld, Server};
use crate::steps::testing;

/// An agent was killed while a bootstrap's START let clients in.
struct Scene {
    cx: Context,
    mysqld: FakeMysqld,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self::before();
        start::note(&scene.cx, &mut scene.db().await, true).await.unwrap();
        scene
            .mysqld
            .with(|server| (server.offline_mode, server.flag) = (false, true));
        scene
    }

    fn before() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mysqld = FakeMysqld::start();
        let (mut cx, _) = testing::context(Arc::new(FakeHost::new()), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets.clone_from(&mysqld.config().sockets);
        cx.config = Arc::new(config);
        mysqld.with(|server| server.offline_mode = true);
        Self { cx, mysqld, _dir: dir }
    }

    async fn db(&self) -> Db {
        Db::local(&*self.cx.servers, &self.cx.config.mysql).await.unwrap()
    }

    /// Whether clients are shut out and the flag is ON once that is settled, with this changed before.
    async fn after(&self, change: impl FnOnce(&mut Server)) -> (bool, bool) {
        self.mysqld.with(change);
        settle(place(&self.cx), &mut self.db().await).await.unwrap();
        assert!(!is_owed(place(&self.cx)).await.unwrap());
        self.mysqld.with(|server| (server.offline_mode, server.flag))
    }

    async fn put(&self, file: &str, text: &str) {
        let (host, state_dir) = place(&self.cx);
        let path = state_dir.join(file);
        host.write(&path, text.as_bytes(), &Access::Own(0o600)).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_start_has_left_is_taken_back() {
    let scene = Scene::new().await;
    assert_eq!(scene.after(|_| ()).await, (true, false));
    // Once: a person lets clients in afterwards.
    assert_eq!(scene.after(|server| server.offline_mode = false).await, (false, false));
}

#[tokio::test]
async fn a_member_is_not_shut_by_a_note() {
    for state in ["ONLINE", "RECOVERING"] {
        let scene = Scene::new().await;
        let inside = |server: &mut Server| server.state = state.to_owned();
        assert_eq!(scene.after(inside).await, (false, false), "{state}");
    }
}

/// Its own auto-rejoin may bring it in, or a step may stop it.
#[tokio::test]
async fn a_debt_stays_while_the_server_is_in_error() {
    let scene = Scene::new().await;
    let mut db = scene.db().await;
    scene.mysqld.with(|server| server.state = "ERROR".to_owned());
    settle(place(&scene.cx), &mut db).await.unwrap();
    assert!(is_owed(place(&scene.cx)).await.unwrap());
    scene
        .mysqld
        .with(|server| assert_eq!((server.offline_mode, server.flag), (false, false)));
    let stopped = |server: &mut Server| server.state = "OFFLINE".to_owned();
    assert_eq!(scene.after(stopped).await, (true, false));
}

#[tokio::test]
async fn what_a_person_has_set_since_stays() {
    let scene = Scene::new().await;
    let later = |server: &mut Server| server.set_time = "2026-01-01 00:01:00.000001".to_owned();
    assert_eq!(scene.after(later).await, (false, true));
}

/// It has forgotten what was set, and shuts out whom its own settings say.
#[tokio::test]
async fn a_note_means_nothing_after_a_restart_of_mysqld() {
    let scene = Scene::new().await;
    let restarted = |server: &mut Server| server.run = "2026-01-01 00:00:30".to_owned();
    assert_eq!(scene.after(restarted).await, (false, true));
}

#[tokio::test]
async fn a_note_opens_nothing_and_sets_no_flag() {
    let scene = Scene::new().await;
    let before = |server: &mut Server| {
        (server.offline_mode, server.flag) = (true, false);
        server.log.clear();
    };
    assert_eq!(scene.after(before).await, (true, false));
    scene
        .mysqld
        .with(|server| assert!(!server.log.iter().any(|sql| sql.starts_with("SET GLOBAL"))));
}

#[tokio::test]
async fn a_join_owes_no_flag_and_nothing_where_clients_were_not_shut_out() {
    let scene = Scene::before();
    start::note(&scene.cx, &mut scene.db().await, false).await.unwrap();
    let by_hand = |server: &mut Server| (server.offline_mode, server.flag) = (false, true);
    assert_eq!(scene.after(by_hand).await, (true, true));

    let scene = Scene::before();
    scene.mysqld.with(|server| server.offline_mode = false);
    start::note(&scene.cx, &mut scene.db().await, false).await.unwrap();
    assert!(!is_owed(place(&scene.cx)).await.unwrap());
}

#[tokio::test]
async fn a_note_that_is_damaged_is_set_aside_and_nothing_is_done_by_it() {
    for text in ["", "{", "[]", r#"{"run": 7}"#] {
        let scene = Scene::new().await;
        scene.put("start.json", text).await;
        assert_eq!(scene.after(|_| ()).await, (false, true), "{text}");
        let (host, state_dir) = place(&scene.cx);
        let aside = host.read(&state_dir.join("start.json.damaged")).await.unwrap();
        assert_eq!(aside.as_deref(), Some(text.as_bytes()));
        scene.put("clone.json", text).await;
        assert!(copy::Begun::of_order(&scene.cx).await.unwrap().is_none());
    }
}

/// By an agent of the release before: of this order, of another one, and of a rejoin of its own after the order had brought it in.
#[tokio::test]
async fn an_old_note_is_of_its_order_only_until_that_has_brought_the_server_in() {
    for (noted, has_entered, is_shut) in [(7, false, true), (6, false, false), (7, true, false)] {
        let scene = Scene::before();
        scene.mysqld.with(|server| server.offline_mode = false);
        let note = serde_json::json!({"generation": {"epoch": 1, "index": noted}});
        scene.put("shut_out.json", &note.to_string()).await;
        let (cx, entered) = (&scene.cx, has_entered.then_some(scene.cx.generation));
        if let Some(entered) = entered {
            cx.ledger.entered(&cx.cluster, entered).await.unwrap();
        }
        settle_of_order(cx, &mut scene.db().await).await.unwrap();
        let shut = scene.mysqld.with(|server| server.offline_mode);
        assert_eq!(shut, is_shut, "{noted}, {has_entered}");

        scene.put("shut_out.json", &note.to_string()).await;
        start::forget_old(place(cx), entered).await.unwrap();
        let (host, state_dir) = place(cx);
        let stays = host.read(&state_dir.join("shut_out.json")).await.unwrap().is_some();
        assert_eq!(stays, !has_entered);
    }
}
