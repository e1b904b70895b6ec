//! Containers of a user who is not root, from what `spec --rootless` writes.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, remove_namespace};
use crate::harness::command::eventually;
use crate::harness::facts::{MOUNT_TREE, user_with_systemd};
use crate::harness::installed::find_program;
use crate::harness::{Case, Container, Need, Output, Test, guest, program, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(run),
        test!(lifecycle),
        test!(exec),
        test!(exec_before_the_start),
        test!(names_of_sockets_are_passed).wrun_only("runc does not pass them"),
        test!(kill_all_of_a_stopped_container),
        test!(cgroup_of_the_caller_is_seen_read_only).needs(Need::CgroupV1),
        test!(state_is_in_the_user_s_runtime_directory),
        test!(files_belong_to_the_user),
        test!(limits_without_a_cgroup_are_refused),
        test!(subordinate_ids)
            .needs(Need::IdMappers)
            .covers(&["linux.{uidMappings,gidMappings}.{hostID,containerID,size}"]),
        test!(ids_that_are_not_the_user_s_are_refused).needs(Need::IdMappers),
        test!(several_ids_without_the_mappers_are_refused),
        test!(delegated_cgroup)
            .unified()
            .covers(&["linux.cgroupsPath", "linux.resources.unified"]),
        test!(limits_that_are_nothing_need_no_cgroup),
        test!(neither_cgroup_nor_pid_namespace_is_warned_of).runc_from(2, "the warning"),
        test!(kill_all_without_a_cgroup).wrun_only("runc knows a container's processes by its cgroup alone"),
        test!(wasm).wrun_only("runc runs no Wasm"),
        test!(large_wasm).wrun_only("runc runs no Wasm"),
        test!(exec_beside_a_guest_is_refused).wrun_only("runc runs no Wasm"),
        test!(limits_in_a_scope_of_the_user_s_systemd).needs(Need::UserSystemd),
        test!(exec_enters_a_scope_of_the_user_s_systemd)
            .needs(Need::UserSystemd)
            .wrun_only("runc leaves the process outside where the kernel refuses the move"),
        test!(wasm_in_a_scope_of_the_user_s_systemd)
            .needs(Need::UserSystemd)
            .wrun_only("runc runs no Wasm"),
    ]
}

/// The user of these tests: nobody.
const USER: u32 = 65534;

/// A user's directory with a copy of the runtime, since the user may not reach where it was built.
struct User<'case> {
    case: &'case Case,
    runtime: PathBuf,
    id: u32,
    /// XDG_RUNTIME_DIR.
    run: PathBuf,
    systemd: bool,
}

impl<'case> User<'case> {
    fn new(case: &'case Case) -> Self {
        Self::with(case, USER, case.dir.join("home"), false)
    }

    /// A user who has a systemd of his own, and whose commands do not run below that.
    fn of_systemd(case: &'case Case) -> Self {
        let id = user_with_systemd().expect("the test needs one");
        let user = Self::with(case, id, PathBuf::from(format!("/run/user/{id}")), true);
        chown(&case.root, Some(id), Some(id)).expect("chown");
        user
    }

    fn with(case: &'case Case, id: u32, run: PathBuf, systemd: bool) -> Self {
        let home = case.dir.join("home");
        fs::create_dir(&home).expect("a directory");
        chown(&home, Some(id), Some(id)).expect("chown");
        let runtime = case.dir.join(if case.runtime.ours { "wrun" } else { "runc" });
        program::copy(&case.runtime.path, &runtime);
        User {
            case,
            runtime,
            id,
            run,
            systemd,
        }
    }

    /// A bundle of the user's own, with what `spec --rootless` writes, after `edit`.
    fn container(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'case> {
        let container = self.case.container(&["true"]);
        fs::remove_file(container.bundle.join("config.json")).expect("it was there");
        let chown_all = Command::new("chown")
            .arg("-R")
            .arg(self.id.to_string())
            .arg(&container.bundle)
            .status();
        assert!(chown_all.expect("chown starts").success());
        self.call(&["spec", "--rootless", "--bundle", &container.bundle()])
            .ok();
        container.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(args);
            let env = config["process"]["env"].as_array_mut().expect("an environment");
            env.push(format!("{}={}", crate::harness::case::MARK, self.case.mark).into());
            config["root"]["readonly"] = json!(false);
            edit(config);
        });
        container
    }

    /// The runtime's command as this user, with the state where a user's is by default.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let user = self.id.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        command.arg(&self.runtime);
        if self.systemd {
            command.args(["--systemd-cgroup", "--root"]).arg(&self.case.root);
        }
        command.args(args).stdin(Stdio::null());
        command
            .env("XDG_RUNTIME_DIR", &self.run)
            .env(
                "DBUS_SESSION_BUS_ADDRESS",
                format!("unix:path={}/bus", self.run.display()),
            )
            .env("HOME", self.case.dir.join("home"));
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.case.finish(self.command(args))
    }
}

