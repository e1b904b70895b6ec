//! Every edit on real-looking files: `BLESS=1 cargo test --lib golden` writes spec-fixtures/install/*.after.* anew.
//! Whatever is written must be found again, change nothing a second time, and go away without a trace.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;

/// The fixtures: engine, name, extension. Those with no `.before` file begin from nothing.
const CASES: [(Engine, &str, &str); 13] = [
    (Engine::Docker, "docker-fresh", "json"),
    (Engine::Docker, "docker", "json"),
    (Engine::Docker, "docker-one-line", "json"),
    (Engine::Docker, "docker-shim", "json"),
    (Engine::Containerd, "containerd-fresh", "toml"),
    (Engine::Containerd, "containerd-1", "toml"),
    (Engine::Containerd, "containerd-2", "toml"),
    (Engine::Containerd, "containerd-2-runc", "toml"),
    (Engine::Containerd, "containerd-3", "toml"),
    (Engine::Podman, "podman-fresh", "toml"),
    (Engine::Podman, "podman", "toml"),
    (Engine::Crio, "crio-fresh", "toml"),
    (Engine::Crio, "crio", "toml"),
];

fn part(default: bool) -> Part {
    Part {
        program: "/usr/bin/wrun".to_owned(),
        default,
        systemd_cgroup: true,
        annotations: true,
        file_version: 3,
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("spec-fixtures/install")
        .join(name)
}

#[test]
fn golden_edits() {
    for (engine, name, extension) in CASES {
        let before = fs::read_to_string(fixture(&format!("{name}.before.{extension}"))).ok();
        assert_eq!(before.is_none(), name.ends_with("fresh"), "{name}");
        for (default, end) in [(false, "after"), (true, "default")] {
            let part = Part {
                // A newer containerd takes no runtimes of a file of version 1.
                file_version: if name == "containerd-1" { 2 } else { 3 },
                ..part(default)
            };
            let after = edit::insert(engine, before.as_deref(), &part).unwrap();
            let golden = fixture(&format!("{name}.{end}.{extension}"));
            if std::env::var_os("BLESS").is_some() {
                fs::write(&golden, &after).unwrap();
            }
            assert_eq!(
                fs::read_to_string(&golden).unwrap_or_default(),
                after,
                "{}",
                golden.display()
            );
            holds(engine, before.as_deref(), &after, &part);
        }
    }
    let used = |file: &str| {
        CASES
            .iter()
            .any(|(_, name, _)| file.split('.').next() == Some(name))
    };
    for entry in fs::read_dir(fixture("")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(used(&file), "spec-fixtures/install/{file} is used by no test");
    }
}

/// What must hold of every edit.
fn holds(engine: Engine, before: Option<&str>, after: &str, part: &Part) {
    let default = part.default;
    let with_default = |default| Part {
        default,
        ..part.clone()
    };
    let found = edit::found(engine, after).unwrap().unwrap();
    assert_eq!(
        (found.program.as_str(), found.default),
        ("/usr/bin/wrun", default)
    );
    assert_eq!(
        edit::insert(engine, Some(after), &with_default(false)).unwrap(),
        after,
        "again without --default"
    );
    assert_eq!(edit::insert(engine, Some(after), part).unwrap(), after, "again");
    // By which an undo knows that nobody else has changed it.
    assert_eq!(edit::insert(engine, before, &found).unwrap(), after, "as found");
    let removed = edit::remove(engine, after, before).unwrap();
    assert_eq!(edit::found(engine, &removed).unwrap(), None, "{removed}");
    let elsewhere = Part {
        program: "/opt/wrun".to_owned(),
        ..part.clone()
    };
    let moved = edit::insert(engine, Some(after), &elsewhere).unwrap();
    assert_eq!(moved.replace("/opt/wrun", "/usr/bin/wrun"), after, "another path");
}

#[test]
fn containerd_1_keeps_runc() {
    let part = Part {
        file_version: 2,
        ..part(false)
    };
    let text = edit::insert(Engine::Containerd, None, &part).unwrap();
    assert!(
        text.contains("version = 2") && text.contains("containerd.runtimes.runc]"),
        "{text}"
    );
}

#[test]
fn one_change_after_the_other_comes_to_the_same_as_one() {
    for engine in Engine::ALL {
        let first = edit::insert(engine, None, &part(false)).unwrap();
        let second = edit::insert(engine, Some(&first), &part(true)).unwrap();
        assert_eq!(second, edit::insert(engine, None, &part(true)).unwrap());
        assert_eq!(edit::insert(engine, Some(&second), &part(false)).unwrap(), second);
    }
}

#[test]
fn a_default_of_before_comes_back() {
    let before = fs::read_to_string(fixture("docker.before.json")).unwrap();
    let after = edit::insert(Engine::Docker, Some(&before), &part(true)).unwrap();
    assert_eq!(
        edit::remove(Engine::Docker, &after, Some(&before)).unwrap(),
        before
    );
    assert!(
        !edit::remove(Engine::Docker, &after, None)
            .unwrap()
            .contains("default-runtime")
    );
    let before = fs::read_to_string(fixture("podman.before.toml")).unwrap();
    let after = edit::insert(Engine::Podman, Some(&before), &part(true)).unwrap();
    assert_eq!(
        edit::remove(Engine::Podman, &after, Some(&before)).unwrap(),
        before
    );
}

#[test]
fn what_cannot_be_edited_is_told() {
    for (engine, text, reason) in [
        (Engine::Docker, "{\n \"runtimes\": [],\n}", "line 3: "),
        (Engine::Docker, "{\"runtimes\": []}", "runtimes is not an object"),
        (Engine::Containerd, "version = 2\nversion = 2\n", "line 2: "),
        (Engine::Containerd, "version = 9\n", "version 9 is not known"),
        (Engine::Containerd, "oom_score = 1\n", "version 1 (or tells none)"),
        (
            Engine::Containerd,
            "version = 'two'\n",
            "version 'two' is not known",
        ),
        (Engine::Podman, "engine = 1\n", "engine is not a table"),
        (Engine::Crio, "[crio.runtime\n", "line 1: "),
    ] {
        let error = edit::insert(engine, Some(text), &part(false)).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn install_and_undo_bring_back_the_very_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    fs::write(&path, "{\"debug\": true}").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(
        !install(Engine::Docker, &path, &part(false), true)
            .unwrap()
            .diff
            .is_empty()
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"debug\": true}",
        "a dry run writes nothing"
    );

    install(Engine::Docker, &path, &part(false), false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(
        look(Engine::Docker, &path).unwrap().unwrap().part.program,
        "/usr/bin/wrun"
    );
    // A second change of ours is undone with the first.
    install(Engine::Docker, &path, &part(true), false).unwrap();
    assert!(
        install(Engine::Docker, &path, &part(true), false)
            .unwrap()
            .diff
            .is_empty()
    );
    let undone = undo(Engine::Docker, &path, false).unwrap();
    assert!(undone.notes.is_empty(), "{undone:?}");
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(undo(Engine::Docker, &path, false).unwrap().diff.is_empty());
}

#[test]
fn a_file_of_our_own_goes_as_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("containers.conf.d/wrun.conf");
    install(Engine::Podman, &path, &part(true), false).unwrap();
    assert!(
        undo(Engine::Podman, &path, true)
            .unwrap()
            .diff
            .contains("+++ /dev/null")
    );
    undo(Engine::Podman, &path, false).unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn changes_of_others_survive_the_undo() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    fs::write(&path, "{}\n").unwrap();
    install(Engine::Docker, &path, &part(true), false).unwrap();
    let text = fs::read_to_string(&path)
        .unwrap()
        .replacen('{', "{\n  \"debug\": true,", 1);
    fs::write(&path, text).unwrap();
    let undone = undo(Engine::Docker, &path, false).unwrap();
    assert!(undone.notes[0].contains("changed by others"), "{undone:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("debug") && !text.contains("wrun") && !text.contains("runtime"),
        "{text}"
    );
    // Another installation does not lose the older backup.
    let again = install(Engine::Docker, &path, &part(false), false).unwrap();
    assert!(again.notes[0].contains("wrun-backup.1"), "{again:?}");
    assert_eq!(
        fs::read_to_string(directory.path().join("daemon.json.wrun-backup.1")).unwrap(),
        "{}\n"
    );
    assert_eq!(
        fs::read_to_string(directory.path().join("daemon.json.wrun-backup")).unwrap(),
        text
    );
}

#[test]
fn a_link_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (
        directory.path().join("real.json"),
        directory.path().join("daemon.json"),
    );
    fs::write(&real, "{}").unwrap();
    std::os::unix::fs::symlink("real.json", &link).unwrap();
    install(Engine::Docker, &link, &part(false), false).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("wrun"));
    fs::remove_file(&real).unwrap();
    let error = install(Engine::Docker, &link, &part(false), false).unwrap_err();
    assert!(
        error.to_string().contains("daemon.json: cannot open it"),
        "{error}"
    );
}

