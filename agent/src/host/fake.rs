//! A host in memory, for unit tests of steps.
//!
//! Files are a map; programs answer what the test scripted. A program that no rule fits is a spawn error, so that a test
//! sees what it forgot.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};

use super::{Access, Command, Host, HostError, Machine, Output, RealHost, Stat, Uptime};

type Answer = Box<dyn Fn(&FakeHost, &Command) -> Output + Send + Sync>;

/// A file or folder of the fake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FakeFile {
    /// Content; none: a folder.
    pub bytes: Option<Vec<u8>>,
    /// As it was written.
    pub access: Access,
}

/// The fake.
#[derive(Default)]
pub struct FakeHost {
    files: Mutex<BTreeMap<PathBuf, FakeFile>>,
    rules: Mutex<Vec<(String, Answer)>>,
    calls: Mutex<Vec<String>>,
    stdins: Mutex<Vec<Vec<u8>>>,
    broken: AtomicBool,
    boots: AtomicU64,
    uptime_ms: AtomicU64,
}

impl FakeHost {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file is there from the start.
    pub fn with_file(self, path: &str, text: &str) -> Self {
        self.put(path, text);
        self
    }

    /// Puts a file, as some program would.
    pub fn put(&self, path: &str, text: &str) {
        let file = FakeFile {
            bytes: Some(text.as_bytes().to_vec()),
            access: Access::Keep,
        };
        self.files.lock().unwrap().insert(path.into(), file);
    }

    /// A command line that begins with this prints that and ends with 0. Later rules win.
    pub fn on(self, line: &str, stdout: &str) -> Self {
        let output = Output::new(0, stdout, "");
        self.answer(line, move |_, _| output.clone())
    }

    /// A command line that begins with this fails with this status and these words on standard error.
    pub fn on_failure(self, line: &str, status: i32, stderr: &str) -> Self {
        let output = Output::new(status, "", stderr);
        self.answer(line, move |_, _| output.clone())
    }

    /// A command line that begins with this is answered by a function that may touch the fake.
    pub fn answer(self, line: &str, answer: impl Fn(&FakeHost, &Command) -> Output + Send + Sync + 'static) -> Self {
        self.rules.lock().unwrap().push((line.to_owned(), Box::new(answer)));
        self
    }

    /// From now on no file can be written or removed, or again.
    pub fn break_disk(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    /// Lets time pass, asleep or not.
    pub fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.uptime_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Starts the machine anew; its clock counts from zero again.
    pub fn reboot(&self) {
        self.boots.fetch_add(1, Ordering::Relaxed);
        self.uptime_ms.store(0, Ordering::Relaxed);
    }

    fn disk(&self, verb: &'static str, path: &Path) -> Result<(), HostError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(HostError::file(verb, path, io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Command lines run so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// What was given on standard input, command after command.
    pub fn stdins(&self) -> Vec<Vec<u8>> {
        self.stdins.lock().unwrap().clone()
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Option<String> {
        let files = self.files.lock().unwrap();
        let bytes = files.get(Path::new(path))?.bytes.clone()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    /// A file's or folder's access.
    pub fn access(&self, path: &str) -> Option<Access> {
        self.files
            .lock()
            .unwrap()
            .get(Path::new(path))
            .map(|file| file.access.clone())
    }
}

impl Host for FakeHost {
    fn run<'a>(
        &'a self,
        command: &'a Command,
        line: &'a (dyn Fn(&str) + Send + Sync),
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        let typed = command.line();
        self.calls.lock().unwrap().push(typed.clone());
        if let Some(stdin) = &command.stdin {
            self.stdins.lock().unwrap().push(stdin.clone());
        }
        let rules = self.rules.lock().unwrap();
        let result = match rules
            .iter()
            .rev()
            .find(|(prefix, _)| typed.starts_with(prefix.as_str()))
        {
            Some((_, answer)) => Ok(answer(self, command)),
            None => Err(HostError::Spawn {
                program: command.program.clone(),
                source: io::Error::other(format!("no rule of the test fits: {typed}")),
            }),
        };
        if let Ok(output) = &result {
            output.stdout.lines().chain(output.stderr.lines()).for_each(line);
        }
        Box::pin(ready(result))
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        let bytes = self.files.lock().unwrap().get(path).and_then(|file| file.bytes.clone());
        Box::pin(ready(Ok(bytes)))
    }

    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        let files = self.files.lock().unwrap();
        let inside = files.keys().any(|key| key != path && key.starts_with(path));
        let found = files.get(path).map(|file| Stat {
            is_dir: file.bytes.is_none(),
            len: file.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            mode: match &file.access {
                Access::Keep => 0o644,
                Access::Own(mode) | Access::Of { mode, .. } => *mode,
            },
            uid: 0,
            gid: 0,
            modified: 0,
        });
        let folder = inside.then_some(Stat {
            is_dir: true,
            len: 0,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: 0,
        });
        Box::pin(ready(Ok(found.or(folder))))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<String>>, HostError>> {
        let files = self.files.lock().unwrap();
        let mut names: Vec<String> = files
            .keys()
            .filter_map(|key| key.strip_prefix(path).ok()?.components().next())
            .map(|first| first.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        let there = !names.is_empty() || files.contains_key(path);
        Box::pin(ready(Ok(there.then_some(names))))
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: &'a [u8],
        access: &'a Access,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        let file = FakeFile {
            bytes: Some(bytes.to_vec()),
            access: access.clone(),
        };
        let result = self.disk("write", path);
        if result.is_ok() {
            self.files.lock().unwrap().insert(path.to_owned(), file);
        }
        Box::pin(ready(result))
    }

    fn make_dir<'a>(&'a self, path: &'a Path, access: &'a Access) -> BoxFuture<'a, Result<(), HostError>> {
        let file = FakeFile {
            bytes: None,
            access: access.clone(),
        };
        self.files.lock().unwrap().insert(path.to_owned(), file);
        Box::pin(ready(Ok(())))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, Result<(), HostError>> {
        let mut files = self.files.lock().unwrap();
        let result = match files.remove(from) {
            Some(file) => {
                files.insert(to.to_owned(), file);
                Ok(())
            }
            None => Err(HostError::file("rename", from, io::ErrorKind::NotFound.into())),
        };
        Box::pin(ready(result))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        let result = self.disk("remove", path);
        let result = result.map(|()| self.files.lock().unwrap().remove(path).is_some());
        Box::pin(ready(result))
    }

    fn remove_tree<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        let mut files = self.files.lock().unwrap();
        let before = files.len();
        files.retain(|key, _| !key.starts_with(path));
        let removed = files.len() != before;
        Box::pin(ready(Ok(removed)))
    }

    fn uptime(&self) -> Uptime {
        Uptime {
            boot_id: format!("boot-{}", self.boots.load(Ordering::Relaxed)),
            ms: self.uptime_ms.load(Ordering::Relaxed),
        }
    }

    fn machine(&self) -> Machine {
        Machine {
            hostname: "node1".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
        }
    }

    /// The real file system's: tests with a real folder ask for it.
    fn free_bytes(&self, folder: &Path) -> u64 {
        RealHost.free_bytes(folder)
    }

    /// The real loopback's.
    fn accepts<'a>(&'a self, port: u16) -> BoxFuture<'a, bool> {
        Box::pin(async move { RealHost.accepts(port).await })
    }
}