fn run(case: &Case) {
    let user = User::new(case);
    let container = user.container(
        &[
            "sh",
            "-c",
            "id -u; id -g; hostname; cat /proc/self/uid_map; exit 3",
        ],
        |_| {},
    );
    let output = user
        .call(&["run", "--bundle", &container.bundle(), &container.id])
        .code_is(3);
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!([words[0], words[1]], ["0", "0"], "{output}");
    assert_eq!(words[3..], ["0", &USER.to_string(), "1"], "{output}");
    case.nothing_left();
}

fn neither_cgroup_nor_pid_namespace_is_warned_of(case: &Case) {
    let user = User::new(case);
    for shared in [false, true] {
        let container = user.container(&["true"], |config| {
            if !shared {
                return;
            }
            remove_namespace(config, "pid");
            // Who shares the pid namespace may mount no proc of his own.
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            let proc = mounts.iter_mut().find(|mount| mount["destination"] == "/proc");
            *proc.expect("one") = json!({
                "destination": "/proc", "type": "bind", "source": "/proc",
                "options": ["rbind", "nosuid", "nodev", "noexec"],
            });
        });
        let output = user
            .call(&["run", "--bundle", &container.bundle(), &container.id])
            .ok();
        let warned = output
            .stderr
            .contains("Such configuration is strongly discouraged");
        assert_eq!(warned, shared, "{output}");
    }
}

/// A container without a cgroup is in that of its caller.
fn cgroup_of_the_caller_is_seen_read_only(case: &Case) {
    let user = User::new(case);
    let script = "cat /sys/fs/cgroup/memory/tasks | wc -l; grep ' /sys/fs/cgroup/memory ' /proc/self/mounts";
    let container = user.container(&["sh", "-c", script], |config| {
        add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "ro"]);
    });
    let output = user
        .call(&["run", "--bundle", &container.bundle(), &container.id])
        .ok();
    let lines = output.lines();
    assert_ne!(lines[0], "0", "{output}");
    assert!(lines.last().is_some_and(|line| line.contains(" ro,")), "{output}");
}

fn lifecycle(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["sleep", "100"], |_| {});
    user.call(&["create", "--bundle", &container.bundle(), &container.id])
        .ok();
    let status = || user.call(&["state", &container.id]).ok().json()["status"].clone();
    assert_eq!(status(), "created");
    user.call(&["start", &container.id]).ok();
    assert_eq!(status(), "running");
    assert_eq!(
        user.call(&["list", "--quiet"]).ok().stdout,
        format!("{}\n", container.id)
    );
    user.call(&["kill", &container.id, "KILL"]).ok();
    crate::harness::command::eventually("it has stopped", || (status() == "stopped").then_some(()));
    user.call(&["delete", &container.id]).ok();
    case.nothing_left();
}

fn exec(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["sleep", "100"], |_| {});
    user.call(&["run", "--detach", "--bundle", &container.bundle(), &container.id])
        .ok();
    let output = user.call(&[
        "exec",
        &container.id,
        "sh",
        "-c",
        "id -u; readlink /proc/self/ns/user; exit 4",
    ]);
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    let output = output.code_is(4);
    assert_eq!(output.lines()[0], "0");
    assert_ne!(output.lines()[1], own.to_string_lossy());
    user.call(&["delete", "--force", &container.id]).ok();
}

fn state_is_in_the_user_s_runtime_directory(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["sleep", "100"], |_| {});
    user.call(&["create", "--bundle", &container.bundle(), &container.id])
        .ok();
    let name = if case.runtime.ours { "wrun" } else { "runc" };
    let state = case.dir.join("home").join(name).join(&container.id);
    assert!(state.exists(), "{}", state.display());
    user.call(&["delete", "--force", &container.id]).ok();
    assert!(!state.exists());
}

