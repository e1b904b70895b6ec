//! Large modules: started on quickly compiled code, optimised for the next start.

use std::time::{Duration, Instant};

use super::*;
use crate::cgroup::Room;
use crate::workload::wasm::provide::LARGE;

/// A guest's binary, made large by a custom section that no compiler looks at.
fn large(text: &str) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).expect("the guest's text");
    let mut section = vec![1, b'x'];
    section.resize(LARGE as usize, 0);
    bytes.push(0);
    let mut length = section.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(section);
    bytes
}

fn large_guest(name: &str) -> Vec<u8> {
    large(&std::fs::read_to_string(guest_path(name)).expect("the guest's source"))
}

fn provide_with(
    bytes: &[u8],
    cache: Result<Cache, CacheError>,
    options: &GuestOptions,
) -> Result<Provided, WasmError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    let request = Request {
        options,
        ..named("/large.wasm")
    };
    provide(file.reopen().expect("opened"), &request, cache, &confine())
}

fn provide_large(bytes: &[u8], cache: Result<Cache, CacheError>) -> Provided {
    provide_with(bytes, cache, &GuestOptions::default()).expect("provided")
}

fn tier_without_cache(bytes: &[u8], options: &GuestOptions) -> Tier {
    let provided = provide_with(bytes, no_cache(), options).expect("provided");
    assert!(provided.later.is_none(), "nothing could be kept");
    provided.build.tier
}

/// A process that lives until its end of the pipe is dropped, in the container's place.
fn someone() -> (OwnedFd, std::io::PipeWriter) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let inherited = std::os::fd::AsRawFd::as_raw_fd(&writer);
    let pid = fork::run_in_child(|| {
        nix::unistd::close(inherited).expect("closed");
        reader.read_to_end(&mut Vec::new()).map_or(1, |_| 0)
    });
    let pid = rustix::process::Pid::from_raw(pid.expect("a child").as_raw()).expect("a pid");
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    (pidfd.expect("a pidfd"), writer)
}

