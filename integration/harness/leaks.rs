//! What a test left behind: state, cgroups, scopes, mounts and processes with its mark.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::case::{Case, MARK};
use super::command;
use super::facts::Need;

/// Everything left, one line each.
pub fn find(case: &Case) -> Vec<String> {
    let mut left = Vec::new();
    wait_for_background(case);
    left.extend(state(case).iter().map(|path| format!("state {}", path.display())));
    // A killed process is a zombie for a moment, and its cgroup is busy so long.
    let mut others = Vec::new();
    for _ in 0..50 * command::patience() {
        others.clear();
        others.extend(
            processes(case)
                .iter()
                .map(|pid| format!("process {}", describe(*pid))),
        );
        others.extend(
            cgroups(&case.mark)
                .iter()
                .map(|path| format!("cgroup {}", path.display())),
        );
        others.extend(scopes(&case.mark).iter().map(|unit| format!("unit {unit}")));
        others.extend(
            mounts(&case.dir)
                .iter()
                .map(|path| format!("mount {}", path.display())),
        );
        if others.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    left.append(&mut others);
    left
}

/// Waits while wrun compiles in the background for this test's cache: it goes on when its container has ended. A
/// lock of the cache tells; it is only looked at, since taking it would keep wrun from it.
pub fn wait_for_background(case: &Case) {
    let seen = || {
        let locks = command::read(Path::new("/proc/locks"));
        background_locks(&case.dir.join("cache"))
            .iter()
            .any(|inode| locks.contains(&format!(":{inode} ")))
    };
    // The list is read in pieces, between which locks come and go: a look may miss one that is there.
    let held = || (0..3).any(|_| seen());
    // It has only what others leave of the processor, other tests among them.
    let deadline = std::time::Instant::now() + 10 * command::LIMIT * command::patience();
    while held() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The inodes of the cache's locks for compilations in the background; what killed processes left included.
fn background_locks(cache: &Path) -> Vec<u64> {
    use std::os::unix::fs::DirEntryExt;
    let Ok(entries) = std::fs::read_dir(cache) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".background"))
        .map(|entry| entry.ino())
        .collect()
}

/// Removes by force what is left, so that no later test suffers from it.
pub fn remove(case: &Case) {
    remove_but_directory(case);
    if mounts(&case.dir).is_empty() {
        let _ = std::fs::remove_dir_all(&case.dir); // What stays has been reported already.
    }
}

/// [`remove`] in the middle of a test, which goes on with its bundles.
fn remove_but_directory(case: &Case) {
    // Each step is an attempt at something that may be gone by now; what stays is reported by `find`.
    for pid in processes(case) {
        for group in cgroups(&case.mark) {
            let _ = std::fs::write(group.join("freezer.state"), "THAWED");
            let _ = std::fs::write(group.join("cgroup.freeze"), "0");
        }
        let pid = command::pid(pid);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        command::wait_for_exit(pid.as_raw_nonzero().get(), command::LIMIT);
    }
    for group in cgroups(&case.mark).iter().rev() {
        let _ = std::fs::remove_dir(group);
    }
    for path in state(case) {
        let _ = std::fs::remove_dir_all(path);
    }
    for mount in mounts(&case.dir).iter().rev() {
        let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Entries of the state directory. Names with a dot at the front are the runtime's own (locks).
fn state(case: &Case) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(&case.root) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains(&case.mark))
        })
        .collect()
}

/// Directories under /sys/fs/cgroup with the mark in their name, parents before children.
pub fn cgroups(mark: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            if entry.path().to_string_lossy().contains(mark) {
                found.push(entry.path());
            }
            open.push(entry.path());
        }
    }
    found.sort();
    found
}

/// The name of a slice for what systemd makes for a test. It has no dash, which would put it below another slice, so that
/// [`find`] finds by the mark only what is in it.
pub fn slice(mark: &str) -> String {
    format!("{}.slice", mark.trim_end_matches('-').replace('-', "_"))
}

/// Stops the test's slice where engines have systemd make one, as [`stop_slice_of`] does.
#[track_caller]
pub fn stop_slice(mark: &str) {
    if super::engines::systemd_makes_cgroups() {
        stop_slice_of(None, mark);
    }
}

/// Stops the test's slice, of the machine's systemd or of a user's. What is still in it after a while is left by a test:
/// that fails here, since ids of an engine's own making do not tell whose they are.
#[track_caller]
pub fn stop_slice_of(user: Option<u32>, mark: &str) {
    let slice = slice(mark);
    let mut left = Vec::new();
    for _ in 0..50 * command::patience() {
        left = cgroups(&slice);
        left.retain(|path| !path.ends_with(&slice));
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // It may never have been made.
    let stop = systemctl(user).args(["--quiet", "stop", &slice]).output();
    stop.expect("systemctl starts");
    assert!(
        left.is_empty() || std::thread::panicking(),
        "left behind in {slice}: {left:#?}"
    );
}

/// `systemctl` for the machine's systemd, or for a user's.
fn systemctl(user: Option<u32>) -> Command {
    let Some(id) = user else {
        return Command::new("systemctl");
    };
    let mut command = Command::new("setpriv");
    let number = id.to_string();
    command.args(["--reuid", &number, "--regid", &number, "--clear-groups"]);
    command
        .args(["systemctl", "--user"])
        .env("XDG_RUNTIME_DIR", format!("/run/user/{id}"))
        .env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path=/run/user/{id}/bus"),
        );
    command
}

/// Units of systemd with the mark in their name, loaded in whatever state; none where systemd does not run.
fn scopes(mark: &str) -> Vec<String> {
    if Need::Systemd.missing().is_some() {
        return Vec::new();
    }
    let list = Command::new("systemctl")
        .args([
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            &format!("*{mark}*"),
        ])
        .output()
        .expect("systemctl starts");
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Mount points under `dir`, parents before children.
fn mounts(dir: &Path) -> Vec<PathBuf> {
    let table = command::read(Path::new("/proc/self/mountinfo"));
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(dir))
        .collect();
    mounts.sort();
    mounts
}

/// Processes with the mark in their environment, arguments or cgroup. A zombie is over: its parent or the
/// machine's init collects it when it likes.
pub fn processes(case: &Case) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let variable = format!("{MARK}={}", case.mark);
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let text = |name: &str| command::read(&PathBuf::from(format!("/proc/{pid}/{name}")));
            text("environ").contains(&variable)
                || text("cmdline").contains(&case.mark)
                || text("cgroup").contains(&case.mark)
        })
        .filter(|pid| !command::read(&PathBuf::from(format!("/proc/{pid}/status"))).contains("State:\tZ"))
        .collect()
}

/// Processes whose command line, with spaces between the words, is such that `wanted` says so.
pub fn processes_with(wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let line = command::read(&PathBuf::from(format!("/proc/{pid}/cmdline"))).replace('\0', " ");
            wanted(line.trim_end())
        })
        .collect()
}

/// A process for a message.
fn describe(pid: i32) -> String {
    let text = |name: &str| command::read(&PathBuf::from(format!("/proc/{pid}/{name}"))).replace('\0', " ");
    format!(
        "{pid} `{}` in {}",
        text("cmdline"),
        text("cgroup").replace('\n', " ")
    )
}