fn files_belong_to_the_user(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["touch", "/tmp/new"], |_| {});
    user.call(&["run", "--bundle", &container.bundle(), &container.id])
        .ok();
    let file = fs::metadata(container.rootfs("tmp/new")).expect("the file");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), USER);
}

fn wasm(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["/hello.wasm"], |_| {});
    container.write("hello.wasm", guest::binary("hello"), 0o644);
    for _ in 0..2 {
        let output = user
            .call(&["run", "--bundle", &container.bundle(), &container.id])
            .ok();
        assert!(output.stdout.contains("Hello from Wasm"), "{output}");
    }
    // The user's own cache.
    assert!(case.dir.join("home/.cache/wrun").exists());
}

/// Optimised code is made in the background for a user too, whose processes do not own their files in /proc.
fn large_wasm(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["/hello.wasm"], |_| {});
    container.write("hello.wasm", guest::large("hello"), 0o644);
    let output = user
        .call(&["run", "--bundle", &container.bundle(), &container.id])
        .ok();
    assert!(output.stdout.contains("Hello from Wasm"), "{output}");
    eventually("optimised code takes the other's place", || {
        let rows = user.call(&["wasm", "list", "--format", "json"]).ok().json();
        let rows = rows.as_array().expect("a list");
        let locks = fs::read_dir(case.dir.join("home/.cache/wrun")).expect("the user's cache");
        let busy = locks
            .flatten()
            .any(|file| file.file_name().to_string_lossy().ends_with(".background"));
        (rows.len() == 1 && rows[0]["tier"] == "optimized" && !busy).then_some(())
    });
}

/// The user may make no cgroup here; a limit that cannot be set must not be passed over.
fn limits_without_a_cgroup_are_refused(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["true"], |config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 } });
    });
    let output = user.call(&["run", "--bundle", &container.bundle(), &container.id]);
    case.names(&output.code_is(1), &["container could not join or create cgroup"]);
    case.nothing_left();
}

/// And without anything of the host's within its reach.
fn exec_before_the_start(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["sleep", "100"], |_| {});
    let mut create = user.command(&["create", "--bundle", &container.bundle(), &container.id]);
    create.env("OF_THE_CALLER", "a secret");
    case.finish(create).ok();
    let script = "ls -l /proc/1/fd | sed -n 's/.* -> //p' | sort -u";
    let output = user.call(&["exec", &container.id, "sh", "-c", script]).ok();
    if case.runtime.ours {
        let known = |line: &str| {
            let base = line.rsplit('/').next().unwrap_or_default();
            ["null", "gate", "result"].contains(&base) || line.contains("/run-")
        };
        let foreign: Vec<_> = output.lines().into_iter().filter(|line| !known(line)).collect();
        assert!(foreign.len() <= 2, "{foreign:?}");
        assert!(
            !output.stdout.contains("/proc") && !output.stdout.contains("/sys"),
            "{output}"
        );
    }
    let output = user.call(&["exec", &container.id, "cat", "/proc/1/environ"]).ok();
    assert!(
        !output.stdout.contains("a secret"),
        "the caller's environment is seen"
    );
    user.call(&["start", &container.id]).ok();
    user.call(&["delete", "--force", &container.id]).ok();
    case.nothing_left();
}

/// The one variable of the caller that the program gets, although the first process forgets all others.
fn names_of_sockets_are_passed(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["sh", "-c", "echo $LISTEN_FDS $LISTEN_FDNAMES"], |_| {});
    let run = user.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut command = Command::new("sh");
    // The variables are for whoever has this pid, which the runtime comes to have.
    command.args(["-c", "LISTEN_PID=$$ exec \"$@\" 3</dev/null", "sh"]);
    command
        .arg(run.get_program())
        .args(run.get_args())
        .stdin(Stdio::null());
    let envs = run.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command
        .envs(envs)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "web");
    assert_eq!(case.finish(command).ok().stdout, "1 web\n");
}

fn kill_all_of_a_stopped_container(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["true"], |_| {});
    user.call(&["run", "--detach", "--bundle", &container.bundle(), &container.id])
        .ok();
    eventually("it has stopped", || {
        let state = user.call(&["state", &container.id]).ok().json();
        (state["status"] == "stopped").then_some(())
    });
    user.call(&["kill", "--all", &container.id, "KILL"]).ok();
    user.call(&["delete", &container.id]).ok();
    case.nothing_left();
}

