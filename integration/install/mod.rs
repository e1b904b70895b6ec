//! `install`: the configurations of engines, on files of the test's own; what becomes of them on a full disk, under
//! two at once and under SIGKILL; and engines that have read what was written.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::faults::each_call::killed_before;
use crate::harness::command::{eventually, pid, read};
use crate::harness::{Case, Need, Output, Test, program, test};

mod engines;

pub fn tests() -> Vec<Test> {
    let mut tests = engines::tests();
    tests.extend(files());
    tests
}

fn ours(test: Test) -> Test {
    test.wrun_only("no other runtime edits the configurations of engines")
}

fn files() -> Vec<Test> {
    vec![
        ours(test!(install_and_undo)),
        ours(test!(dry_run_writes_nothing)),
        ours(test!(again_there_is_nothing_to_do)),
        ours(test!(two_at_once)),
        ours(test!(what_cannot_be_read_is_left_alone)),
        ours(test!(without_rights_nothing_changes)),
        ours(test!(a_runtime_that_does_not_work_is_not_installed)),
        ours(test!(a_signal_leaves_nothing)),
        ours(test!(restart_is_systemd_s)),
        ours(test!(all_can_read_what_is_new)),
        ours(test!(what_is_secret_stays_so)).needs(Need::Strace),
        ours(test!(a_lock_of_others_is_told)),
        ours(test!(a_home_is_needed)),
        ours(test!(full_disk)),
        ours(test!(killed_at_each_call)).needs(Need::Strace),
        ours(test!(undo_killed_at_each_call)).needs(Need::Strace),
    ]
}

const DAEMON_JSON: &str = "{\n    \"debug\": true,\n    \"log-opts\": {\"max-size\": \"1m\"}\n}\n";

/// A daemon.json of the test's own, in a directory of its own.
struct Config<'case> {
    case: &'case Case,
    dir: PathBuf,
    file: PathBuf,
}

impl<'case> Config<'case> {
    fn new(case: &'case Case) -> Self {
        let dir = case.dir.join("etc");
        fs::create_dir(&dir).expect("a directory");
        let file = dir.join("daemon.json");
        fs::write(&file, DAEMON_JSON).expect("daemon.json");
        Config { case, dir, file }
    }

