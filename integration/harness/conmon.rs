//! A container as CRI-O keeps it: conmon creates it, holds its streams and writes its exit file; the runtime is called
//! for the rest. The command lines are those of CRI-O's internal/oci/runtime_oci.go.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Value, json};

use super::Container;
use super::case::text;
use super::command::{LIMIT, Output, eventually, patience, read};
use super::engines::systemd_makes_cgroups;
use super::leaks;

/// Gives conmon the two pipes of its parent, by which it waits to be in its cgroup and tells the first process.
const WITH_PIPES: &str = "exec conmon \"$@\" 3>\"$SYNC\" 4<\"$START\"";

/// A container and the directories that CRI-O has for it.
pub struct Watched<'case> {
    pub container: Container<'case>,
    numbers: Cell<usize>,
}

/// What CRI-O reads of an exec for a probe.
#[derive(Debug)]
pub struct Probed {
    pub code: i64,
    pub message: String,
    pub stdout: String,
    pub stderr: String,
}

impl<'case> Watched<'case> {
    /// The container with what CRI-O adds to any: its cgroup, and the annotations that say whose it is.
    pub fn new(container: Container<'case>) -> Self {
        let id = container.id.clone();
        let mark = container.case.mark.clone();
        let zero_is_a_limit = container.case.runtime.is_runc_from(4);
        container.edit(|config| {
            config["annotations"] = json!({
                "io.kubernetes.cri-o.ContainerType": "container",
                "io.kubernetes.cri-o.ContainerID": id,
                "io.kubernetes.cri-o.SandboxID": format!("{mark}sandbox"),
                "io.container.manager": "cri-o",
            });
            // What CRI-O up to 1.26 writes where no limit is set, which runc takes for one from 1.4 on.
            let limit = if zero_is_a_limit { -1 } else { 0 };
            config["linux"]["resources"]["pids"] = json!({ "limit": limit });
            config["linux"]["cgroupsPath"] = if systemd_makes_cgroups() {
                json!(format!("{}:crio:{id}", leaks::slice(&mark)))
            } else {
                json!(format!("/{mark}pod/crio-{id}"))
            };
        });
        Watched {
            container,
            numbers: Cell::new(0),
        }
    }

    /// A path in the test's directory.
    fn path(&self, name: &str) -> PathBuf {
        self.container.case.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Calls conmon with `flags` and lets it go on, as its parent does; what it tells on its pipe, if anything.
    #[track_caller]
    fn conmon(&self, flags: &[&str]) -> (Output, Option<Value>) {
        let number = self.numbers.replace(self.numbers.get() + 1);
        let pipes = ["sync", "start"].map(|name| {
            let path = self.path(&format!("{}-{name}-{number}", self.container.id));
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).expect("a FIFO");
            path
        });
        let mut command = Command::new("sh");
        command
            .args(["-c", WITH_PIPES, "conmon"])
            .args(flags)
            .current_dir(&self.container.bundle)
            .stdin(Stdio::null())
            .env("SYNC", &pipes[0])
            .env("START", &pipes[1])
            .env("_OCI_SYNCPIPE", "3")
            .env("_OCI_STARTPIPE", "4")
            .env("WRUN_CACHE_DIR", self.path("cache"));
        let run = self.container.case.start(command);
        let told = File::open(&pipes[0]).expect("its pipe");
        let mut start = File::options().write(true).open(&pipes[1]).expect("its pipe");
        start.write_all(&[0]).expect("it reads");
        let output = run.wait();
        (output, message(told))
    }

