//! [`Host`] on the machine itself.
//!
//! Files are touched on tokio's blocking pool: an fsync that takes a second must not delay the answer to a question.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Access, Command, Host, HostError, Machine, Output, Stat, Uptime, files};

/// More than this of a program's output is not kept.
const KEEP: usize = 4 << 20;
/// A port of this host answers at once, or nobody is there.
const ACCEPTS: Duration = Duration::from_secs(2);

/// The machine that the agent runs on.
#[derive(Debug, Default)]
pub struct RealHost;

impl Host for RealHost {
    fn run<'a>(
        &'a self,
        command: &'a Command,
        line: &'a (dyn Fn(&str) + Send + Sync),
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(run(command, line))
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        blocking(path, "read", files::read)
    }

    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        blocking(path, "look at", files::stat)
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<String>>, HostError>> {
        blocking(path, "list", files::list)
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: &'a [u8],
        access: &'a Access,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        let (bytes, access) = (bytes.to_vec(), access.clone());
        blocking(path, "write", move |path| files::write(path, &bytes, &access))
    }

    fn make_dir<'a>(&'a self, path: &'a Path, access: &'a Access) -> BoxFuture<'a, Result<(), HostError>> {
        let access = access.clone();
        blocking(path, "make", move |path| files::make_dir(path, &access))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, Result<(), HostError>> {
        let to = to.to_owned();
        blocking(from, "rename", move |from| files::rename(from, &to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        blocking(path, "remove", files::remove)
    }

    fn remove_tree<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        blocking(path, "remove", files::remove_tree)
    }

    fn uptime(&self) -> Uptime {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let ms = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
        Uptime {
            boot_id: boot_id.trim().to_owned(),
            ms: u64::try_from(ms).unwrap_or(0),
        }
    }

    fn machine(&self) -> Machine {
        let uname = rustix::system::uname();
        Machine {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        }
    }

    fn free_bytes(&self, folder: &Path) -> u64 {
        folder
            .ancestors()
            .find_map(|place| rustix::fs::statvfs(place).ok())
            .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn accepts<'a>(&'a self, port: u16) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let connect = TcpStream::connect(("127.0.0.1", port));
            matches!(tokio::time::timeout(ACCEPTS, connect).await, Ok(Ok(_)))
        })
    }
}

fn blocking<T: Send + 'static>(
    path: &Path,
    verb: &'static str,
    work: impl FnOnce(&Path) -> Result<T, HostError> + Send + 'static,
) -> BoxFuture<'static, Result<T, HostError>> {
    let path = path.to_owned();
    Box::pin(async move {
        let named = path.clone();
        match tokio::task::spawn_blocking(move || work(&path)).await {
            Ok(result) => result,
            Err(stopped) => Err(HostError::file(verb, &named, std::io::Error::other(stopped))),
        }
    })
}

async fn run(command: &Command, line: &(dyn Fn(&str) + Send + Sync)) -> Result<Output, HostError> {
    let spawn_error = |source| HostError::Spawn {
        program: command.program.clone(),
        source,
    };
    tracing::debug!("run {}", command.line());
    let mut child = tokio::process::Command::new(&command.program)
        .args(&command.args)
        // texts of programs are read below: they must not be translated
        .env("LC_ALL", "C.UTF-8")
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(if command.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(!command.survives)
        .spawn()
        .map_err(spawn_error)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (kept_out, kept_err) = (Mutex::new(String::new()), Mutex::new(String::new()));
    let work = async {
        let feed = async {
            if let (Some(mut stdin), Some(bytes)) = (stdin, &command.stdin) {
                // a program that does not read all of its input is not an error of ours
                let _ = stdin.write_all(bytes).await;
                let _ = stdin.shutdown().await;
            }
        };
        let ((), (), (), status) = tokio::join!(
            feed,
            collect(stdout, &kept_out, line),
            collect(stderr, &kept_err, line),
            child.wait()
        );
        status
    };
    let ended = tokio::time::timeout(command.timeout, work).await;
    let mut output = Output {
        stdout: take(&kept_out),
        stderr: take(&kept_err),
        ..Output::default()
    };
    match ended {
        Ok(Ok(status)) => {
            output.status = status.code();
            output.signal = status.signal();
            Ok(output)
        }
        Ok(Err(source)) => Err(spawn_error(source)),
        Err(_) => {
            if let Some(group) = group {
                // it may have just ended: then there is nothing to kill
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(HostError::Timeout {
                command: command.line(),
                seconds: command.timeout.as_secs(),
                tail: output.tail(),
            })
        }
    }
}

/// Reads lines (also such as end in a carriage return, as progress bars do) until the pipe closes.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, kept: &Mutex<String>, line: &(dyn Fn(&str) + Send + Sync)) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        // an error on a pipe is its end
        if reader.read_until(b'\n', &mut raw).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&raw);
        for part in text.split(['\n', '\r']).filter(|part| !part.is_empty()) {
            line(part);
        }
        let mut kept = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.len() < KEEP {
            kept.push_str(&text);
        }
    }
}

fn take(kept: &Mutex<String>) -> String {
    std::mem::take(&mut *kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_program_is_fed_heard_and_its_status_told() {
        let lines = Mutex::new(Vec::new());
        let command = Command::new("sh")
            .args(["-c", "cat; echo oops >&2; exit 3"])
            .stdin("one\ntwo\n");
        let hear = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let output = RealHost.run(&command, &hear).await.unwrap();
        assert_eq!(
            (output.status, output.stdout.as_str(), output.stderr.as_str()),
            (Some(3), "one\ntwo\n", "oops\n")
        );
        assert_eq!(lines.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let started = Instant::now();
        let command = Command::new("sh")
            .args(["-c", "echo hello; sleep 60 & wait"])
            .timeout(Duration::from_millis(200));
        let error = command.checked(&RealHost).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(10));
        match error {
            HostError::Timeout { tail, .. } => assert_eq!(tail, ["hello"]),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Command::new("no-such-program-here")
            .checked(&RealHost)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot run no-such-program-here");
    }
}