/// The user's own id and a range of subordinate ones, as engines for users ask.
fn with_subordinate_ids(config: &mut Value) {
    for property in ["uidMappings", "gidMappings"] {
        config["linux"][property] = json!([
            { "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": 300_000, "size": 1000 },
        ]);
    }
}

/// Runs `command` with /etc/subuid and /etc/subgid that give the user `range`; the machine's own stay as they are.
fn with_range(case: &Case, range: &str, command: &Command) -> Output {
    let file = case.path("subid");
    fs::write(&file, format!("{USER}:{range}\n")).expect("a file");
    let script = "mount --make-rprivate / && for name in subuid subgid; do \
                  mount --bind $0 /etc/$name || exit 99; done; exec \"$@\"";
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["-m", "sh", "-c", script, &file])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    case.finish(wrapped)
}

fn subordinate_ids(case: &Case) {
    let user = User::new(case);
    let script =
        "cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/x && chown 5:6 /tmp/x && stat -c %u:%g /tmp/x";
    let container = user.container(&["sh", "-c", script], |config| {
        with_subordinate_ids(config);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
        }
    });
    let run = user.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let output = with_range(case, "300000:1000", &run).ok();
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    let map = ["0", "65534", "1", "1", "300000", "1000"];
    assert_eq!(words, [&map[..], &map, &["5:6"]].concat(), "{output}");
    let file = fs::metadata(container.rootfs("tmp/x")).expect("the file");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((file.uid(), file.gid()), (300_004, 300_005));
    case.nothing_left();
}

fn ids_that_are_not_the_user_s_are_refused(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["true"], with_subordinate_ids);
    let run = user.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let output = with_range(case, "300000:999", &run);
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["newuidmap"]);
    case.nothing_left();
}

/// Without them the kernel lets a user map one id alone.
fn several_ids_without_the_mappers_are_refused(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["true"], with_subordinate_ids);
    let run = user.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let setpriv = find_program("setpriv").expect("util-linux is installed");
    let mut without = Command::new("sh");
    without
        .args(["-c", "PATH=/nonexistent; exec \"$@\"", "x"])
        .arg(setpriv)
        .args(run.get_args())
        .stdin(Stdio::null());
    for (name, value) in run.get_envs() {
        without.env(name, value.unwrap_or_default());
    }
    let output = case.finish(without);
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["newuidmap"]);
    case.nothing_left();
}

/// A tree that an administrator has given to the user, who is in it (cgroups(7), "Delegation").
fn delegated_cgroup(case: &Case) {
    let user = User::new(case);
    let name = format!("{}delegated", case.mark);
    let container = user.container(&["sleep", "100"], |config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{name}/container"));
        config["linux"]["resources"] = json!({ "unified": { "cgroup.max.descendants": "3" } });
    });
    let script = format!(
        "{MOUNT_TREE} && cd /sys/fs/cgroup && mkdir -p {name}/here && \
         chown {USER} {name} {name}/cgroup.procs {name}/cgroup.subtree_control {name}/here {name}/here/cgroup.procs && \
         echo $$ >{name}/here/cgroup.procs && cd / && exec \"$@\""
    );
    let call = |args: &[&str]| {
        let command = user.command(args);
        let mut wrapped = Command::new("unshare");
        wrapped
            .args(["-m", "sh", "-c", &script, "x"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (key, value) in command.get_envs() {
            wrapped.env(key, value.unwrap_or_default());
        }
        case.finish(wrapped)
    };
    call(&["run", "--detach", "--bundle", &container.bundle(), &container.id]).ok();
    let groups = crate::harness::leaks::cgroups(&name);
    let group = groups.iter().find(|group| group.ends_with("container"));
    let group = group.unwrap_or_else(|| panic!("no cgroup of the container: {groups:?}"));
    let read = |file: &str| fs::read_to_string(group.join(file)).expect("a file of the cgroup");
    assert_eq!(read("cgroup.max.descendants").trim(), "3");
    assert_eq!(read("cgroup.procs").lines().count(), 1);
    // Files that the user made are the user's.
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(group).expect("it"));
    assert_eq!(owner, USER);
    call(&["pause", &container.id]).ok();
    assert_eq!(read("cgroup.freeze").trim(), "1");
    call(&["delete", "--force", &container.id]).ok();
    for group in crate::harness::leaks::cgroups(&name).iter().rev() {
        assert!(!group.ends_with("container"), "{}", group.display());
        fs::remove_dir(group).expect("it is empty");
    }
    case.nothing_left();
}