/// Has the rest of the work done in the background, and waits for its end.
fn leave_behind(later: Later, confine: &Confine<'_>, process: &OwnedFd, dir: &tempfile::TempDir) {
    let ties = Ties {
        confine,
        descriptors: Vec::new(),
        init: std::os::fd::AsFd::as_fd(process),
        room: Room::default(),
    };
    later
        .leave_behind(&named("/large.wasm"), &ties)
        .expect("left behind");
    let deadline = Instant::now() + Duration::from_secs(120);
    while files(dir, "background") > 0 {
        assert!(Instant::now() < deadline, "it compiles for ever");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn files(dir: &tempfile::TempDir, extension: &str) -> usize {
    let files = std::fs::read_dir(dir.path().join("cache")).expect("the cache");
    let paths = files.map(|file| file.expect("a file").path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .count()
}

alone! {
    fn a_large_module_starts_at_once_and_is_optimised_for_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = large_guest("hello.wat");
    let (process, _alive) = someone();
    let first = provide_large(&bytes, cache_in(&dir));
    assert!(first.compiled && first.uncached.is_none());
    assert_eq!(first.build.tier, Tier::Baseline);
    // Until there is something better, its code serves the next start as well.
    let second = provide_large(&bytes, cache_in(&dir));
    assert!(!second.compiled);
    assert_eq!(second.build.tier, Tier::Baseline);
    for mut provided in [first, second] {
        let later = provided.later.take().expect("something is left to do");
        assert_eq!(start(provided, guest(&["x"]), null()).finish().1, "Hello from Wasm\narg x\ndir /\n");
        leave_behind(later, &confine(), &process, &dir);
        assert_eq!(files(&dir, "code"), 1, "the optimised code took the other's place");
    }
    let third = provide_large(&bytes, cache_in(&dir));
    assert!(!third.compiled && third.later.is_none());
    assert_eq!(third.build.tier, Tier::Optimized);
    assert_eq!(start(third, guest(&["x"]), null()).finish().1, "Hello from Wasm\narg x\ndir /\n");
    assert_eq!(files(&dir, "lock") + files(&dir, "background"), 0);
}
}

alone! {
    fn the_way_of_compiling_is_what_the_module_and_the_options_allow() {
    let plain = GuestOptions::default();
    let hello = large_guest("hello.wat");
    assert_eq!(tier_without_cache(&hello, &plain), Tier::Baseline);
    assert_eq!(tier_without_cache(&large_guest("command.wat"), &plain), Tier::Baseline);
    let component = provide_with(&large_guest("command.wat"), no_cache(), &plain).expect("provided");
    assert_eq!(start(component, guest(&["x"]), null()).finish().1, "Hello from a component\n");
    let small = std::fs::read(guest_path("exit.wat")).expect("the guest's source");
    let file = File::open(guest_path("exit.wat")).expect("opened");
    let provided = provide(file, &named("/exit.wat"), no_cache(), &confine()).expect("provided");
    assert!(small.len() < LARGE as usize && provided.build.tier == Tier::Optimized);
    // What Winch does not know.
    for text in [
        r#"(module (func $f (return_call $f)) (func (export "_start")))"#,
        r#"(module (type $s (struct)) (func (export "_start") (drop (struct.new $s))))"#,
        r#"(module (tag $t) (func (export "_start") (try_table (catch_all 0))))"#,
    ] {
        let bytes = large(text);
        assert_eq!(tier_without_cache(&bytes, &plain), Tier::Quick, "{text}");
        let provided = provide_with(&bytes, no_cache(), &plain).expect("provided");
        assert_eq!(start(provided, guest(&["x"]), null()).finish().0, 0, "{text}");
    }
    let fuel = GuestOptions { fuel: Some(1_000_000), ..GuestOptions::default() };
    assert_eq!(tier_without_cache(&hello, &fuel), Tier::Quick);
    let wait = GuestOptions { wait_for_optimized: true, ..GuestOptions::default() };
    assert_eq!(tier_without_cache(&hello, &wait), Tier::Optimized);
}
}

alone! {
    fn traps_are_those_of_optimised_code() {
    let bytes = large_guest("trap.wat");
    let wait = GuestOptions { wait_for_optimized: true, ..GuestOptions::default() };
    for how in ["u", "d", "s", "m"] {
        let ends = [GuestOptions::default(), wait.clone()].map(|options| {
            let provided = provide_with(&bytes, no_cache(), &options).expect("provided");
            let (code, _, err) = start(provided, guest(&["trap", how]), null()).finish();
            // Of a stack that overflowed, how many frames there were is the compiler's affair.
            let said: Vec<String> = err.lines().filter(|line| !line.contains("0x")).map(str::to_owned).collect();
            (code, said)
        });
        assert_eq!(ends[0], ends[1]);
        assert_eq!(ends[0].0, 134);
    }
}
}

alone! {
    fn what_is_wrong_with_a_module_is_told_in_the_same_words_however_it_is_compiled() {
    let wait = GuestOptions { wait_for_optimized: true, ..GuestOptions::default() };
    let mut broken: Vec<Vec<u8>> = ["imports.wat", "nothing.wat", "command-imports.wat"].map(large_guest).into();
    // Not valid: the body of a function that must give a number gives none.
    let mut invalid = large(r#"(module (func (export "_start") (drop (i32.const 1))))"#);
    let at = invalid.windows(2).position(|pair| pair == [0x41, 1]).expect("the constant");
    invalid[at] = 0x42;
    invalid[at + 2] = 0x45;
    broken.push(invalid);
    broken.push(large_guest("hello.wat")[..LARGE as usize].to_vec());
    for bytes in broken {
        assert!(bytes.len() >= LARGE as usize);
        let said = |options| provide_with(&bytes, no_cache(), options).expect_err("refused").to_string();
        assert_eq!(said(&GuestOptions::default()), said(&wait));
    }
}
}

alone! {
    fn a_container_that_ends_leaves_optimised_code_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let bytes = large_guest("exit.wat");
    let (process, alive) = someone();
    // As if the container, and with it the compiler, was killed.
    let killed = || {
        kill(Pid::this(), Signal::SIGKILL)?;
        Ok(())
    };
    let killed = Confine { enter_cgroup: &killed, ..confine() };
    let later = |provided: Provided| provided.later.expect("something is left to do");
    leave_behind(later(provide_large(&bytes, cache_in(&dir))), &killed, &process, &dir);
    let next = provide_large(&bytes, cache_in(&dir));
    assert_eq!(next.build.tier, Tier::Baseline, "while the container lives, its limits killed the compiler");
    drop(alive);
    leave_behind(later(next), &killed, &process, &dir);
    assert_eq!(provide_large(&bytes, cache_in(&dir)).build.tier, Tier::Optimized);
    assert_eq!(files(&dir, "code"), 1);
    assert!(!dir.path().join("cache/orphan").exists());
    // Only one on the host at a time.
    let other = large_guest("trap.wat");
    let cache = cache_in(&dir).expect("opened");
    let _held = cache.claim_orphan().expect("claimed").expect("free");
    leave_behind(later(provide_large(&other, cache_in(&dir))), &killed, &process, &dir);
    assert_eq!(provide_large(&other, cache_in(&dir)).build.tier, Tier::Baseline);
}
}

alone! {
    fn the_compiler_in_the_background_yields_to_all_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (process, _alive) = someone();
    let told = dir.path().join("told");
    let tell = || {
        let own = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        let streams: Vec<_> = (0..64).filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()).collect();
        std::fs::write(&told, format!("{}{}{streams:?}", own("oom_score_adj")?, own("stat")?))
    };
    let confine = Confine { enter_cgroup: &tell, ..confine() };
    let later = provide_large(&large_guest("exit.wat"), cache_in(&dir)).later;
    leave_behind(later.expect("something is left to do"), &confine, &process, &dir);
    let told = std::fs::read_to_string(told).expect("told");
    let (score, rest) = told.split_once('\n').expect("two lines");
    assert_eq!(score, "1000");
    // proc_pid_stat(5): session and niceness are the 6th and the 19th field; the name is the 2nd.
    let fields: Vec<&str> = rest.rsplit_once(") ").expect("a name").1.split(' ').collect();
    assert_eq!(fields[16], "19", "{rest}");
    let own_session = nix::unistd::getsid(None).expect("a session").to_string();
    assert_ne!(fields[3], own_session, "{rest}");
    let strange: Vec<&str> = rest[rest.find('[').expect("a list")..]
        .split('"')
        .filter(|text| text.starts_with('/') || text.contains(':'))
        .filter(|text| !["/cache", "memfd:wrun-code", "pipe:", "pidfd", "/proc/", "/dev/null", ".background"]
            .iter().any(|known| text.contains(known)))
        .collect();
    assert!(strange.is_empty(), "{strange:?} of {rest}");
}
}
