//! Which machine a task belongs to, where one process simulates several.
//!
//! Agent and coordinator start every task with [`spawn`] and read clocks by [`crate::clock`]. In a program that is
//! installed there is no [`Machine`]: `spawn` is `tokio::spawn`, and the clocks are the kernel's. The simulator runs each
//! program under a `Machine` ([`Machine::spawn`]): its tasks stand still while it is frozen, end when it is killed, and read its
//! clocks, which follow the virtual time of tokio. Nothing here decides anything, and no program looks whether it is simulated.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

tokio::task_local! {
    static MACHINE: Arc<Machine>;
}

/// Starts a task on the machine of the caller.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match current() {
        Some(machine) => machine.spawn(work),
        None => tokio::spawn(work),
    }
}

/// The simulated machine that the caller runs on; none: the real one.
pub(crate) fn current() -> Option<Arc<Machine>> {
    MACHINE.try_with(Arc::clone).ok()
}

/// A simulated machine, from its power-on to its power-off.
pub struct Machine {
    /// When its clocks showed `boot` and `wall_ms`.
    origin: Instant,
    boot: Duration,
    wall_ms: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frozen: bool,
    killed: bool,
    tasks: Vec<AbortHandle>,
    /// Of tasks that were to run while it was frozen.
    waiting: Vec<Waker>,
    /// By how much its wall clock was set, in milliseconds.
    set_by: i64,
}

impl Machine {
    /// One whose clocks show these values now: time since it was started, and Unix milliseconds.
    pub fn new(boot: Duration, wall_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            boot,
            wall_ms,
            state: Mutex::default(),
        })
    }

    /// Runs work on it, and what that spawns.
    pub fn spawn<F>(self: &Arc<Self>, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let gated = Gated {
            machine: Arc::clone(self),
            work: Box::pin(work),
        };
        let task = tokio::spawn(MACHINE.scope(Arc::clone(self), gated));
        let mut state = self.lock();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task.abort_handle());
        if state.killed {
            task.abort();
        }
        task
    }

    /// From now on no task of it runs; time goes on.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Its tasks go on.
    pub fn thaw(&self) {
        let waiting = {
            let mut state = self.lock();
            state.frozen = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends every task at its next await, for good.
    pub fn kill(&self) {
        let (tasks, waiting) = {
            let mut state = self.lock();
            state.killed = true;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.waiting))
        };
        tasks.iter().for_each(AbortHandle::abort);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Time since it was started.
    pub fn boot_time(&self) -> Duration {
        self.boot + self.origin.elapsed()
    }

    /// Its wall clock, in Unix milliseconds.
    pub fn wall_ms(&self) -> u64 {
        let passed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shown = self.wall_ms.saturating_add(passed);
        shown.saturating_add_signed(self.lock().set_by)
    }

    /// Sets its wall clock by so many milliseconds, forward or back. What counts from its start goes on as before.
    pub fn set_wall(&self, by_ms: i64) {
        let mut state = self.lock();
        state.set_by = state.set_by.saturating_add(by_ms);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that stands still while its machine does.
struct Gated<F> {
    machine: Arc<Machine>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut state = self.machine.lock();
            if state.killed {
                return Poll::Pending;
            }
            if state.frozen {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.work.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::{self, BootInstant};

    #[tokio::test(start_paused = true)]
    async fn tasks_stand_still_with_their_machine_and_end_with_it() {
        let machine = Machine::new(Duration::from_secs(100), 5000);
        let turns = Arc::<AtomicU32>::default();
        let counts = Arc::clone(&turns);
        let task = machine.spawn(async move {
            // what it spawns belongs to the machine, too
            spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    counts.fetch_add(1, Ordering::Relaxed);
                }
            });
            (clock::now_ms(), BootInstant::now())
        });
        let (wall, boot) = task.await.unwrap();
        assert_eq!(wall, 5000);
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(turns.load(Ordering::Relaxed), 3);
        machine.freeze();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(turns.load(Ordering::Relaxed), 3);
        machine.thaw();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(turns.load(Ordering::Relaxed), 4, "the timer that ran out meanwhile");
        let later = machine.spawn(async { BootInstant::now() }).await.unwrap();
        assert_eq!(
            later.since(boot),
            Duration::from_millis(13_600),
            "its clock counts suspend"
        );
        machine.set_wall(-10_000);
        assert_eq!(machine.wall_ms(), 8600, "a wall clock may be set back");
        let still = machine.spawn(async { BootInstant::now() }).await.unwrap();
        assert_eq!(still, later, "and the other one does not follow");
        machine.kill();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(turns.load(Ordering::Relaxed), 4);
        assert!(machine.spawn(async {}).await.unwrap_err().is_cancelled());
    }
}