/// What engines write where nothing was asked for, where there can be no cgroup.
fn limits_that_are_nothing_need_no_cgroup(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["echo", "fine"], |config| {
        config["linux"]["resources"] = json!({
            "memory": {}, "cpu": { "shares": 0 }, "devices": [{ "allow": false, "access": "rwm" }]
        });
    });
    let output = user.call(&["run", "--bundle", &container.bundle(), &container.id]);
    assert_eq!(output.ok().stdout, "fine\n");
}

/// Its pid namespace tells which processes are the container's.
fn kill_all_without_a_cgroup(case: &Case) {
    let user = User::new(case);
    let script = "(trap 'echo got >/tmp/got' USR1; echo up >/tmp/up; while :; do sleep 0.05; done) & \
                  trap : USR1; while :; do sleep 0.05; done";
    let container = user.container(&["sh", "-c", script], |_| {});
    user.call(&["run", "--detach", "--bundle", &container.bundle(), &container.id])
        .ok();
    container.wait_for_file("tmp/up");
    user.call(&["kill", "--all", &container.id, "USR1"]).ok();
    container.wait_for_file("tmp/got");
    user.call(&["kill", "--all", &container.id, "KILL"]).ok();
    crate::harness::command::eventually("no process is left", || {
        let processes = crate::harness::leaks::processes(case);
        processes.is_empty().then_some(())
    });
    user.call(&["delete", &container.id]).ok();
    case.nothing_left();
}

/// The kernel lets only root into the namespaces of a process that hides, as a guest's does, and that has not
/// executed anything within them.
fn exec_beside_a_guest_is_refused(case: &Case) {
    let user = User::new(case);
    let container = user.container(&["/sleep.wasm"], |_| {});
    container.write("sleep.wasm", guest::binary("sleep"), 0o644);
    user.call(&["run", "--detach", "--bundle", &container.bundle(), &container.id])
        .ok();
    let output = user.call(&["exec", &container.id, "true"]);
    case.names(&output, &["Wasm guest", "only root"]);
    user.call(&["delete", "--force", &container.id]).ok();
    case.nothing_left();
}

/// In a scope named after the test, with limits.
fn in_a_scope(case: &Case) -> impl FnOnce(&mut Value) {
    let path = format!(":wrun:{}", case.mark);
    move |config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 33 } });
    }
}

fn limits_in_a_scope_of_the_user_s_systemd(case: &Case) {
    let user = User::of_systemd(case);
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    let container = user.container(&["sh", "-c", script], in_a_scope(case));
    let output = user
        .call(&["run", "--bundle", &container.bundle(), &container.id])
        .ok();
    assert_eq!(output.stdout, "67108864\n33\n", "{output}");
    case.nothing_left();
}

/// The kernel lets a user move no process between what is below his systemd and what is not.
fn exec_enters_a_scope_of_the_user_s_systemd(case: &Case) {
    let user = User::of_systemd(case);
    let container = user.container(&["sleep", "1000"], in_a_scope(case));
    user.call(&["run", "--detach", "--bundle", &container.bundle(), &container.id])
        .ok();
    let output = user
        .call(&["exec", &container.id, "cat", "/proc/self/cgroup"])
        .ok();
    assert_eq!(output.stdout, "0::/\n", "as its cgroup namespace shows the scope");
    user.call(&["delete", "--force", &container.id]).ok();
    case.nothing_left();
}

/// The process that compiles enters the container's cgroup, too.
fn wasm_in_a_scope_of_the_user_s_systemd(case: &Case) {
    let user = User::of_systemd(case);
    let container = user.container(&["/hello.wasm"], in_a_scope(case));
    container.write("hello.wasm", guest::binary("hello"), 0o644);
    let output = user
        .call(&["run", "--bundle", &container.bundle(), &container.id])
        .ok();
    assert!(output.stdout.contains("Hello from Wasm"), "{output}");
    case.nothing_left();
}
