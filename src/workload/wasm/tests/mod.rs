//! Guests compiled, cached and run as a container would, each in a process of its own: the harness.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::*;
use crate::sys::fork;

/// A test in a process of its own: the harness runs tests as threads, and a fork of a process with busy
/// threads may inherit a lock that nobody will ever release.
macro_rules! alone {
    (fn $name:ident() $body:block) => {
        #[test]
        fn $name() {
            if std::env::var_os("WRUN_TEST_ALONE").is_some() {
                return $body;
            }
            let own = concat!(module_path!(), "::", stringify!($name));
            let (_crate, own) = own.split_once("::").expect("a path");
            let mut command = std::process::Command::new(std::env::current_exe().expect("our own path"));
            command
                .args(["--exact", own, "--test-threads=1", "--nocapture"])
                .env("WRUN_TEST_ALONE", "1");
            let output = command.output().expect("started");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(said.contains("1 passed"), "{own} was not run: {said}");
        }
    };
}

fn guest_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("integration/guests")
        .join(name)
}

fn confine() -> Confine<'static> {
    Confine::outside_containers()
}

/// A request without options.
fn named(name: &str) -> Request<'_> {
    static NONE: std::sync::LazyLock<GuestOptions> = std::sync::LazyLock::new(GuestOptions::default);
    Request {
        name,
        export: None,
        world: World::Wasi,
        options: &NONE,
    }
}

/// What a container is to run of this.
fn work(provided: Provided) -> Work {
    Work::Guest(Code {
        file: provided.code,
        kind: provided.kind,
        build: provided.build,
    })
}

fn no_cache() -> Result<Cache, CacheError> {
    Err(CacheError::NoHome)
}

fn cache_in(dir: &tempfile::TempDir) -> Result<Cache, CacheError> {
    Cache::open(&dir.path().join("cache"))
}

fn provide_guest(name: &str, cache: Result<Cache, CacheError>) -> Result<Provided, WasmError> {
    let file = File::open(guest_path(name)).expect("the guest's source");
    provide(file, &named(&format!("/{name}")), cache, &confine())
}

fn refusal(name: &str) -> String {
    provide_guest(name, no_cache()).expect_err("refused").to_string()
}

/// A guest that runs in a child.
struct Running {
    pid: Pid,
    stdout: File,
    stderr: File,
}

fn start(provided: Provided, guest: Guest, stdin: OwnedFd) -> Running {
    start_after(|| (), provided, guest, stdin)
}

/// The same, after something was changed for its process.
fn start_after(change: impl FnOnce(), provided: Provided, guest: Guest, stdin: OwnedFd) -> Running {
    let pipe = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (File::from(OwnedFd::from(reader)), OwnedFd::from(writer))
    };
    let ((stdout, out), (stderr, err)) = (pipe(), pipe());
    let pid = fork::run_in_child(|| {
        nix::unistd::dup2_stdin(&stdin).expect("stdin");
        nix::unistd::dup2_stdout(&out).expect("stdout");
        nix::unistd::dup2_stderr(&err).expect("stderr");
        // The test's own ends of the pipes would keep a guest from seeing the end.
        let code = rustix::io::fcntl_dupfd_cloexec(&provided.code, 1000).expect("a high number");
        for fd in 3..1000 {
            nix::unistd::close(fd).unwrap_or_default();
        }
        let proc_self = proc_self();
        change();
        let provided = Provided { code, ..provided };
        run(work(provided), guest, proc_self, || Ok(()))
    })
    .expect("a child");
    Running { pid, stdout, stderr }
}

impl Running {
    /// Exit code, stdout and stderr.
    fn finish(mut self) -> (i32, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).expect("its stdout");
        self.stderr.read_to_string(&mut err).expect("its stderr");
        match waitpid(self.pid, None).expect("its end") {
            WaitStatus::Exited(_, code) => (code, out, err),
            other => panic!("ended by {other:?}: {err}"),
        }
    }
}

fn guest(args: &[&str]) -> Guest {
    Guest {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        cwd: "/".into(),
        memory_limit: None,
        cpus: None,
        options: GuestOptions::default(),
    }
}

fn proc_self() -> OwnedFd {
    File::open("/proc/self").expect("/proc/self").into()
}

fn null() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null").into()
}

fn run_guest(name: &str, args: &[&str]) -> (i32, String, String) {
    let provided = provide_guest(name, no_cache()).expect("compiles");
    start(provided, guest(args), null()).finish()
}

mod caching;
mod container;
mod guests;
mod inspecting;
mod keeping;
mod refusals;
mod tiers;
