//! Guests compiled, cached and run as a container would, each in a process of its own.

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
                .args(["--exact", own, "--test-threads=1"])
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
    Confine {
        enter_cgroup: &|| Ok(()),
        memory_limit: None,
    }
}

fn no_cache() -> Result<Cache, CacheError> {
    Err(CacheError::NoHome)
}

fn cache_in(dir: &tempfile::TempDir) -> Result<Cache, CacheError> {
    Cache::open(&dir.path().join("cache"))
}

fn provide_guest(name: &str, cache: Result<Cache, CacheError>) -> Result<Provided, WasmError> {
    let file = File::open(guest_path(name)).expect("the guest's source");
    provide(file, &format!("/{name}"), cache, None, &confine())
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
        run(code, &provided.kind, guest)
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
    }
}

fn null() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null").into()
}

fn run_guest(name: &str, args: &[&str]) -> (i32, String, String) {
    let provided = provide_guest(name, no_cache()).expect("compiles");
    start(provided, guest(args), null()).finish()
}

alone! {
fn a_guest_gets_what_the_spec_gives() {
    let provided = provide_guest("hello.wat", no_cache()).expect("compiles");
    assert!(provided.compiled && provided.uncached.is_some());
    let env = vec![("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
    let guest = Guest { env, cwd: "/tmp".into(), ..guest(&["/hello.wat", "two words", ""]) };
    let (code, out, err) = start(provided, guest, null()).finish();
    let expected = "Hello from Wasm\narg /hello.wat\narg two words\narg \nenv A=1=2\nenv B=\nenv PWD=/tmp\n\
        dir .\ndir /\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
}
}

alone! {
fn nothing_is_added_at_the_root() {
    let (code, out, _) = run_guest("hello.wat", &["x"]);
    assert_eq!((code, out.as_str()), (0, "Hello from Wasm\narg x\ndir /\n"));
}
}

alone! {
fn exit_codes_are_passed_on() {
    for (code, expected) in [("0", 0), ("7", 7), ("126", 126), ("200", 200), ("255", 255), ("256", 0)] {
        assert_eq!(run_guest("exit.wat", &["exit", code]).0, expected);
    }
}
}

alone! {
fn traps_have_a_code_a_message_and_a_backtrace() {
    for (how, cause) in [
        ("u", "unreachable"),
        ("d", "integer divide by zero"),
        ("s", "call stack exhausted"),
        ("m", "out of bounds memory access"),
    ] {
        let (code, out, err) = run_guest("trap.wat", &["trap", how]);
        assert_eq!((code, out.as_str()), (134, ""), "{err}");
        assert!(err.contains("wrun: the guest trapped") && err.contains(cause), "{err}");
        assert!(err.contains("wasm backtrace") && err.contains("trap"), "{err}");
    }
    assert!(run_guest("trap.wat", &["trap", "d"]).2.contains("divide"));
}
}

alone! {
fn files_are_those_of_the_root() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let path = path.to_str().expect("text");
    assert_eq!(run_guest("file.wat", &["file", path, "written"]).0, 0);
    assert_eq!(std::fs::read_to_string(path).expect("the file"), "written");
    assert_eq!(run_guest("file.wat", &["file", path]), (0, "written".to_owned(), String::new()));
    assert_eq!(run_guest("file.wat", &["file", "/no/such/file"]).0, 44);
}
}

alone! {
fn our_descriptors_are_out_of_a_guests_reach() {
    // Through procfs a guest could otherwise reach the compiled code it runs, and write it.
    for fd in 3..12 {
        let (code, out, _) = run_guest("file.wat", &["file", &format!("/proc/self/fd/{fd}")]);
        assert!(code != 0 && out.is_empty(), "descriptor {fd} was opened");
    }
}
}

alone! {
fn stdin_ends_where_it_ends() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let provided = provide_guest("cat.wat", no_cache()).expect("compiles");
    let running = start(provided, guest(&["cat"]), reader.into());
    let mut writer = File::from(OwnedFd::from(writer));
    writer.write_all(b"first\n").expect("written");
    let mut first = [0; 6];
    (&running.stdout).read_exact(&mut first).expect("passed on at once");
    assert_eq!(&first, b"first\n");
    writer.write_all(&[b'x'; 40_000]).expect("written");
    drop(writer);
    let (code, out, err) = running.finish();
    assert_eq!((code, out.len(), err.as_str()), (0, 40_000, ""));
    let from_file = provide_guest("cat.wat", no_cache()).expect("compiles");
    let source = guest_path("cat.wat");
    let (code, out, _) =
        start(from_file, guest(&["cat"]), File::open(&source).expect("opened").into()).finish();
    assert_eq!((code, out), (0, std::fs::read_to_string(source).expect("read")));
}
}

