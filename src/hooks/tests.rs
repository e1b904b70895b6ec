//! Real hooks: scripts of /bin/sh.

use super::*;

fn shell(script: &str) -> Hook {
    Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: Some(vec![]),
        timeout: None,
    }
}

fn setting<'a>(stage: &'a str, cwd: Option<&'a Path>) -> Setting<'a> {
    Setting {
        stage,
        cwd,
        outputs: None,
    }
}

fn run_hooks(hooks: &[Hook]) -> Result<(), HookError> {
    run(hooks, br#"{"id":"x"}"#, setting("createRuntime", None))
}

#[test]
fn the_state_is_on_stdin_and_argv_env_and_cwd_are_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"{ cat; echo; echo "$0 $1"; pwd; /usr/bin/env; } > out"#;
    let mut hook = shell(script);
    hook.args.extend(["zero".into(), "one".into()]);
    hook.env = Some(vec!["A=b=c".into()]);
    run(&[hook], br#"{"id":"x"}"#, setting("poststart", Some(dir.path()))).unwrap();
    let out = std::fs::read_to_string(dir.path().join("out")).unwrap();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some(r#"{"id":"x"}"#));
    assert_eq!(lines.next(), Some("zero one"));
    assert_eq!(lines.next(), dir.path().to_str());
    // The shell adds PWD and such; nothing of our own environment.
    let env: Vec<_> = lines.collect();
    assert!(env.contains(&"A=b=c"), "{env:?}");
    assert!(
        !env.iter().any(|variable| variable.starts_with("CARGO")),
        "{env:?}"
    );
}

#[test]
fn who_has_no_environment_gets_the_callers_or_the_default_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut hook = shell(&format!("/usr/bin/env >{}", out.display()));
    hook.env = None;
    run_hooks(std::slice::from_ref(&hook)).unwrap();
    // This test's own.
    let path = format!("PATH={}\n", std::env::var("PATH").unwrap());
    assert!(std::fs::read_to_string(&out).unwrap().contains(&path));
    let given = Hook {
        env: Some(vec!["B=2".into()]),
        ..hook.clone()
    };
    let empty = Hook {
        env: Some(vec![]),
        ..hook.clone()
    };
    let env = |hook: Hook| hook.env.unwrap_or_default();
    let filled: Vec<_> = with_default_env(&[hook, given, empty], &["A=1".into()])
        .into_iter()
        .map(env)
        .collect();
    assert_eq!(filled, [["A=1"], ["B=2"], ["A=1"]]);
}

#[test]
fn without_args_the_path_is_argv0_and_the_environment_is_empty() {
    let hook = Hook {
        path: "/usr/bin/env".into(),
        args: vec![],
        env: Some(vec![]),
        timeout: None,
    };
    run_hooks(std::slice::from_ref(&hook)).unwrap();
    let missing = Hook {
        path: "/nonexistent/hook".into(),
        ..hook
    };
    let error = run_hooks(&[missing]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error running createRuntime hook #0: cannot run /nonexistent/hook"
    );
    assert!(matches!(error, HookError::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound));
}

#[test]
fn a_failure_is_told_as_runc_tells_it_and_ends_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let hooks = [
        shell("exit 0"),
        shell("echo out; echo err >&2; exit 3"),
        shell(&format!("> {}", mark.display())),
    ];
    let error = run_hooks(&hooks).unwrap_err().to_string();
    assert_eq!(
        error,
        "error running createRuntime hook #1: exit status 3, stdout: out\n, stderr: err\n"
    );
    assert!(!mark.exists());
    let error = run_hooks(&[shell("kill -9 $$")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "error running createRuntime hook #0: signal: killed, stdout: , stderr: "
    );
}

#[test]
fn a_hook_that_overruns_is_killed_even_while_it_writes() {
    for script in ["exec sleep 60", "while :; do echo x; done"] {
        let hook = Hook {
            timeout: Some(1),
            ..shell(script)
        };
        let start = Instant::now();
        let error = run_hooks(&[hook]).unwrap_err().to_string();
        assert_eq!(
            error,
            "error running createRuntime hook #0: hook ran past specified timeout of 1.0s"
        );
        assert!(start.elapsed() < Duration::from_secs(20), "{script}");
    }
}

#[test]
fn neither_large_pipes_nor_unread_stdin_nor_daemons_hang_it() {
    let state = vec![b'x'; 1 << 20];
    run(&[shell("exit 0")], &state, setting("prestart", None)).unwrap();
    run(
        &[shell("[ $(wc -c) = 1048576 ]")],
        &state,
        setting("prestart", None),
    )
    .unwrap();
    run_hooks(&[shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")]).unwrap();
    let start = Instant::now();
    run_hooks(&[shell("sleep 30 & exit 0")]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "waited for the daemon");
}

#[test]
fn captured_output_is_bounded() {
    let error = run_hooks(&[shell("head -c 1000000 /dev/zero | tr '\\0' e >&2; exit 1")]).unwrap_err();
    let HookError::Failed { stderr, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(stderr.len(), OUTPUT_LIMIT);
}

#[test]
fn hooks_see_no_descriptor_but_their_three() {
    // What the program does at its start: the test's own caller may have left descriptors open.
    crate::sys::fd::cloexec_from(3).unwrap();
    let _open = File::open("/etc/passwd").unwrap();
    // The shell's own /proc/self/fd: 0, 1, 2 and the directory that ls reads.
    run_hooks(&[shell("[ \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 ' ]")]).unwrap();
}

#[test]
fn under_a_filter_without_pidfds_exit_and_timeout_are_seen_too() {
    // load the number; pidfd_open: EPERM, else allow
    let filter: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, libc::SYS_pidfd_open as u32),
        (0x06, 0, 0, 0x0005_0001),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let bytes = |(code, jt, jf, k): (u16, u8, u8, u32)| {
        [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat()
    };
    let program: Vec<u8> = filter.into_iter().flat_map(bytes).collect();
    // The filter binds this thread and the hooks that it starts.
    std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        crate::sys::seccomp::set_filter(&program, 0).unwrap();
        let own = Pid::from_raw(std::process::id() as i32).unwrap();
        assert_eq!(pidfd_open(own, PidfdFlags::empty()).unwrap_err(), Errno::PERM);
        run_hooks(&[shell("cat >&2")]).unwrap();
        let error = run_hooks(&[shell("echo out; exit 3")]).unwrap_err().to_string();
        assert!(
            error.ends_with("exit status 3, stdout: out\n, stderr: "),
            "{error}"
        );
        let late = Hook {
            timeout: Some(1),
            ..shell("exec sleep 60")
        };
        assert!(matches!(run_hooks(&[late]), Err(HookError::Timeout { .. })));
    })
    .join()
    .unwrap();
}

#[test]
fn outputs_go_to_files_that_are_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = HookOutput {
        stdout: Some(dir.path().join("out")),
        stderr: None,
    };
    for _ in 0..2 {
        let outputs = Outputs::open(&wanted).unwrap();
        let setting = Setting {
            outputs: Some(&outputs),
            ..setting("prestart", None)
        };
        let error = run(&[shell("echo told; echo why >&2; exit 1")], b"{}", setting).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("exit status 1, stdout: , stderr: why\n"),
            "{error}"
        );
    }
    let path = dir.path().join("out");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "told\ntold\n");
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let unread = HookOutput {
        stdout: Some(pipe),
        ..HookOutput::default()
    };
    assert!(matches!(Outputs::open(&unread), Err(HookError::Output { .. })));
    let nowhere = HookOutput {
        stderr: Some(dir.path().join("none/err")),
        ..HookOutput::default()
    };
    assert!(matches!(Outputs::open(&nowhere), Err(HookError::Output { .. })));
}

#[test]
fn run_all_runs_the_rest_and_numbers_the_failures() {
    let failures = run_all(
        &[shell("exit 1"), shell("exit 0"), shell("exit 2")],
        b"{}",
        setting("poststop", None),
    );
    let texts: Vec<_> = failures.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2);
    assert!(
        texts[1].starts_with("error running poststop hook #2: exit status 2"),
        "{texts:?}"
    );
}
