//! A mount and a network namespace that last while an engine's daemon in them comes and goes, and such daemons.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, kill_process};

use super::case::{MARK, text};
use super::command::{LIMIT, eventually, pid, wait_for_exit};

/// The namespaces, kept by a process that sleeps.
pub struct Holder(Child);

impl Holder {
    /// Makes them, and runs the shell command `prepare` in them. A file in `dir` tells that all is ready.
    pub fn start(prepare: &str, dir: &Path) -> Self {
        let ready = dir.join("ready");
        let script = format!("{prepare} && touch {} && exec sleep infinity", text(&ready));
        let holder = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts");
        eventually("the namespaces are there", || ready.exists().then_some(()));
        Holder(holder)
    }

    /// A process in them.
    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// A program in them.
    pub fn within(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--net", "--target", &self.pid().to_string(), program])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        end(&mut self.0, Signal::KILL);
    }
}

/// Starts a daemon whose output is added to the file `log`. It carries no test's mark, nor do its helpers, which
/// outlive the test's containers.
pub fn daemon(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log);
    let log = log.expect("the daemon's log");
    command
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .env_remove(MARK);
    command.spawn().expect("the daemon starts")
}

/// Sends `signal` to a process of ours and waits for its end; by force where it does not come.
pub fn end(child: &mut Child, signal: Signal) {
    let id = child.id().cast_signed();
    // It may have ended by itself; that shows in the tests that needed it.
    let _ = kill_process(pid(id), signal);
    if !wait_for_exit(id, LIMIT) {
        let _ = child.kill();
    }
    let _ = child.wait();
}