alone! {
fn signals_end_a_guest_in_whatever_it_does() {
    for name in ["spin.wat", "sleep.wat"] {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            let provided = provide_guest(name, no_cache()).expect("compiles");
            let running = start(provided, guest(&[name]), null());
            let mut said = [0; 9];
            (&running.stdout).read_exact(&mut said).expect("it says what it does");
            kill(running.pid, signal).expect("signalled");
            assert_eq!(running.finish().0, 128 + signal as i32, "{name}");
        }
    }
}
}

alone! {
fn a_guest_waits_as_long_as_it_says() {
    let before = std::time::Instant::now();
    assert_eq!(run_guest("sleep.wat", &["sleep", "1"]).0, 0);
    assert!(before.elapsed().as_millis() >= 1000);
}
}

alone! {
fn an_export_is_called_by_name() {
    let compile = |export| {
        let file = File::open(guest_path("entry.wat")).expect("opened");
        provide(file, "/entry.wat", no_cache(), export, &confine())
    };
    let provided = compile(Some("greet")).expect("compiles");
    assert_eq!(start(provided, guest(&["x"]), null()).finish(), (0, "greetings\n".to_owned(), String::new()));
    let error = compile(Some("nothing")).expect_err("refused").to_string();
    assert!(error.contains("`nothing`") && error.contains("greet"), "{error}");
    assert!(compile(None).expect_err("refused").to_string().contains("file.wasm#name"));
}
}

alone! {
fn memory_is_refused_at_the_limit() {
    let provided = provide_guest("hog.wat", no_cache()).expect("compiles");
    let guest = Guest { memory_limit: Some(32 << 20), ..guest(&["hog"]) };
    assert_eq!(start(provided, guest, null()).finish(), (3, "refused\n".to_owned(), String::new()));
}
}

alone! {
fn components_run() {
    let (code, out, err) = run_guest("command.wat", &["command"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "Hello from a component\n", ""));
    assert_eq!(run_guest("command-fail.wat", &["command"]).0, 1);
}
}

alone! {
fn refusals_say_what_is_wrong() {
    let error = refusal("imports.wat");
    for part in ["/imports.wat: ", "`env.launch_rocket`", "`wasi_snapshot_preview1.sock_open`", "WasmEdge"] {
        assert!(error.contains(part), "{error}");
    }
    let error = refusal("nothing.wat");
    assert!(error.contains("exports nothing to run") && error.contains("helper"), "{error}");
    let error = refusal("command-imports.wat");
    assert!(error.contains("`example:rockets/launch@1.0.0`"), "{error}");
    let error = refusal("http.wat");
    assert!(error.contains("wasi:http/incoming-handler@0.2.0"), "{error}");
}
}

fn provide_bytes(bytes: &[u8], name: &str) -> Result<Provided, WasmError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    provide(file.reopen().expect("opened"), name, no_cache(), None, &confine())
}

alone! {
fn broken_files_are_refused_with_the_place() {
    let error = provide_bytes(b"\0asm\x01\0\0\0\x01", "/cut.wasm").expect_err("refused").to_string();
    assert!(error.contains("/cut.wasm: not a valid Wasm binary") && error.contains("offset"), "{error}");
    let error = provide_bytes(b"\0asm", "/cut.wasm").expect_err("refused").to_string();
    assert!(error.contains("not a valid Wasm binary"), "{error}");
    let error = provide_bytes(b"(module (func $x (oops)))", "/x.wat").expect_err("refused").to_string();
    assert!(error.contains("not valid Wasm text") && error.contains("oops"), "{error}");
    let error = provide_bytes(b"", "/empty.wat").expect_err("refused").to_string();
    assert!(error.contains("/empty.wat: not valid Wasm text"), "{error}");
}
}

alone! {
fn compiled_code_from_an_image_is_refused() {
    let engine = engine::compiler_engine(false).expect("an engine");
    let code = engine.precompile_module(b"(module (func (export \"_start\")))").expect("compiles");
    let error = provide_bytes(&code, "/app.cwasm").expect_err("refused");
    assert!(matches!(&error, WasmError::Precompiled { path } if path == "/app.cwasm"), "{error}");
}
}

