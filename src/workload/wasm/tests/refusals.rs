//! What is not run, and the process that finds out.

use super::*;

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
}
}

fn provide_bytes(bytes: &[u8], name: &str) -> Result<Provided, WasmError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    provide(
        file.reopen().expect("opened"),
        &named(name),
        no_cache(),
        &confine(),
    )
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
    let engine = engine::compiler_engine(Build::default(), false).expect("an engine");
    let code = engine.precompile_module(b"(module (func (export \"_start\")))").expect("compiles");
    let error = provide_bytes(&code, "/app.cwasm").expect_err("refused");
    assert!(matches!(&error, WasmError::Precompiled { path } if path == "/app.cwasm"), "{error}");
}
}

alone! {
    fn only_regular_files_of_a_sane_size_are_read() {
    let open = |path: &str| File::open(path).expect("opened");
    let refused = |file| provide(file, &named("/x"), no_cache(), &confine()).expect_err("refused");
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
    let confine = Confine { enter_cgroup: &refuse, ..Confine::outside_containers() };
    let error = provide(file, &named("/exit.wat"), no_cache(), &confine).expect_err("refused").to_string();
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
    let confine = Confine { enter_cgroup: &die, memory_limit: Some(4096), threads: true };
    let error = provide(file, &named("/exit.wat"), no_cache(), &confine).expect_err("refused").to_string();
    assert!(error.contains("4096 bytes") && error.contains("memory limit"), "{error}");
}
}

alone! {
    fn the_compiler_has_nothing_left() {
        let denied = |what: &str, result: std::io::Result<()>| match result {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => panic!("{what}: {other:?}"),
        };
        let pid = fork::run_in_child(|| {
            let root = nix::unistd::Uid::effective().is_root();
            confine::leave_host().map_err(|failure| failure.error).expect("left");
            let user = nix::unistd::Uid::effective();
            assert!(!root || !user.is_root());
            assert!(caps::read(None, caps::CapSet::Permitted).expect("read").is_empty());
            // Before the filter, which forbids to look.
            let interfaces = std::fs::read_to_string("/proc/net/dev").expect("read");
            assert!(!root || interfaces.lines().count() <= 3, "{interfaces}");
            confine::forbid_syscalls().map_err(|failure| failure.error).expect("forbidden");
            denied("open", File::open("/etc/passwd").map(drop));
            denied("socket", std::net::UdpSocket::bind("127.0.0.1:0").map(drop));
            denied("kill", kill(Pid::parent(), None).map_err(Into::into));
            denied("fork", fork::run_in_child(|| 0).map(drop));
            denied("mount", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(Into::into));
            std::thread::spawn(|| 1).join().expect("threads are allowed")
        });
        let pid = pid.expect("a child");
        assert_eq!(waitpid(pid, None).expect("its end"), WaitStatus::Exited(pid, 1));
    }
}