#[test]
fn what_is_no_configuration_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    for bytes in [&b"{"[..], b"\xff"] {
        fs::write(&path, bytes).unwrap();
        let error = install(Engine::Docker, &path, &part(false), false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("daemon.json") && error.ends_with("nothing is changed"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    assert!(install(Engine::Docker, directory.path(), &part(false), false).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Somebody has written us into the file by hand, and `install --default` took that for the backup.
#[test]
fn a_backup_that_names_us_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    let by_hand = "{\"debug\": true, \"runtimes\": {\"wrun\": {\"path\": \"/usr/bin/wrun\"}}}";
    fs::write(&path, by_hand).unwrap();
    install(Engine::Docker, &path, &part(true), false).unwrap();
    let undone = undo(Engine::Docker, &path, false).unwrap();
    assert!(undone.notes[0].contains("names wrun, too"), "{undone:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"debug\": true}");
    assert_eq!(look(Engine::Docker, &path).unwrap(), None);
    assert!(undo(Engine::Docker, &path, false).unwrap().diff.is_empty());
}

/// What an older wrun has written is not what this one would write.
#[test]
fn a_file_of_an_older_wrun_is_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrun.conf");
    let older = "# Made by `wrun install podman`; take it away with --undo.\n\n[engine.runtimes]\n\
                 wrun = [\"/usr/bin/wrun\"]\n";
    fs::write(&path, older).unwrap();
    install(Engine::Podman, &path, &part(false), false).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        edit::insert(Engine::Podman, None, &part(false)).unwrap()
    );
    fs::write(&path, older).unwrap();
    undo(Engine::Podman, &path, false).unwrap();
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "no file, no backup"
    );
    // What somebody has added is his.
    fs::write(&path, format!("{older}\n[network]\n")).unwrap();
    undo(Engine::Podman, &path, false).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("[network]"));
}

