//! Compiled code is kept, found again, and trusted only where it is ours.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(warm_start_does_not_compile),
        test!(cache_is_for_its_owner_alone),
        test!(tampered_cache_entry_is_not_run),
        test!(cache_that_cannot_be_used_does_not_matter),
        test!(one_compilation_serves_many_starts),
        test!(code_compiled_ahead_serves_the_first_start),
        test!(pruning_breaks_no_running_container),
        test!(planted_and_damaged_files_are_found_and_removed),
    ]
}

/// The names, sizes and times of the cache's files of compiled code.
pub(super) fn entries(cache: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let Ok(files) = fs::read_dir(cache) else {
        return BTreeMap::new();
    };
    files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().ends_with(".code"))
        .map(|file| {
            let metadata = file.metadata().expect("an entry");
            let about = (
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ino(),
            );
            (file.file_name().to_string_lossy().into_owned(), about)
        })
        .collect()
}

fn warm_start_does_not_compile(case: &Case) {
    let cache = case.dir.join("cache");
    let container = guest_with(case, "hello", &[], |_| {});
    container.run().ok();
    let cold = entries(&cache);
    assert_eq!(cold.len(), 1, "{cold:?}");
    container.run().ok();
    assert_eq!(entries(&cache), cold);
    // The same bytes in another image are the same code; the text of it as well, once it is compiled.
    let other = case.container(&["/elsewhere/program"]);
    other.write("elsewhere/program", guest::binary("hello"), 0o644);
    other.run().ok();
    assert_eq!(entries(&cache), cold);
    run_guest(case, "exit", &[]).ok();
    assert_eq!(entries(&cache).len(), 2);
}

fn cache_is_for_its_owner_alone(case: &Case) {
    run_guest(case, "hello", &[]).ok();
    let cache = case.dir.join("cache");
    assert_eq!(fs::metadata(&cache).expect("the cache").mode() & 0o777, 0o700);
    for file in fs::read_dir(&cache).expect("the cache").flatten() {
        // Its directory lets nobody else in; read-only, so that what is mapped never changes.
        assert_eq!(
            file.metadata().expect("it").mode() & 0o022,
            0,
            "{}",
            file.path().display()
        );
    }
}

fn tampered_cache_entry_is_not_run(case: &Case) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    run_guest(case, "hello", &[]).ok();
    let cache = case.dir.join("cache");
    let (name, _) = entries(&cache).into_iter().next().expect("an entry");
    let path = cache.join(name);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
    let file = fs::File::options().write(true).open(&path).expect("it is ours");
    file.write_all_at(&[0xcc; 1024], 4096).expect("it is long enough");
    drop(file);
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
}

fn cache_that_cannot_be_used_does_not_matter(case: &Case) {
    // A file where the directory should be; a link; another's directory.
    fs::write(case.dir.join("cache"), "").expect("a file");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    fs::remove_file(case.dir.join("cache")).expect("it is ours");
    symlink("/tmp", case.dir.join("cache")).expect("a link");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    fs::remove_file(case.dir.join("cache")).expect("it is ours");
    fs::create_dir(case.dir.join("cache")).expect("a directory");
    std::os::unix::fs::chown(case.dir.join("cache"), Some(1234), None).expect("chown");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    assert_eq!(
        fs::read_dir(case.dir.join("cache")).expect("it").count(),
        0,
        "written into another's directory"
    );
}

fn one_compilation_serves_many_starts(case: &Case) {
    let containers: Vec<_> = (0..8).map(|_| guest_with(case, "hello", &[], |_| {})).collect();
    let running: Vec<_> = containers
        .iter()
        .map(|container| case.start(container.command("run", &[])))
        .collect();
    for run in running {
        assert!(run.wait().ok().stdout.contains("Hello from Wasm"));
    }
    assert_eq!(entries(&case.dir.join("cache")).len(), 1);
}

fn code_compiled_ahead_serves_the_first_start(case: &Case) {
    let file = case.dir.join("elsewhere.wasm");
    fs::write(&file, guest::large("hello")).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let compile = |flags: &[&str]| case.call(&[&["wasm", "compile"], flags, &[file]].concat());
    let said = compile(&[]).ok().stdout;
    assert!(
        said.contains("core module") && said.contains(" bytes, "),
        "{said}"
    );
    assert!(said.ends_with(" ms\n"), "{said}");
    assert!(compile(&[]).ok().stdout.ends_with(", cached\n"));
    let ahead = entries(&case.dir.join("cache"));
    assert_eq!(ahead.len(), 1);
    let container = case.container(&["/program"]);
    container.write("program", guest::large("hello"), 0o644);
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
    assert_eq!(entries(&case.dir.join("cache")), ahead);
    // Code that counts fuel, and code for another function, are others.
    compile(&["--fuel"]).ok();
    let error = compile(&["--export", "nowhere"]).error();
    assert!(error.contains("nowhere") && error.contains("_start"), "{error}");
    let rows = case.call(&["wasm", "list", "--format", "json"]).ok().json();
    let counts: Vec<_> = rows
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| &row["fuel"])
        .collect();
    assert!(counts.len() == 2 && counts.contains(&&json!(true)), "{rows}");
    for (name, reason) in [
        ("imports", "launch_rocket"),
        ("nothing", "exports nothing to run"),
    ] {
        let file = case.dir.join(format!("{name}.wasm"));
        fs::write(&file, guest::binary(name)).expect("a file");
        let error = case
            .call(&["wasm", "compile", file.to_str().expect("UTF-8")])
            .error();
        assert!(error.contains(reason), "{error}");
    }
    // Nobody writes into it, and nobody is waited for.
    let fifo = case.dir.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).expect("a FIFO");
    case.call(&["wasm", "compile", fifo.to_str().expect("UTF-8")])
        .error();
    let error = case.call(&["wasm", "compile", "/bin/true"]).error();
    assert!(error.contains("/bin/true") && error.contains("ELF"), "{error}");
}

