//! Files of this machine, and a root made here.

use std::fs;
use std::os::fd::AsFd as _;

use super::*;
use crate::workload::wasm::spin::manifest::Manifest;

fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

fn collected(files: &str, copies: &Path) -> Result<Vec<Mount>, ManifestError> {
    collected_without(&["/runtime-config.toml", ".spin"], files, copies)
}

fn collected_without(hidden: &[&str], files: &str, copies: &Path) -> Result<Vec<Mount>, ManifestError> {
    let manifest = Manifest::parse(&format!(
        "spin_manifest_version = 2\n[application]\nname = 'a'\n[[trigger.http]]\nroute = '/'\n\
         component = 'a'\n[component.a]\nsource = 'a.wasm'\nfiles = [{files}]\n"
    ))?;
    let directory = fs::File::open(copies).expect("a directory");
    let hidden = hidden.iter().map(PathBuf::from);
    Collector::new(open, Some(directory.as_fd()), hidden).collect("a", &manifest.components["a"])
}

#[test]
fn what_is_the_runtime_s_is_not_shown() {
    let copies = tempfile::tempdir().expect("a directory");
    for files in [
        "'/.spin'",
        "'.spin/*.db'",
        "'runtime-config.toml'",
        "{ source = './.spin', destination = '/x' }",
    ] {
        let error = collected(files, copies.path()).expect_err(files).to_string();
        assert!(error.contains("component.a.files[0]: /"), "{error}");
    }
    let collector = Collector::new(open, None, [PathBuf::from(".spin")]);
    let hidden = |path: &str| collector.hides(Path::new(path));
    assert_eq!(hidden(".spin/sqlite_db.db"), Some(Path::new(".spin")));
    assert_eq!(hidden(".spinner").or(hidden("a/.spin")), None);
}

/// The image's author makes the links, and another one the configuration.
#[test]
fn no_link_leads_to_what_is_the_runtime_s() {
    let root = tempfile::tempdir().expect("a directory");
    let at = |name: &str| root.path().join(name).to_str().expect("text").to_owned();
    fs::create_dir(at("state")).expect("a directory");
    fs::create_dir(at("assets")).expect("a directory");
    for file in ["secret", "state/a.db", "assets/a.txt"] {
        fs::write(at(file), file).expect("a file");
    }
    for (name, target) in [
        ("link", "secret"),
        ("far", "/../link"),
        ("kept", "state"),
        ("up", "assets/.."),
        ("shown", "assets"),
        ("assets/link.txt", "../secret"),
        ("assets/own.txt", "a.txt"),
    ] {
        let target = match target.strip_prefix("/../") {
            Some(name) => at(name),
            None => target.to_owned(),
        };
        std::os::unix::fs::symlink(target, at(name)).expect("a link");
    }
    let hidden = [at("secret"), at("kept")];
    let hidden = hidden.each_ref().map(String::as_str);
    let collected = |files: &str| {
        let copies = tempfile::tempdir().expect("a directory");
        collected_without(&hidden, files, copies.path()).map(|mounts| (mounts, copies))
    };
    for name in [
        "secret",
        "link",
        "far",
        "state",
        "kept",
        "kept/a.db",
        "kept/*.db",
        "up/state",
        "up/link",
    ] {
        let error = collected(&format!("'{}'", at(name))).expect_err(name).to_string();
        assert!(error.contains("is the runtime's"), "{name}: {error}");
    }
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("read");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.collect::<BTreeSet<_>>()
    };
    let (_, copies) =
        collected(&format!("{{ source = '{}', destination = '/' }}", at("up"))).expect("copied");
    let shown = copies.path().join("a");
    assert!(names(&shown).iter().eq(["assets"]), "{:?}", names(&shown));
    assert!(names(&shown.join("assets")).iter().eq(["a.txt", "own.txt"]));
    let (_, copies) = collected(&format!("'{}'", at("shown/*.txt"))).expect("copied");
    let shown = copies.path().join(format!("a{}", at("shown")));
    assert!(
        names(&shown).iter().eq(["a.txt", "own.txt"]),
        "{:?}",
        names(&shown)
    );
    let (mounts, _) =
        collected(&format!("{{ source = '{}', destination = '/x' }}", at("shown"))).expect("shown");
    let real = Mount {
        place: Place::Root(PathBuf::from(at("assets"))),
        guest: "/x".to_owned(),
    };
    assert_eq!(mounts, [real]);
}

/// /dev/shm is a file system of its own in every container, and nearly everywhere else.
#[test]
fn a_pattern_does_not_leave_its_file_system() {
    let device = |path: &str| rustix::fs::stat(path).map(|status| status.st_dev);
    if device("/dev/shm").is_err() || device("/dev/shm") == device("/dev") {
        return;
    }
    let there = tempfile::tempdir_in("/dev/shm").expect("a directory");
    fs::write(there.path().join("wrun-file"), "x").expect("a file");
    let from_root = there.path().strip_prefix("/").expect("absolute");
    let below = format!("'{}/**/wrun-file'", from_root.display());
    for (files, shown) in [("'dev/**/wrun-file'", false), (below.as_str(), true)] {
        let copies = tempfile::tempdir().expect("a directory");
        collected(files, copies.path()).expect(files);
        let copy = copies.path().join("a").join(from_root).join("wrun-file");
        assert_eq!(copy.exists(), shown, "{files}");
    }
}