    /// `install docker` on it, without containers, and with more words.
    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let own = ["install", "docker", "--no-check", "--config", &self.path()];
        own.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn call(&self, words: &[&str]) -> Output {
        let arguments = self.arguments(words);
        self.case
            .call(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn path(&self) -> String {
        self.file.to_str().expect("UTF-8").to_owned()
    }

    fn text(&self) -> String {
        read(&self.file)
    }

    /// The names of all files there.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).expect("it is ours").flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[track_caller]
    fn knows_wrun(&self) {
        let text = self.text();
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let path = value["runtimes"]["wrun"]["path"].as_str().unwrap_or_default();
        assert_eq!(
            Path::new(path),
            self.case.runtime.path.canonicalize().expect("it exists"),
            "{text}"
        );
        assert_eq!(value["log-opts"]["max-size"], "1m");
    }
}

fn install_and_undo(case: &Case) {
    let config = Config::new(case);
    fs::set_permissions(&config.file, PermissionsExt::from_mode(0o600)).expect("it is ours");
    let before = fs::metadata(&config.file).expect("it is there");
    let output = case
        .call(&["install", "docker", "--config", &config.path(), "--default"])
        .ok();
    for text in [
        "A native and a Wasm container have run by wrun itself.",
        "\n+        \"wrun\": {\n",
        "\n     \"debug\": true,\n",
        "systemctl reload docker",
        "daemon.json.wrun-backup",
    ] {
        assert!(output.stdout.contains(text), "{text:?} is not in {output}");
    }
    config.knows_wrun();
    assert!(
        config.text().contains("\"default-runtime\": \"wrun\""),
        "{}",
        config.text()
    );
    assert_eq!(
        fs::metadata(&config.file).expect("it is there").mode() & 0o777,
        0o600
    );
    assert_eq!(config.files(), ["daemon.json", "daemon.json.wrun-backup"]);

    let undone = config.call(&["--undo"]).ok();
    assert!(undone.stdout.contains("systemctl restart docker"), "{undone}");
    let after = fs::metadata(&config.file).expect("it is there");
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    assert_eq!(
        (after.ino(), after.mtime_nsec()),
        (before.ino(), before.mtime_nsec())
    );
    assert!(config.call(&["--undo"]).ok().stdout.contains("nothing to undo"));
}

fn dry_run_writes_nothing(case: &Case) {
    let config = Config::new(case);
    let output = config.call(&["--dry-run"]).ok();
    assert!(output.stdout.contains("+    \"runtimes\": {"), "{output}");
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    let elsewhere = case.path("no/such/directory/config.toml");
    let output = case
        .call(&["install", "containerd", "--config", &elsewhere, "--dry-run"])
        .ok();
    assert!(output.stdout.starts_with("--- /dev/null\n"), "{output}");
    assert!(!case.dir.join("no").exists());
    config.call(&[]).ok();
    let installed = config.text();
    assert!(
        config
            .call(&["--undo", "--dry-run"])
            .ok()
            .stdout
            .contains("-    \"runtimes\": {")
    );
    assert_eq!(config.text(), installed);
}

fn again_there_is_nothing_to_do(case: &Case) {
    for engine in ["docker", "containerd", "podman", "cri-o"] {
        let path = case.path(&format!("{engine}.conf"));
        let call = |words: &[&str]| {
            case.call(&[&["install", engine, "--no-check", "--config", &path], words].concat())
                .ok()
        };
        call(&[]);
        let inode = || fs::metadata(&path).expect("it is there").ino();
        let first = inode();
        assert!(call(&[]).stdout.contains("nothing to do"));
        assert_eq!(inode(), first, "{engine}");
        call(&["--default"]);
        assert!(call(&[]).stdout.contains("nothing to do"), "--default stays");
        call(&["--undo"]);
        assert!(!Path::new(&path).exists(), "{engine}: a file of our own goes");
    }
}

fn two_at_once(case: &Case) {
    let config = Config::new(case);
    for round in 0..5 {
        let start = |words: &[&str]| {
            let arguments = config.arguments(words);
            case.start(case.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        let running = [
            start(&[]),
            start(&["--default"]),
            start(&[]),
            start(&["--default"]),
        ];
        for one in running {
            one.wait().ok();
        }
        config.knows_wrun();
        assert!(config.text().contains("default-runtime"), "round {round}");
        assert_eq!(config.files(), ["daemon.json", "daemon.json.wrun-backup"]);
        let running = [start(&["--undo"]), start(&["--undo"])];
        let told: Vec<_> = running.into_iter().map(|one| one.wait().ok().stdout).collect();
        assert!(
            told.iter().any(|text| text.contains("nothing to undo")),
            "{told:?}"
        );
        assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    }
}

fn what_cannot_be_read_is_left_alone(case: &Case) {
    let config = Config::new(case);
    for (text, culprit) in [
        ("{\n  \"debug\": true,\n}\n", "line 3"),
        ("{\"runtimes\": 3}", "runtimes"),
        ("\u{1}", "line 1"),
    ] {
        fs::write(&config.file, text).expect("it is ours");
        for words in [&[][..], &["--undo"], &["--dry-run"]] {
            let output = config.call(words);
            // An object without us is none of our business where it is undone.
            if output.status.success() && words == ["--undo"] {
                continue;
            }
            case.names(
                &output.code_is(1),
                &["daemon.json", culprit, "nothing is changed"],
            );
        }
        assert_eq!((config.text().as_str(), config.files().len()), (text, 1));
    }
    let toml = case.path("config.toml");
    fs::write(&toml, "version = 2\n[plugins\n").expect("it is ours");
    let output = case.call(&["install", "containerd", "--no-check", "--config", &toml]);
    case.names(&output.code_is(1), &["config.toml", "line 2"]);
    let output = case.call(&[
        "install",
        "containerd",
        "--no-check",
        "--config",
        "/proc/self/mem/x",
    ]);
    case.names(&output.code_is(1), &["/proc/self/mem"]);
}

fn without_rights_nothing_changes(case: &Case) {
    let config = Config::new(case);
    let wrun = case.dir.join("wrun");
    program::copy(&case.runtime.path, &wrun);
    let user = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--",
    ];
    let mut command = std::process::Command::new(user[0]);
    command
        .args(&user[1..])
        .arg(&wrun)
        .args(config.arguments(&[]))
        .env_remove("XDG_RUNTIME_DIR");
    case.names(
        &case.finish(command).code_is(1),
        &["daemon.json", "this needs root"],
    );
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    let mut command = std::process::Command::new(user[0]);
    command
        .args(&user[1..])
        .arg(&wrun)
        .args(["install", "containerd"])
        .env("HOME", &case.dir);
    case.names(&case.finish(command).code_is(1), &["containerd", "root"]);
}

fn a_runtime_that_does_not_work_is_not_installed(case: &Case) {
    let config = Config::new(case);
    let arguments = [
        "install",
        "docker",
        "--config",
        &config.path(),
        "--program",
        "/bin/false",
    ];
    case.names(
        &case.call(&arguments).code_is(1),
        &["nothing is changed", "container does not run"],
    );
    let arguments = [
        "install",
        "docker",
        "--config",
        &config.path(),
        "--program",
        "/etc/passwd",
    ];
    case.names(
        &case.call(&arguments).code_is(1),
        &["/etc/passwd is no executable"],
    );
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
}

/// A container that does not end, and a caller who does: he ends by the signal, after what was made has gone.
fn a_signal_leaves_nothing(case: &Case) {
    let config = Config::new(case);
    let (program, asked) = (case.dir.join("program"), case.dir.join("asked"));
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\ncase \"$*\" in *--force*) exit 0;; esac\nexec sleep 50\n",
        asked.display()
    );
    program::write(&program, script);
    let (program, places) = (program.to_str().expect("UTF-8"), case.dir.join("places"));
    fs::create_dir(&places).expect("a directory");
    let mut command = case.command(&[
        "install",
        "docker",
        "--config",
        &config.path(),
        "--program",
        program,
    ]);
    command.env("TMPDIR", &places);
    let running = case.start(command);
    eventually("the container runs", || {
        let asked = fs::read_to_string(&asked).unwrap_or_default();
        asked.contains(" run ").then_some(())
    });
    assert_eq!(fs::read_dir(&places).expect("it is ours").count(), 1);
    rustix::process::kill_process(pid(running.pid()), rustix::process::Signal::TERM).expect("it runs");
    running.wait().code_is(128 + 15);
    assert_eq!(fs::read_dir(&places).expect("it is ours").count(), 0);
    assert!(read(&asked).contains("delete --force"), "{}", read(&asked));
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
}

/// A stand-in for systemctl tells what it was asked.
fn restart_is_systemd_s(case: &Case) {
    let config = Config::new(case);
    let programs = case.dir.join("programs");
    fs::create_dir(&programs).expect("a directory");
    let systemctl = programs.join("systemctl");
    let asked = case.dir.join("asked");
    let script = |end: &str| format!("#!/bin/sh\necho \"$*\" >> {}\n{end}\n", asked.display());
    let call = |words: &[&str]| {
        let arguments = config.arguments(words);
        let mut command = case.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        case.finish(command)
    };
    program::write(&systemctl, script("exit 0"));
    call(&[]).ok();
    assert!(!asked.exists(), "nothing is restarted unasked");
    call(&["--restart"]).ok();
    call(&["--undo", "--restart", "--dry-run"]).ok();
    assert_eq!(read(&asked), "reload docker\n");
    // A daemon that reloads forgets nothing.
    call(&["--undo", "--restart"]).ok();
    assert_eq!(read(&asked), "reload docker\nrestart docker\n");
    call(&[]).ok();
    program::write(&systemctl, script("exit 1"));
    case.names(
        &call(&["--undo", "--restart"]).code_is(1),
        &["systemctl restart docker failed"],
    );
    assert_eq!(config.text(), DAEMON_JSON);
}

/// Podman reads root's configuration as any user, and fails where it may not.
fn all_can_read_what_is_new(case: &Case) {
    let file = case.path("etc/containers.conf.d/wrun.conf");
    let wrapper = ["sh", "-c", "umask 077 && exec \"$@\"", "x"];
    let words = ["install", "podman", "--no-check", "--config", &file];
    case.finish(case.command_under(&wrapper, &words)).ok();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    let file = Path::new(&file);
    let directory = file.parent().expect("it has one");
    assert_eq!(
        [mode(file), mode(directory), mode(&case.dir.join("etc"))],
        [0o644, 0o755, 0o755]
    );
}

/// Between the two, whoever opened it would read on.
fn what_is_secret_stays_so(case: &Case) {
    let config = Config::new(case);
    fs::set_permissions(&config.file, PermissionsExt::from_mode(0o600)).expect("it is ours");
    let log = case.path("strace");
    let wrapper = [
        "strace",
        "-f",
        "-o",
        &log,
        "-e",
        "trace=open,openat,openat2,chmod,fchmod",
    ];
    let arguments = config.arguments(&[]);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    case.finish(case.command_under(&wrapper, &words)).ok();
    let log = read(Path::new(&log));
    let made: Vec<_> = log
        .lines()
        .filter(|line| line.contains("O_CREAT") && line.contains(".wrun-new"))
        .collect();
    assert!(made.len() == 1 && made[0].contains(", 0600)"), "{made:?}");
}

/// Whoever can open the directory can lock it for ever.
fn a_lock_of_others_is_told(case: &Case) {
    let config = Config::new(case);
    let directory = fs::File::open(&config.dir).expect("it is ours");
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive).expect("nobody else has it");
    case.names(&config.call(&[]).code_is(1), &["lock", "another process"]);
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
}

fn a_home_is_needed(case: &Case) {
    let wrun = case.dir.join("wrun");
    program::copy(&case.runtime.path, &wrun);
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&wrun)
        .args(["install", "podman", "--dry-run"])
        .env_remove("HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_RUNTIME_DIR");
    case.names(&case.finish(command).code_is(1), &["XDG_CONFIG_HOME", "HOME"]);
}

