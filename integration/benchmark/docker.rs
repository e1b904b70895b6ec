//! Containers through Docker: a warm Wasm one, and natively the same program, built from the same source
//! (guests/c-hello), with runc and with wrun; and the same without Docker. All in turn, on a daemon of our own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Plot, Table};
use crate::lifecycle::quiet;
use crate::measure::{LIMIT, Samples, finish, time, turns};
use crate::{Bench, Runtime, guest, installed};

/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// As in the tests: the loopback device is up, and the machine's own containerd out of sight.
const PREPARE: &str = "busybox ip link set lo up && { ! test -d /run/containerd || \
     mount -t tmpfs none /run/containerd; } && exec \"$@\"";
/// How long the compilation of the largest module may take in the background.
const COMPILING: Duration = Duration::from_secs(180);
const GROUP: &str = "/wrun-bench-docker";
/// A run through Docker takes half a second, so fewer rounds must do.
const FEWER: usize = 4;

pub fn measure(bench: &mut Bench) -> Option<Table> {
    let runc = bench
        .runtimes
        .iter()
        .find(|runtime| runtime.name.starts_with("runc "))
        .cloned();
    let missing = ["dockerd", "docker", "cc", "tar", "unshare"]
        .into_iter()
        .find(|name| installed::find_program(name).is_none());
    let (Some(ours), Some(runc), None) = (bench.ours().cloned(), runc, missing) else {
        let why = missing.map_or("needs wrun and runc".to_owned(), |name| {
            format!("{name} is not installed")
        });
        bench.left_out.push(format!("docker: {why}"));
        return None;
    };
    let root = bench.place.file("image");
    std::fs::create_dir(&root).expect("a directory");
    build(&root.join("hello"));
    let wasm = guest::binary("c-hello");
    std::fs::write(root.join("hello.wasm"), &wasm).expect("the guest");
    // Without Docker, from bundles.
    std::fs::copy(root.join("hello"), bench.place.rootfs().join("bin/c-hello")).expect("a copy");
    bench.place.add_guest("c-hello", &wasm);
    let native = bench.place.bundle("docker-native", &["/bin/c-hello"]);
    let guest = bench.place.bundle("docker-wasm", &["/c-hello.wasm"]);

    let daemon = Daemon::start(&bench.place.file("docker"), &[&ours, &runc]);
    daemon.import(&root);
    let columns = ["native, runc", "native, wrun", "Wasm, wrun"]
        .map(str::to_owned)
        .to_vec();
    let mut table = Table::new(
        "docker",
        "The same program through Docker and without it",
        "ms",
        columns,
    );
    table.plot = Plot::Bars;
    let ways = [
        ("runc-peer", "/hello", &runc, &native),
        ("wrun", "/hello", &ours, &native),
        ("wrun", "/hello.wasm", &ours, &guest),
    ];
    let through = |way: usize| time(daemon.run(ways[way].0, ways[way].1));
    let without = |way: usize| {
        let bundle = ways[way].3.to_str().expect("UTF-8");
        time(
            bench
                .place
                .command(ways[way].2, &["run", "--bundle", bundle, "docker-less"]),
        )
    };
    // The first of each compiles, or reads from the disk.
    for way in 0..ways.len() {
        through(way);
        without(way);
    }
    wait_for_compilers();
    let rounds = (bench.options.rounds / FEWER).max(3);
    let mut samples = vec![vec![Samples::default(); ways.len()]; 2];
    for round in 0..rounds {
        for way in turns(round, ways.len()) {
            samples[0][way].add(through(way));
            samples[1][way].add(without(way));
        }
    }
    let figures =
        |samples: &[Samples]| -> Vec<Option<Figures>> { samples.iter().map(Samples::figures).collect() };
    table.add("docker run", figures(&samples[0]));
    table.add("run without Docker", figures(&samples[1]));
    Some(table)
}

/// Until no compiler of wrun's is at work on this machine; others' may go on for ever, which is told.
pub fn wait_for_compilers() {
    let at_work = || {
        let processes = std::fs::read_dir("/proc").expect("the processes");
        let mut names = processes
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
        names.any(|name| name.trim() == "wrun-compiler")
    };
    let start = Instant::now();
    while at_work() {
        if start.elapsed() > COMPILING {
            eprintln!("a compiler of wrun's has been at work for {COMPILING:?}");
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The guest's source as a static native program.
fn build(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/guests/c-hello/main.c");
    let status = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(to)
        .arg(source)
        .status();
    assert!(status.expect("cc starts").success(), "cc of the guest's source");
}

/// A Docker daemon with data, socket, network and mounts of its own.
struct Daemon {
    child: Child,
    dir: PathBuf,
}

impl Daemon {
    fn start(dir: &Path, runtimes: &[&Runtime]) -> Self {
        std::fs::create_dir(dir).expect("a directory");
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "-n",
            "--propagation",
            "private",
            "sh",
            "-c",
            PREPARE,
            "sh",
            "dockerd",
        ]);
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "run"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(dir.join(name));
        }
        command
            .arg("--host")
            .arg(format!("unix://{}", dir.join("socket").display()));
        command.args(["--bridge", "none", "--iptables=false", "--cgroup-parent", GROUP]);
        for runtime in runtimes {
            // Docker knows one by the name of runc already.
            let name = if runtime.is_ours() { "wrun" } else { "runc-peer" };
            command
                .arg("--add-runtime")
                .arg(format!("{name}={}", runtime.path.display()));
        }
        command
            .env("WRUN_CACHE_DIR", dir.join("cache"))
            .stdin(Stdio::null());
        let log = std::fs::File::create(dir.join("log")).expect("the daemon's log");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let daemon = Daemon {
            child: command.spawn().expect("unshare starts"),
            dir: dir.to_owned(),
        };
        let start = Instant::now();
        while !quiet(daemon.client(&["version"]))
            .status()
            .is_ok_and(|status| status.success())
        {
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "dockerd does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
        daemon
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.dir.join("socket").display()));
        command
            .args(arguments)
            .env("DOCKER_CONFIG", self.dir.join("client"));
        command
    }

    /// The image `bench`, of what is in `root`.
    fn import(&self, root: &Path) {
        let archive = self.dir.join("image.tar");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status();
        assert!(tar.expect("tar starts").success());
        let status = quiet(self.client(&["import", archive.to_str().expect("UTF-8"), "bench"])).status();
        assert!(status.expect("docker starts").success(), "docker import");
    }

    fn run(&self, runtime: &str, program: &str) -> Command {
        quiet(self.client(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--runtime",
            runtime,
            "bench",
            program,
        ]))
    }
}

impl Drop for Daemon {
    /// Ends the daemon and waits for that.
    fn drop(&mut self) {
        // It may have ended by itself; its number may be another's then. What `unshare` and the shell execute is it.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            if finish(&mut self.child, LIMIT).is_none() {
                eprintln!("dockerd did not end within {LIMIT:?} and was killed");
            }
        }
        // Its mounts are gone with its namespace; its cgroups are ours to remove.
        for hierarchy in hierarchies() {
            let _ = std::fs::remove_dir(hierarchy.join(&GROUP[1..]));
        }
    }
}

/// All of v1 and v2.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    std::iter::once(root)
        .chain(entries.map(|entry| entry.path()))
        .collect()
}
