//! mysql.service of one host: what systemd does when mysqld ends.
//!
//! One that was killed is started again at once, as the distribution's unit does (`Restart=on-failure`), but sometimes systemd has had enough
//! of it and the unit fails; one that was stopped in an orderly way stays so; the end of a clone (exit status 16) starts it again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chance::Chance;
use crate::mysqld::{Exit, Server};

/// systemd's `RestartSec`.
const RESTART: Duration = Duration::from_millis(300);
/// The unit of a mysqld that was killed fails once in so many times.
const FAILS: u64 = 4;
/// Between two looks at a mysqld that starts.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Inactive,
    Active,
    Failed,
}

/// The unit.
pub struct MysqlUnit {
    /// The server that it runs.
    pub server: Arc<Server>,
    chance: Chance,
    state: Mutex<State>,
}

impl MysqlUnit {
    /// Stopped.
    pub fn new(server: Arc<Server>, chance: Chance) -> Arc<Self> {
        let unit = Arc::new(Self {
            server,
            chance,
            state: Mutex::new(State::Inactive),
        });
        let told = Arc::downgrade(&unit);
        unit.server.on_exit(move |exit| {
            if let Some(unit) = told.upgrade() {
                unit.ended(exit);
            }
        });
        unit
    }

    /// As `systemctl show` names it.
    pub fn state(&self) -> &'static str {
        let state = *self.lock();
        match state {
            State::Inactive => "inactive",
            State::Failed => "failed",
            State::Active if self.server.is_ready() => "active",
            State::Active if self.server.is_running() => "activating",
            State::Active => "activating",
        }
    }

    /// The host boots: the unit is enabled.
    pub fn boot(&self) {
        *self.lock() = State::Active;
        self.server.start_process();
    }

    /// `systemctl start`: returns when mysqld listens.
    pub async fn start(&self) {
        *self.lock() = State::Active;
        self.server.start_process();
        while !self.server.is_ready() && *self.lock() == State::Active {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `systemctl stop`: returns when mysqld has ended.
    pub async fn stop(&self) {
        *self.lock() = State::Inactive;
        self.server.stop_process().await;
    }

    fn ended(self: Arc<Self>, exit: Exit) {
        if !self.server.is_powered() {
            *self.lock() = State::Inactive;
            return;
        }
        match exit {
            Exit::Stopped => *self.lock() = State::Inactive,
            Exit::Killed if self.chance.one_in(FAILS) => *self.lock() = State::Failed,
            Exit::Killed | Exit::Restart => {
                tokio::spawn(async move {
                    tokio::time::sleep(RESTART).await;
                    let wanted = *self.lock() == State::Active;
                    if wanted && self.server.is_powered() {
                        self.server.start_process();
                    }
                });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