/// A tmpfs of a few pages in a mount namespace of the test's own: what was there is there afterwards, and all of it.
fn full_disk(case: &Case) {
    let config = Config::new(case);
    let script = "mount --make-rprivate / && cp \"$0/daemon.json\" \"$0/../kept\" && \
        mount -t tmpfs -o size=8k none \"$0\" && cp \"$0/../kept\" \"$0/daemon.json\" && \
        { dd if=/dev/zero of=\"$0/filler\" bs=4k count=9 2>/dev/null; \
          \"$@\"; code=$?; cmp \"$0/../kept\" \"$0/daemon.json\" && ls -A \"$0\"; exit $code; }";
    let wrapper = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        config.dir.to_str().expect("UTF-8"),
    ];
    let arguments = config.arguments(&[]);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = case.finish(case.command_under(&wrapper, &words)).code_is(1);
    case.names(&output, &["no space left", ".daemon.json.wrun-new"]);
    assert_eq!(output.lines(), ["daemon.json", "filler"], "{output}");
}

/// The same command again does it, and an undo finds what was there at the beginning.
fn killed_at_each_call(case: &Case) {
    let config = Config::new(case);
    let arguments = config.arguments(&["--default"]);
    for count in 1.. {
        let output = killed_before(case, count, &arguments);
        let killed = output.code() == 128 + 9;
        if config.text() != DAEMON_JSON {
            config.knows_wrun();
        }
        config.call(&["--default"]).ok();
        config.knows_wrun();
        assert_eq!(
            config.files(),
            ["daemon.json", "daemon.json.wrun-backup"],
            "killed at {count}"
        );
        config.call(&["--undo"]).ok();
        assert_eq!(
            (config.text().as_str(), config.files().len()),
            (DAEMON_JSON, 1),
            "killed at {count}"
        );
        if !killed {
            output.ok();
            assert!(count > 8, "it was killed only {count} times");
            return;
        }
    }
}

fn undo_killed_at_each_call(case: &Case) {
    let config = Config::new(case);
    let arguments = config.arguments(&["--undo"]);
    for count in 1.. {
        config.call(&[]).ok();
        let output = killed_before(case, count, &arguments);
        if config.text() != DAEMON_JSON {
            config.knows_wrun();
        }
        config.call(&["--undo"]).ok();
        assert_eq!(
            (config.text().as_str(), config.files().len()),
            (DAEMON_JSON, 1),
            "killed at {count}"
        );
        if output.code() != 128 + 9 {
            output.ok();
            assert!(count > 3, "it was killed only {count} times");
            return;
        }
    }
}