#[test]
fn an_undo_that_knows_of_an_older_installation_brings_the_file_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("containers.conf");
    let before = fs::read_to_string(fixture("podman.before.toml")).unwrap();
    fs::write(&path, &before).unwrap();
    install(Engine::Podman, &path, &part(false), false).unwrap();
    // An older wrun did not name the lists of what runtimes can do.
    let lines: Vec<_> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let older: String = lines
        .iter()
        .filter(|line| !line.starts_with("runtime_supports"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, older).unwrap();
    let undone = undo(Engine::Podman, &path, false).unwrap();
    assert!(undone.notes.is_empty(), "{undone:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn what_was_replaced_comes_back() {
    for (engine, before, other) in [
        (
            Engine::Docker,
            "{\"runtimes\": {\"wrun\": {\"runtimeType\": \"io.containerd.wasmtime.v1\"}}, \"default-runtime\": \"crun\"}\n",
            "\n",
        ),
        (
            Engine::Podman,
            "[engine]\nruntime = \"crun\"\nruntime_supports_nocgroup = [\"crun\", \"mine\"]\n\n\
             [engine.platform_to_oci_runtime]\n\"wasi/wasm\" = \"crun-wasm\"\n",
            "\n# changed since then\n",
        ),
    ] {
        let after = edit::insert(engine, Some(before), &part(true)).unwrap();
        assert_eq!(
            edit::remove(engine, &after, Some(before))
                .unwrap()
                .replace(": {\"runtimeType\":\"", ": {\"runtimeType\": \""),
            before
        );
        let changed = edit::remove(engine, &(after + other), Some(before)).unwrap();
        assert!(changed.starts_with(&before[..20]), "{changed}");
    }
}

#[test]
fn the_form_of_a_text_stays() {
    for before in [
        "\u{feff}version = 2\r\n# end\r\n[debug]\r\nlevel = \"warn\"\r\n",
        "version = 2\n[debug]\nlevel = \"warn\"",
    ] {
        let after = edit::insert(Engine::Containerd, Some(before), &part(true)).unwrap();
        assert!(after.starts_with(before), "{after:?}");
        let crlf = before.contains("\r\n");
        assert_eq!(
            after.matches('\n').count(),
            after
                .matches("\r\n")
                .count()
                .max(if crlf { 0 } else { after.matches('\n').count() })
        );
        let removed = edit::remove(Engine::Containerd, &after, Some(before)).unwrap();
        assert!(
            removed.starts_with(before) && removed.contains("\r\n") == crlf,
            "{removed:?}"
        );
    }
    let mixed = "version = 2\r\n[debug]\n";
    let error = edit::insert(Engine::Containerd, Some(mixed), &part(false)).unwrap_err();
    assert!(error.contains("CR LF"), "{error}");
}

#[test]
fn what_others_write_meanwhile_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    fs::write(&path, "{}").unwrap();
    let target = file::Target::open(&path, true).unwrap();
    let meanwhile = |_: &Path| {
        fs::write(&path, "{\"debug\": true}").unwrap();
        Ok(())
    };
    let error = target.replace(Some("{}"), "{\"x\": 1}", file::Keep::Always, meanwhile);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("somebody else changes it")
    );
    assert!(target.write("{}", "{\"x\": 1}").is_err() && target.restore("{}", false).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"debug\": true}");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing is left over"
    );
}

#[test]
fn an_undo_of_nothing_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker/daemon.json");
    assert!(undo(Engine::Docker, &path, false).unwrap().diff.is_empty());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_link_does_not_lead_nowhere_after_an_undo() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    install(Engine::Docker, &real, &part(false), false).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    undo(Engine::Docker, &link, false).unwrap();
    assert_eq!(look(Engine::Docker, &link).unwrap(), None);
    assert!(real.exists());
}

#[test]
fn versions_are_read_out_of_what_engines_say() {
    for (text, version) in [
        (
            "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n",
            (1, 6),
        ),
        (
            "containerd github.com/containerd/containerd/v2 v2.1.9 abcdef\n",
            (2, 1),
        ),
        ("Docker version 20.10.24+dfsg1, build 297e128\n", (20, 10)),
        ("crio version 1.30.0\nGitCommit: x\n", (1, 30)),
    ] {
        assert_eq!(version_in(text), Some(version), "{text}");
    }
    assert_eq!(version_in("no version"), None);
}