alone! {
fn only_regular_files_of_a_sane_size_are_read() {
    let open = |path: &str| File::open(path).expect("opened");
    let refused = |file| provide(file, "/x", no_cache(), None, &confine()).expect_err("refused");
    assert!(matches!(refused(open("/dev/null")), WasmError::NotAFile { .. }));
    assert!(matches!(refused(open("/tmp")), WasmError::NotAFile { .. }));
    let huge = tempfile::tempfile().expect("a file");
    huge.set_len(input::MAX_SIZE + 1).expect("sparse");
    assert!(matches!(refused(huge), WasmError::TooLarge { .. }));
}
}

alone! {
fn the_compiler_joins_the_cgroup_or_nothing_is_compiled() {
    let file = File::open(guest_path("exit.wat")).expect("opened");
    let refuse = || Err(std::io::Error::from_raw_os_error(libc::ENODEV));
    let confine = Confine { enter_cgroup: &refuse, memory_limit: None };
    let error = provide(file, "/exit.wat", no_cache(), None, &confine).expect_err("refused").to_string();
    assert!(error.contains("joining the container's cgroup"), "{error}");
}
}

alone! {
fn a_killed_compiler_names_the_limit() {
    let file = File::open(guest_path("exit.wat")).expect("opened");
    let die = || {
        kill(Pid::this(), Signal::SIGKILL)?;
        Ok(())
    };
    let confine = Confine { enter_cgroup: &die, memory_limit: Some(4096) };
    let error = provide(file, "/exit.wat", no_cache(), None, &confine).expect_err("refused").to_string();
    assert!(error.contains("4096 bytes") && error.contains("memory limit"), "{error}");
}
}

/// The only entry of a cache.
fn entry_of(dir: &tempfile::TempDir) -> PathBuf {
    let files = std::fs::read_dir(dir.path().join("cache")).expect("the cache");
    let paths = files.map(|file| file.expect("a file").path());
    let mut codes: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "code"))
        .collect();
    assert_eq!(codes.len(), 1);
    codes.remove(0)
}

alone! {
fn the_second_start_does_not_compile() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = provide_guest("hello.wat", cache_in(&dir)).expect("compiles");
    assert!(first.compiled && first.uncached.is_none());
    let second = provide_guest("hello.wat", cache_in(&dir)).expect("is there");
    assert!(!second.compiled && second.kind == first.kind);
    let (code, out, _) = start(second, guest(&["x"]), null()).finish();
    assert_eq!((code, out.as_str()), (0, "Hello from Wasm\narg x\ndir /\n"));
    let component = provide_guest("command.wat", cache_in(&dir)).expect("compiles");
    assert!(component.compiled);
    let component = provide_guest("command.wat", cache_in(&dir)).expect("is there");
    assert!(!component.compiled);
    assert_eq!(start(component, guest(&["x"]), null()).finish().1, "Hello from a component\n");
}
}

alone! {
fn damaged_entries_are_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    provide_guest("exit.wat", cache_in(&dir)).expect("compiles");
    let path = entry_of(&dir);
    let sound = std::fs::read(&path).expect("an entry");
    type Harm<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damage: [Harm<'_>; 5] = [
        &|bytes| bytes[5000] ^= 1,
        &|bytes| bytes.truncate(4096),
        &|bytes| bytes.clear(),
        &|bytes| bytes.push(0),
        &|bytes| {
            let at = bytes.len() - 1;
            bytes[at] ^= 1;
        },
    ];
    for harm in damage {
        let mut bytes = sound.clone();
        harm(&mut bytes);
        // In place, as a faulty disk or a careless administrator would.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("changed");
        std::fs::write(&path, &bytes).expect("written");
        let again = provide_guest("exit.wat", cache_in(&dir)).expect("compiles");
        assert!(again.compiled && again.uncached.is_none());
        assert_eq!(start(again, guest(&["exit", "9"]), null()).finish().0, 9);
    }
}
}

