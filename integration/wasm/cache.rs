//! Compiled code is kept, found again, and trusted only where it is ours.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(warm_start_does_not_compile),
        test!(cache_is_for_its_owner_alone),
        test!(tampered_cache_entry_is_not_run),
        test!(cache_that_cannot_be_used_does_not_matter),
        test!(one_compilation_serves_many_starts),
    ]
}

/// The names, sizes and times of the cache's files of compiled code.
fn entries(cache: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
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
