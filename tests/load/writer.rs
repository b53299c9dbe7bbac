//! The writer: a thread on the lab's bridge with a few connections through Router, and what one asks it while it runs.
//!
//! Made and ended by a test. It must never touch a host but over Router's port.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use clusterctl_lab::{Lab, wait_for};
use mysql_async::{Opts, OptsBuilder, SslOpts};

use super::client::{ACCOUNTS, Client, INITIAL, connect, run_on};
use super::gaps;
use super::journal::{Log, Moment, Series};

/// How many connections the application has.
const CONNECTIONS: u32 = 4;
/// Router's port for writes.
const PORT: u16 = 6446;
/// How long Router may need to take the first connection.
const FIRST: Duration = Duration::from_secs(60);

const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS appdb.load_marks (run BIGINT UNSIGNED, connection INT, n BIGINT UNSIGNED, PRIMARY KEY (run, connection, n))",
    "CREATE TABLE IF NOT EXISTS appdb.load_accounts (run BIGINT UNSIGNED, account INT, balance BIGINT NOT NULL, PRIMARY KEY (run, account))",
    "CREATE TABLE IF NOT EXISTS appdb.load_transfers (run BIGINT UNSIGNED, connection INT, n BIGINT UNSIGNED, source INT NOT NULL, target INT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (run, connection, n))",
];

/// What the thread and its owner share.
pub struct Shared {
    begun: Instant,
    ending: AtomicBool,
    log: Mutex<Log>,
}

impl Shared {
    /// Whether nothing new shall be begun.
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// See [`Log::acknowledge`].
    pub fn acknowledge(&self, series: Series, number: u64, found: bool) {
        let mut log = self.log();
        log.acknowledge(self.begun.elapsed(), series, number, found);
    }

    /// See [`Log::fail`].
    pub fn fail(&self, series: Series, number: u64, error: &str) {
        let mut log = self.log();
        log.fail(self.begun.elapsed(), series, number, error);
    }

    /// What became of this one is not known.
    pub fn give_up(&self, series: Series, number: u64) {
        self.log().unknown.insert(series, number);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that writes until it is stopped.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Starts to write as `app` through router1; returns once its tables stand.
    pub fn start(lab: &Lab, password: &str) -> Result<Self> {
        let run = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("writer-{}-{run}.log", lab.name()));
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            ending: AtomicBool::new(false),
            log: Mutex::new(Log::new(run, path)),
        });
        let opts: Opts = OptsBuilder::default()
            .ip_or_hostname(lab.address("router1")?)
            .tcp_port(PORT)
            .prefer_socket(false)
            .user(Some("app"))
            .pass(Some(password))
            // Router shows its clients a certificate of its own making.
            .ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true))
            .into();
        let lab = Lab::open(lab.name())?;
        let (ready, begun) = mpsc::channel();
        let inside = shared.clone();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || -> Result<()> {
                lab.enter_network()?;
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(write(opts, run, inside, ready))
            })?;
        let writer = Self {
            shared,
            thread: Some(thread),
        };
        match begun.recv() {
            Ok(()) => Ok(writer),
            Err(_) => Err(writer
                .join()
                .err()
                .unwrap_or_else(|| anyhow!("the writer ended at once"))),
        }
    }

    /// Now.
    pub fn mark(&self) -> Moment {
        Moment(self.shared.begun.elapsed())
    }

    /// The longest time without any acknowledgement that reaches beyond this moment; also one that is still open.
    pub fn longest_gap_since(&self, moment: Moment) -> Duration {
        let log = self.shared.log();
        gaps::longest_since(&log.times, moment.0, self.shared.begun.elapsed())
    }

    /// The time without acknowledgement in which this moment lies.
    pub fn gap_around(&self, moment: Moment) -> Duration {
        let log = self.shared.log();
        gaps::around(&log.times, moment.0, self.shared.begun.elapsed())
    }

    /// Waits for the first acknowledgement after this moment, and tells how long after it came.
    pub fn wait_for_write(&self, after: Moment, limit: Duration) -> Result<Duration> {
        let first = || {
            let log = self.shared.log();
            let next = log.times.partition_point(|at| *at <= after.0);
            log.times.get(next).map(|at| at.saturating_sub(after.0))
        };
        wait_for("a write is acknowledged", limit, || Ok(first().is_some()))
            .with_context(|| format!("errors of the writer: {:?}", self.shared.log().errors))?;
        first().context("an acknowledgement is gone")
    }

    /// How long after `moment` the first acknowledgement after `begin` came; nothing if it came before that.
    pub fn first_after(&self, begin: Moment, moment: Moment) -> Option<Duration> {
        let log = self.shared.log();
        let next = log.times.partition_point(|at| *at <= begin.0);
        log.times.get(next).map(|at| at.saturating_sub(moment.0))
    }

    /// Lets it finish what is in flight, and ends it.
    pub fn stop(self) -> Result<Log> {
        let shared = self.shared.clone();
        self.join()?;
        let shared = Arc::into_inner(shared).context("somebody still writes")?;
        Ok(shared.log.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(mut self) -> Result<()> {
        self.shared.ending.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the writer has ended already")?;
        let ended = thread.join().map_err(|_| anyhow!("the writer panicked"))?;
        self.shared.log().end = self.shared.begun.elapsed();
        ended
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn write(opts: Opts, run: u64, shared: Arc<Shared>, ready: mpsc::Sender<()>) -> Result<()> {
    let begun = Instant::now();
    while let Err(error) = prepare(&opts, run).await {
        if begun.elapsed() > FIRST {
            return Err(anyhow!(error).context("the writer cannot make its tables"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = ready.send(());
    let clients: Vec<_> = (1..=CONNECTIONS)
        .map(|connection| Client {
            opts: opts.clone(),
            run,
            connection,
            shared: shared.clone(),
        })
        .map(|client| tokio::spawn(client.work()))
        .collect();
    for client in clients {
        client.await.context("a connection of the writer panicked")?;
    }
    Ok(())
}

async fn prepare(opts: &Opts, run: u64) -> Result<(), String> {
    let mut conn = connect(opts).await?;
    for table in TABLES {
        run_on(&mut conn, table).await?;
    }
    let rows: Vec<_> = (0..ACCOUNTS)
        .map(|account| format!("({run}, {account}, {INITIAL})"))
        .collect();
    let replace = format!(
        "REPLACE INTO appdb.load_accounts (run, account, balance) VALUES {}",
        rows.join(", ")
    );
    run_on(&mut conn, &replace).await
}