alone! {
fn planted_entries_are_not_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    provide_guest("exit.wat", cache_in(&dir)).expect("compiles");
    let path = entry_of(&dir);
    let sound = std::fs::read(&path).expect("an entry");
    let plant: [&dyn Fn(); 4] = [
        // A sound entry under another's name.
        &|| {
            let other = tempfile::tempdir().expect("a directory");
            provide_guest("trap.wat", cache_in(&other)).expect("compiles");
            std::fs::copy(entry_of(&other), &path).expect("copied");
        },
        &|| {
            let aside = dir.path().join("aside");
            std::fs::write(&aside, &sound).expect("written");
            std::os::unix::fs::symlink(aside, &path).expect("linked");
        },
        &|| {
            std::fs::write(&path, &sound).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("opened to all");
        },
        &|| std::fs::write(&path, b"\x7fELF, or not").expect("written"),
    ];
    for plant in plant {
        std::fs::remove_file(&path).expect("removed");
        plant();
        let again = provide_guest("exit.wat", cache_in(&dir)).expect("compiles");
        assert!(again.compiled, "a planted entry was trusted");
        let metadata = std::fs::symlink_metadata(&path).expect("replaced");
        assert!(metadata.is_file() && metadata.mode() & 0o077 == 0);
    }
}
}

alone! {
fn a_directory_of_others_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = dir.path().join("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).expect("opened to all");
    assert!(matches!(Cache::open(&open), Err(CacheError::NotOurs { .. })));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).expect("linked");
    assert!(matches!(Cache::open(&link), Err(CacheError::NotOurs { .. })));
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("made");
    assert!(matches!(Cache::open(&file), Err(CacheError::NotOurs { .. })));
    // And the container runs all the same.
    let provided = provide_guest("exit.wat", Cache::open(&open)).expect("compiles");
    assert!(matches!(provided.uncached, Some(CacheError::NotOurs { .. })));
    assert_eq!(start(provided, guest(&["exit", "4"]), null()).finish().0, 4);
}
}

alone! {
fn concurrent_first_starts_compile_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let children: Vec<Pid> = (0..8)
        .map(|_| {
            fork::run_in_child(|| {
                let provided = provide_guest("hello.wat", cache_in(&dir)).expect("compiles");
                u8::from(provided.compiled)
            })
            .expect("a child")
        })
        .collect();
    let codes = children.into_iter().map(|pid| match waitpid(pid, None).expect("its end") {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    });
    assert_eq!(codes.sum::<i32>(), 1);
    let leftovers = std::fs::read_dir(dir.path().join("cache")).expect("the cache");
    let locks = leftovers.filter(|file| file.as_ref().expect("a file").path().extension().unwrap() == "lock");
    assert_eq!(locks.count(), 0);
}
}

alone! {
fn large_files_are_known_again_by_their_stamp() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("large.wat");
    let mut text = b"(module (func (export \"_start\")))".to_vec();
    text.resize(300 << 10, b' ');
    std::fs::write(&path, &text).expect("written");
    let key_notes = || {
        let files = std::fs::read_dir(dir.path().join("cache")).expect("the cache");
        files.filter(|file| file.as_ref().expect("a file").path().extension().unwrap() == "file").count()
    };
    let start = || {
        let file = File::open(&path).expect("opened");
        provide(file, "/large.wat", cache_in(&dir), None, &confine()).expect("compiles")
    };
    assert!(start().compiled);
    assert!(!start().compiled);
    assert_eq!(key_notes(), 0, "too fresh to be sure of");
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert!(!start().compiled);
    assert_eq!(key_notes(), 1);
    assert!(!start().compiled);
    // A change of content is seen.
    File::options().write(true).open(&path).expect("opened").write_all_at(b"(module (unknown", 0).expect("written");
    let file = File::open(&path).expect("opened");
    assert!(provide(file, "/large.wat", cache_in(&dir), None, &confine()).is_err());
}
}

alone! {
fn a_full_or_noexec_or_readonly_place_does_not_fail_a_container() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("cache");
    for (flags, data) in [
        (MsFlags::empty(), "size=4k,mode=700"),
        (MsFlags::MS_NOEXEC, "mode=700"),
        (MsFlags::MS_RDONLY, "mode=700"),
    ] {
        std::fs::create_dir_all(&place).expect("made");
        mount(Some("tmpfs"), &place, Some("tmpfs"), flags, Some(data)).expect("mounted");
        let result = provide_guest("exit.wat", Cache::open(&place));
        umount2(&place, MntFlags::MNT_DETACH).expect("unmounted");
        let provided = result.expect("compiles");
        assert!(provided.compiled && provided.uncached.is_some(), "{flags:?} {provided:?}");
        assert_eq!(start(provided, guest(&["exit", "5"]), null()).finish().0, 5);
    }
}
}
