//! The cache: what it keeps, what it trusts, and what it does without.

use super::*;

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
        assert!(metadata.is_file() && metadata.mode() & 0o022 == 0);
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
        provide(file, &named("/large.wat"), cache_in(&dir), &confine()).expect("compiles")
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
    assert!(provide(file, &named("/large.wat"), cache_in(&dir), &confine()).is_err());
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

alone! {
    fn entries_cannot_be_opened_anew_for_writing() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            let provided = provide_guest("exit.wat", cache_in(&dir)).expect("provided");
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&provided.code));
            let error = File::options().write(true).open(path).expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        }
        let provided = provide_guest("exit.wat", no_cache()).expect("compiles");
        let error = File::from(provided.code).write_at(b"x", 0).expect_err("sealed");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}

alone! {
    fn large_files_of_an_image_are_known_again_through_another_overlay() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        use nix::mount::{MsFlags, mount};
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["low", "up", "work", "merged"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        let mut text = b"(module (func (export \"_start\")))".to_vec();
        text.resize(300 << 10, b' ');
        std::fs::write(dir.path().join("low/large.wat"), &text).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(3100));
        let notes = || {
            let files = std::fs::read_dir(dir.path().join("cache")).expect("the cache");
            files.filter(|file| file.as_ref().expect("a file").path().extension().unwrap() == "file").count()
        };
        for round in 0..3 {
            let pid = fork::run_in_child(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshared");
                let none: Option<&str> = None;
                mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private");
                let at = |name: &str| dir.path().join(name).display().to_string();
                let data = format!("lowerdir={},upperdir={},workdir={}", at("low"), at("up"), at("work"));
                let merged = at("merged");
                let options = Some(data.as_str());
                mount(Some("overlay"), merged.as_str(), Some("overlay"), MsFlags::empty(), options)
                    .expect("mounted");
                let file = File::open(format!("{merged}/large.wat")).expect("opened");
                let provided = provide(file, &named("/large.wat"), cache_in(&dir), &confine()).expect("provided");
                u8::from(provided.compiled)
            });
            let pid = pid.expect("a child");
            let end = waitpid(pid, None).expect("its end");
            assert_eq!(end, WaitStatus::Exited(pid, i32::from(round == 0)));
            // Noted at the first hit, and known from then on, though each mount has its own device number.
            assert_eq!(notes(), usize::from(round > 0));
        }
    }
}