    /// Creates the container; its first process, or why there is none.
    #[track_caller]
    pub fn create(&self, more: &[&str]) -> Result<i64, String> {
        let id = &self.container.id;
        let case = self.container.case;
        for name in ["exits", "sockets", "persist"] {
            fs::create_dir_all(self.path(name)).expect("a directory");
        }
        let bundle = self.container.bundle();
        let path = |name: &str| format!("{bundle}/{name}");
        let (pidfile, own) = (path("pidfile"), path("conmon-pidfile"));
        let (exits, log) = (self.text("exits"), self.log_path());
        let (persist, sockets) = (self.text("persist"), self.text("sockets"));
        let runtime = text(&case.runtime.path);
        let root = format!("--root={}", text(&case.root));
        let name = format!("k8s_{id}");
        let mut flags = vec!["-b", &bundle, "-c", id, "--exit-dir", &exits, "-l", &log];
        flags.extend(["--log-level", "info", "-n", &name, "-P", &own, "-p", &pidfile]);
        flags.extend(["--persist-dir", &persist, "-r", &runtime, "--runtime-arg", &root]);
        flags.extend(["--socket-dir-path", &sockets, "--syslog", "-u", id]);
        flags.extend(systemd());
        flags.extend(["--log-size-max", "1048576"]);
        flags.extend(more);
        let (output, told) = self.conmon(&flags);
        output.ok();
        let told = told.expect("conmon tells what came of it");
        match told["pid"].as_i64() {
            Some(pid) if pid > 0 => {
                assert_eq!(read(&self.container.bundle.join("pidfile")), pid.to_string());
                Ok(pid)
            }
            _ => Err(told["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// [`Watched::create`] and `start`; the first process.
    #[track_caller]
    pub fn start(&self, more: &[&str]) -> i64 {
        let pid = self.create(more).unwrap_or_else(|message| panic!("{message}"));
        self.runtime(&["start", &self.container.id]).ok();
        pid
    }

    /// The runtime as CRI-O calls it itself.
    #[track_caller]
    pub fn runtime(&self, arguments: &[&str]) -> Output {
        self.container.case.finish(self.runtime_command(arguments))
    }

    pub fn runtime_command(&self, arguments: &[&str]) -> Command {
        let manager: &[&str] = if systemd_makes_cgroups() {
            &["--systemd-cgroup"]
        } else {
            &[]
        };
        self.container.case.command(&[manager, arguments].concat())
    }

    /// `update` of the resources in `resources`, which come by standard input.
    #[track_caller]
    pub fn update(&self, resources: &Value) {
        let path = self.path("resources.json");
        fs::write(&path, resources.to_string()).expect("a file");
        // Without the manager of cgroups, which CRI-O leaves out here.
        let mut command = self
            .container
            .case
            .command(&["update", "--resources", "-", &self.container.id]);
        command.stdin(File::open(&path).expect("the file"));
        self.container.case.finish(command).ok();
    }

    /// Writes the container's process with other arguments, for an exec; the file's path.
    fn process(&self, arguments: &[&str], terminal: bool) -> String {
        let config: Value =
            serde_json::from_str(&read(&self.container.bundle.join("config.json"))).expect("JSON");
        let mut process = config["process"].clone();
        process["args"] = json!(arguments);
        process["terminal"] = json!(terminal);
        let number = self.numbers.replace(self.numbers.get() + 1);
        let path = self.path(&format!("exec-process-{}-{number}", self.container.id));
        fs::write(&path, process.to_string()).expect("a file");
        text(&path)
    }

    /// An exec whose streams are the caller's: of `kubectl exec`.
    pub fn exec_command(&self, arguments: &[&str], terminal: bool) -> Command {
        let process = self.process(arguments, terminal);
        self.runtime_command(&["exec", "--process", &process, &self.container.id])
    }

    /// An exec under a conmon of its own, ended after `limit` seconds if that is not 0: of probes.
    #[track_caller]
    pub fn exec_sync(&self, arguments: &[&str], limit: u32) -> Probed {
        let id = &self.container.id;
        let case = self.container.case;
        let process = self.process(arguments, false);
        let log = format!("{process}.log");
        let (pidfile, sockets) = (format!("{process}.pid"), self.text("sockets"));
        let runtime = text(&case.runtime.path);
        let root = format!("--root={}", text(&case.root));
        let (name, limit_text) = (format!("k8s_{id}"), limit.to_string());
        let mut flags = vec![
            "-c", id, "-n", &name, "-r", &runtime, "-p", &pidfile, "-e", "-l", &log,
        ];
        flags.extend(["--socket-dir-path", &sockets, "--log-level", "info"]);
        flags.extend(["--sync", "--log-global-size-max", "16777216"]);
        if limit > 0 {
            flags.extend(["-T", &limit_text]);
        }
        flags.extend(systemd());
        flags.extend(["--exec-process-spec", &process, "--runtime-arg", &root]);
        let (output, told) = self.conmon(&flags);
        let told = told.unwrap_or_else(|| panic!("conmon tells the exit code: {output}"));
        let lines = read(PathBuf::from(log).as_path());
        let of = |stream: &str| -> String {
            let lines = lines.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
            let own = lines.filter(|line| line.len() == 4 && line[1] == stream);
            own.map(|line| format!("{}\n", line[3])).collect()
        };
        Probed {
            code: told["exit_code"]
                .as_i64()
                .unwrap_or_else(|| panic!("no exit code: {told}")),
            message: told["message"].as_str().unwrap_or_default().to_owned(),
            stdout: of("stdout"),
            stderr: of("stderr"),
        }
    }

    /// The status that the runtime tells.
    #[track_caller]
    pub fn status(&self) -> String {
        let state = self.runtime(&["state", &self.container.id]).ok().json();
        state["status"].as_str().expect("a status").to_owned()
    }

    /// Where conmon writes the log.
    pub fn log_path(&self) -> String {
        self.text(&format!("{}.log", self.container.id))
    }

    /// Waits until the log has `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let log = PathBuf::from(self.log_path());
        eventually(&format!("the log has {text:?}"), || {
            read(&log).contains(text).then_some(())
        });
    }

    /// Waits for the exit file; the code in it.
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        let file = self.path("exits").join(&self.container.id);
        let text = eventually("the exit file is there", || {
            let text = read(&file);
            (!text.is_empty()).then_some(text)
        });
        text.trim().parse().expect("a number")
    }

    /// Writes to the FIFO by which conmon is told: `1 ROWS COLUMNS`, or `2 0 0` to open the log anew.
    pub fn control(&self, words: &str) {
        let mut control = File::options()
            .write(true)
            .open(self.container.bundle.join("ctl"))
            .expect("conmon's FIFO");
        control
            .write_all(format!("{words}\n").as_bytes())
            .expect("conmon reads");
    }

    /// A connection to the container's streams.
    #[track_caller]
    pub fn attach(&self) -> Attached {
        let path = self.path("sockets").join(&self.container.id).join("attach");
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        connect(&socket, &SocketAddrUnix::new(&path).expect("a short path")).expect("conmon listens");
        Attached {
            socket: File::from(socket),
            seen: String::new(),
        }
    }

    /// `delete --force`; and with the last container of its pod goes what CRI-O has made for the pod.
    #[track_caller]
    pub fn delete(&self) {
        let id = &self.container.id;
        self.runtime(&["delete", "--force", id]).ok();
        eventually("conmon ends", || {
            let own = leaks::processes_with(|line| line.contains(&format!(" -c {id} ")));
            own.is_empty().then_some(())
        });
        let pod = format!("{}pod", self.container.case.mark);
        for group in leaks::cgroups(&pod) {
            let _ = fs::remove_dir(group); // Busy as long as others of the pod are there.
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let others = leaks::cgroups(&leaks::slice(&self.container.case.mark));
        // The slice itself, and what is below it.
        if others.len() < 2 {
            leaks::stop_slice(&self.container.case.mark);
        }
    }
}

/// The flag that has systemd make the cgroup.
fn systemd() -> Option<&'static str> {
    systemd_makes_cgroups().then_some("-s")
}

/// The one message that comes by a pipe.
fn message(mut pipe: File) -> Option<Value> {
    let mut bytes = Vec::new();
    let deadline = Instant::now() + LIMIT * patience();
    loop {
        if let Ok(value) = serde_json::from_slice(&bytes) {
            return Some(value);
        }
        wait_to_read(&pipe, deadline, "conmon tells nothing");
        let mut chunk = [0; 4096];
        match pipe.read(&mut chunk).expect("the pipe can be read") {
            0 => return None,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

#[track_caller]
fn wait_to_read(file: &File, deadline: Instant, what: &str) {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).expect("a minute fits a timespec");
    let ready = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)).expect("poll");
    assert_ne!(ready, 0, "{what}");
}

/// A connection to a container's streams.
pub struct Attached {
    socket: File,
    seen: String,
}

impl Attached {
    /// Sends `text` to standard input.
    pub fn write(&mut self, text: &str) {
        self.socket
            .write_all(text.as_bytes())
            .expect("conmon takes input");
    }

    /// Reads until `text` has come by the stream `stream`: 2 or 3, as conmon numbers standard output and error.
    #[track_caller]
    pub fn expect(&mut self, stream: u8, text: &str) {
        let deadline = Instant::now() + LIMIT * patience();
        while !self.seen.contains(text) {
            let why = format!("{text:?} never came; seen: {:?}", self.seen);
            wait_to_read(&self.socket, deadline, &why);
            let mut packet = [0; 16384];
            let count = self.socket.read(&mut packet).expect("a packet");
            assert_ne!(count, 0, "{why}");
            if packet[0] == stream {
                self.seen.push_str(&String::from_utf8_lossy(&packet[1..count]));
            }
        }
    }
}
