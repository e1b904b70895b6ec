//! What guests see and do, and how they end.

use super::*;

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
    fn files_can_be_worked_with() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("text");
        assert_eq!(run_guest("filesystem.wat", &["filesystem", path]), (0, String::new(), String::new()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
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
        provide(file, &Request { export, ..named("/entry.wat") }, no_cache(), &confine())
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
    let (code, out, err) = start(provided, guest, null()).finish();
    assert_eq!((code, out.as_str()), (3, "refused\n"));
    assert!(err.contains("the container's limit of 33554432 bytes"), "{err}");
}
}

alone! {
    fn components_run() {
    let (code, out, err) = run_guest("command.wat", &["command"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "Hello from a component\n", ""));
    assert_eq!(run_guest("command-fail.wat", &["command"]).0, 1);
    assert_eq!(run_guest("command-async.wat", &["command"]), (0, String::new(), String::new()));
}
}