fn pruning_breaks_no_running_container(case: &Case) {
    let (container, run) = start_endless(case, "sleep", "sleeping");
    run_guest(case, "hello", &[]).ok();
    let cache = case.dir.join("cache");
    assert_eq!(entries(&cache).len(), 2);
    let prune = |flags: &[&str]| case.call(&[&["wasm", "prune"], flags].concat());
    assert!(!prune(&[]).status.success(), "it must be said what is to go");
    assert_eq!(
        prune(&["--older-than", "1d"]).ok().stdout,
        "removed 0 entries, 0 bytes\n"
    );
    assert_eq!(
        prune(&["--size", "1000000"]).ok().stdout,
        "removed 0 entries, 0 bytes\n"
    );
    // The one that was used last stays.
    let large = entries(&cache).values().map(|about| about.0).max().expect("two");
    assert_eq!(prune(&["--size", &large.to_string()]).ok().lines().len(), 2);
    assert_eq!(entries(&cache).len(), 1);
    fs::write(cache.join(format!("{}.lock", "0".repeat(64))), "").expect("as a killed process leaves it");
    let said = prune(&["--all"]).ok().stdout;
    assert!(said.contains("removed 1 entries"), "{said}");
    let left: Vec<_> = fs::read_dir(&cache)
        .expect("it")
        .flatten()
        .map(|file| file.file_name())
        .collect();
    assert!(left.iter().all(|name| name == "seccomp"), "{left:?}");
    assert_eq!(container.status(), "running");
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
}

fn planted_and_damaged_files_are_found_and_removed(case: &Case) {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        case.call(&["wasm", "verify"]).ok().stdout,
        "0 entries are sound, 0 files are not\n"
    );
    run_guest(case, "hello", &[]).ok();
    run_guest(case, "exit", &[]).ok();
    let cache = case.dir.join("cache");
    let verify = || case.call(&["wasm", "verify"]);
    assert_eq!(verify().ok().stdout, "2 entries are sound, 0 files are not\n");
    let name = entries(&cache).into_keys().next().expect("two");
    let sound = fs::read(cache.join(&name)).expect("it");
    let key = |digit: char| format!("{}.code", digit.to_string().repeat(64));
    // One bit, with its times as they were; a sound entry under another name; a link; others' files.
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    fs::remove_file(cache.join(&name)).expect("it is ours");
    fs::write(cache.join(&name), flipped).expect("a file");
    fs::write(cache.join(key('1')), &sound).expect("a file");
    symlink("/etc/passwd", cache.join(key('2'))).expect("a link");
    fs::write(cache.join(key('3')), &sound).expect("a file");
    std::os::unix::fs::chown(cache.join(key('3')), Some(1234), None).expect("chown");
    fs::write(cache.join(key('4')), &sound).expect("a file");
    fs::set_permissions(cache.join(key('4')), PermissionsExt::from_mode(0o666)).expect("chmod");
    fs::create_dir(cache.join(key('5'))).expect("a directory");
    fs::write(cache.join("README"), "").expect("a file");
    let said = verify().code_is(1).stdout;
    for (culprit, problem) in [
        (name.clone(), "is not what was written under this name; removed"),
        (key('1'), "is not what was written under this name; removed"),
        (key('2'), "is a symbolic link; removed"),
        (key('3'), "belongs to another user; removed"),
        (key('4'), "can be written by other users; removed"),
        (key('5'), "is not a regular file; left where it is"),
        ("README".to_owned(), "is no file of the cache's; left where it is"),
    ] {
        assert!(
            said.contains(&format!("{culprit}: {problem}\n")),
            "{culprit}: {said}"
        );
    }
    assert!(said.ends_with("1 entries are sound, 7 files are not\n"), "{said}");
    fs::remove_dir(cache.join(key('5'))).expect("it was left");
    fs::remove_file(cache.join("README")).expect("it was left");
    assert_eq!(verify().ok().stdout, "1 entries are sound, 0 files are not\n");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    run_guest(case, "exit", &[]).ok();
}
