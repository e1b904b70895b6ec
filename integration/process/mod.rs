//! What the container's process is and is confined by: user, groups, capabilities, limits, environment.

mod scheduling;
mod sets;

pub use sets::CAPABILITIES;

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::facts::APPARMOR_PROFILE;
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test!(capability_sets_of_root).covers(&["process.capabilities.{bounding,permitted,effective}"]),
        test!(capability_sets_of_another_user).covers(&[
            "process.capabilities.{bounding,permitted,effective,inheritable,ambient}",
            "process.user.uid",
        ]),
        test!(no_capabilities)
            .covers(&["process.capabilities.{bounding,permitted,effective,inheritable,ambient}"]),
        test!(bounding_set_holds_for_root),
        test!(ambient_capability_that_is_not_inheritable_is_warned_of)
            .wrun_only("runc before 1.3 passes over it in silence"),
        test!(cpus_of_the_caller_do_not_bind)
            .needs(Need::TwoCpus)
            .wrun_only("runc does so from 1.4 on, before it was the kernel's, up to 6.1"),
        test!(rlimits).covers(&["process.rlimits.{type,soft,hard}"]),
        test!(rlimit_above_the_hard_limit)
            .covers(&["process.rlimits.hard"])
            .needs(Need::RaiseLimits),
        test!(rlimit_named_twice_is_refused),
        test!(no_new_privileges).covers(&["process.noNewPrivileges"]),
        test!(umask).covers(&["process.user.umask"]),
        test!(user_and_group).covers(&["process.user.{uid,gid}"]),
        test!(additional_groups).covers(&["process.user.additionalGids"]),
        test!(no_additional_groups_clears_the_caller_s).covers(&["process.user.additionalGids"]),
        test!(oom_score).covers(&["process.oomScoreAdj"]),
        test!(working_directory).covers(&["process.cwd"]),
        test!(environment_is_that_of_the_config).covers(&["process.env"]),
        test!(home_comes_from_passwd),
        test!(last_value_of_a_variable_counts).covers(&["process.env"]),
        test!(passwd_that_is_no_file_is_not_read).wrun_only("runc waits at a pipe for somebody who writes"),
        test!(change_of_user_leaves_init_undumpable)
            .wrun_only("runc's init is what the host's setting makes it"),
        test!(path_of_the_config_finds_the_program).covers(&["process.{args,env}"]),
        test!(relative_program_is_taken_from_the_working_directory).covers(&["process.{args,cwd}"]),
        test!(arguments_are_passed_as_they_are).covers(&["process.args"]),
        test!(scripts_run_by_their_interpreter),
        test!(first_process_is_pid_1_and_leads_its_session),
        test!(signals_are_neither_blocked_nor_ignored),
        test!(apparmor_profile)
            .covers(&["process.apparmorProfile"])
            .needs(Need::AppArmorProfile),
        test!(apparmor_profile_without_securityfs).needs(Need::AppArmorProfile),
        test!(apparmor_profile_that_is_not_loaded_is_refused).covers(&["process.apparmorProfile"]),
        test!(labels_without_selinux_are_refused)
            .needs(Need::NoSelinux)
            .covers(&["process.selinuxLabel", "linux.mountLabel"]),
        test!(mount_label)
            .needs(Need::Selinux)
            .covers(&["linux.mountLabel"]),
        test!(selinux_label)
            .covers(&["process.selinuxLabel"])
            .needs(Need::Selinux),
    ];
    tests.extend(scheduling::tests());
    tests.extend(sets::tests());
    tests
}

/// The number in the line `name:` of /proc/self/status, as printed by the container.
fn status(text: &str, name: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .to_owned()
}

/// /proc/self/status of the first process of a container made with `edit`.
fn status_with(case: &Case, edit: impl FnOnce(&mut Value)) -> String {
    case.container_with(&["cat", "/proc/self/status"], edit)
        .run()
        .ok()
        .stdout
}

/// Asserts the five capability sets, in the order of /proc/self/status.
#[track_caller]
fn assert_sets(text: &str, masks: [u64; 5]) {
    for (name, mask) in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .iter()
        .zip(masks)
    {
        assert_eq!(status(text, name), format!("{mask:016x}"), "{name}");
    }
}

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_BIND_SERVICE: u64 = 1 << 10;

fn capability_sets_of_root(case: &Case) {
    for no_new_privileges in [false, true] {
        let text = status_with(case, |config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"],
                "inheritable": [], "ambient": []
            });
        });
        // capabilities(7): what root executes is given the whole bounding set, but with no_new_privs no more
        // than was permitted before.
        let bounding = CHOWN | KILL | NET_BIND_SERVICE;
        let permitted = if no_new_privileges { CHOWN | KILL } else { bounding };
        assert_sets(&text, [0, permitted, permitted, bounding, 0]);
    }
}

fn capability_sets_of_another_user(case: &Case) {
    let text = status_with(case, |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"]
        });
    });
    let (inheritable, all) = (KILL | NET_BIND_SERVICE, CHOWN | KILL | NET_BIND_SERVICE);
    assert_sets(
        &text,
        [
            inheritable,
            NET_BIND_SERVICE,
            NET_BIND_SERVICE,
            all,
            NET_BIND_SERVICE,
        ],
    );
}

fn no_capabilities(case: &Case) {
    let text = status_with(case, |config| {
        config["process"]["capabilities"] = json!({
            "bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": []
        });
    });
    assert_sets(&text, [0; 5]);
}

fn bounding_set_holds_for_root(case: &Case) {
    let container = case.container_with(&["chown", "1000", "/tmp"], |_| {});
    let output = container.run().code_is(1);
    assert!(output.stderr.contains("Operation not permitted"), "{output}");
}

fn ambient_capability_that_is_not_inheritable_is_warned_of(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]
        });
    });
    let output = container.run().ok();
    let warning = "can't raise ambient capability CAP_CHOWN: ";
    assert!(output.stderr.contains(warning), "{output}");
    assert_eq!(status(&output.stdout, "CapAmb"), "0000000000000000");
}

fn cpus_of_the_caller_do_not_bind(case: &Case) {
    let bound = |command: Command| {
        let mut taskset = Command::new("taskset");
        taskset
            .args(["-c", "0"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                taskset.env(name, value);
            }
        }
        case.finish(taskset).ok().stdout
    };
    let show = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let own = std::fs::read_to_string("/proc/self/status").expect("our status");
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed_list"));
    let own = format!("{}\n", own.expect("our CPUs"));
    let container = case.container(&show);
    assert_eq!(bound(container.command("run", &[])), own);
    let container = case.container(&["sleep", "1000"]);
    container.run_detached();
    let exec = [&["exec", &container.id], show.as_slice()].concat();
    assert_eq!(bound(case.command(&exec)), own);
}

/// The soft and hard limit in a line of /proc/self/limits.
fn limits(text: &str, name: &str) -> Vec<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("{name}"));
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn rlimits(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/limits"], |config| {
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 4096 },
            { "type": "RLIMIT_FSIZE", "soft": 8192, "hard": 16384 },
            { "type": "RLIMIT_NPROC", "soft": 50, "hard": 60 },
        ]);
    });
    let text = container.run().ok().stdout;
    assert_eq!(limits(&text, "Max core file size"), ["0", "4096"]);
    assert_eq!(limits(&text, "Max file size"), ["8192", "16384"]);
    assert_eq!(limits(&text, "Max processes"), ["50", "60"]);
    let files = limits(&text, "Max open files");
    // runc built with Go 1.19 raises the soft limit to the hard one before it sets anything.
    assert!(files == ["100", "200"] || !case.runtime.ours, "{files:?}");
}

fn rlimit_above_the_hard_limit(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/limits"], |config| {
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": u64::MAX }]);
    });
    assert_eq!(
        limits(&container.run().ok().stdout, "Max core file size"),
        ["1", "unlimited"]
    );
}

fn rlimit_named_twice_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        let limit = json!({ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 });
        config["process"]["rlimits"] = json!([limit, limit]);
    });
    // runc takes the last one; the spec asks for an error.
    let output = container.run();
    assert!(output.status.success() != case.runtime.ours, "{output}");
    if case.runtime.ours {
        case.names(&output, &["RLIMIT_CORE"]);
    }
}

fn no_new_privileges(case: &Case) {
    for on in [true, false] {
        let text = status_with(case, |config| config["process"]["noNewPrivileges"] = json!(on));
        assert_eq!(status(&text, "NoNewPrivs"), if on { "1" } else { "0" });
    }
}

fn umask(case: &Case) {
    let text = status_with(case, |config| config["process"]["user"]["umask"] = json!(0o137));
    assert_eq!(status(&text, "Umask"), "0137");
    // Without one it is not the caller's.
    let container = case.container(&["grep", "Umask", "/proc/self/status"]);
    let mut shell = Command::new("sh");
    let run = container.command("run", &[]);
    shell
        .args(["-c", "umask 0077; exec \"$@\"", "sh"])
        .arg(run.get_program())
        .args(run.get_args());
    shell.stdin(std::process::Stdio::null());
    assert_eq!(case.finish(shell).ok().stdout, "Umask:\t0022\n");
}

fn user_and_group(case: &Case) {
    let text = status_with(case, |config| {
        config["process"]["user"] = json!({ "uid": 1234, "gid": 5678 })
    });
    assert_eq!(status(&text, "Uid"), "1234\t1234\t1234\t1234");
    assert_eq!(status(&text, "Gid"), "5678\t5678\t5678\t5678");
}

fn additional_groups(case: &Case) {
    let text = status_with(case, |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [7, 2000] });
    });
    assert_eq!(status(&text, "Groups"), "7 2000");
}

/// Runs a container with a caller that has additional groups of its own.
fn run_with_groups(container: &Container) -> String {
    let run = container.command("run", &[]);
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args(["--groups", "4,24", "--"])
        .arg(run.get_program())
        .args(run.get_args());
    setpriv.stdin(std::process::Stdio::null());
    container.case.finish(setpriv).ok().stdout
}

fn no_additional_groups_clears_the_caller_s(case: &Case) {
    for gids in [json!([]), Value::Null] {
        for uid in [0, 1000] {
            let container = case.container_with(&["cat", "/proc/self/status"], |config| {
                config["process"]["user"] = json!({ "uid": uid, "gid": uid });
                if !gids.is_null() {
                    config["process"]["user"]["additionalGids"] = gids.clone();
                }
            });
            assert_eq!(
                status(&run_with_groups(&container), "Groups"),
                "",
                "uid {uid}, {gids}"
            );
        }
    }
}

fn oom_score(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/oom_score_adj"], |config| {
        config["process"]["oomScoreAdj"] = json!(456);
    });
    assert_eq!(container.run().ok().stdout, "456\n");
}

fn working_directory(case: &Case) {
    let container = case.container_with(&["pwd"], |config| config["process"]["cwd"] = json!("/bin"));
    assert_eq!(container.run().ok().stdout, "/bin\n");
    // Engines count on a missing one being made.
    let made = case.container_with(&["pwd"], |config| {
        config["process"]["cwd"] = json!("/new/directory")
    });
    assert_eq!(made.run().ok().stdout, "/new/directory\n");
}

fn environment_is_that_of_the_config(case: &Case) {
    let container = case.container_with(&["/bin/env"], |config| {
        config["process"]["env"] = json!(["ONE=1", "EMPTY=", "TWO=a=b c", "HOME=/elsewhere"]);
    });
    let output = container.run().ok();
    let mut lines = output.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["EMPTY=", "HOME=/elsewhere", "ONE=1", "TWO=a=b c"]);
}

fn last_value_of_a_variable_counts(case: &Case) {
    let container = case.container_with(&["/bin/env"], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=2", "ONE=3", "HOME="]);
    });
    let output = container.run().ok();
    let mut lines = output.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME=/root", "ONE=3", "TWO=2"]);
}

fn home_comes_from_passwd(case: &Case) {
    for (uid, home) in [(0, "/root"), (1000, "/home"), (4321, "/")] {
        let container = case.container_with(&["sh", "-c", "echo $HOME"], |config| {
            config["process"]["user"] = json!({ "uid": uid, "gid": uid });
        });
        assert_eq!(container.run().ok().stdout, format!("{home}\n"), "of {uid}");
    }
}

fn path_of_the_config_finds_the_program(case: &Case) {
    let container = case.container_with(&["program"], |config| {
        config["process"]["env"] = json!(["PATH=/first:/second"]);
    });
    container.write("first/program", "not executable", 0o644);
    container.write("second/program", "#!/bin/sh\necho second\n", 0o755);
    assert_eq!(container.run().ok().stdout, "second\n");
}

fn relative_program_is_taken_from_the_working_directory(case: &Case) {
    let container = case.container_with(&["./program"], |config| config["process"]["cwd"] = json!("/tmp"));
    container.write("tmp/program", "#!/bin/sh\necho from $PWD\n", 0o755);
    assert_eq!(container.run().ok().stdout, "from /tmp\n");
}

fn arguments_are_passed_as_they_are(case: &Case) {
    let container = case.container(&[
        "sh",
        "-c",
        "for a; do echo \"[$a]\"; done",
        "x",
        "",
        "a b",
        "*",
        "'\"\\",
    ]);
    assert_eq!(container.run().ok().lines(), ["[]", "[a b]", "[*]", "['\"\\]"]);
}

fn scripts_run_by_their_interpreter(case: &Case) {
    let container = case.container(&["/script", "argument"]);
    container.write("script", "#!/bin/sh\necho $0 $1\n", 0o755);
    assert_eq!(container.run().ok().stdout, "/script argument\n");
}

fn first_process_is_pid_1_and_leads_its_session(case: &Case) {
    // Fields 1, 5 and 6 of proc_pid_stat(5): pid, process group, session.
    let output = case
        .script(
            "read pid name state parent group session rest </proc/self/stat; \
                              echo $$ $group $session",
        )
        .run()
        .ok();
    assert_eq!(output.stdout, "1 1 1\n");
}

fn signals_are_neither_blocked_nor_ignored(case: &Case) {
    let text = status_with(case, |_| {});
    assert_eq!(status(&text, "SigBlk"), "0000000000000000");
    let ignored = u64::from_str_radix(&status(&text, "SigIgn"), 16).expect("a mask");
    // All that programs use: 1 to 31. glibc keeps 32 and 33 for itself.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
}

fn apparmor_profile(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/attr/current"], |config| {
        config["process"]["apparmorProfile"] = json!(APPARMOR_PROFILE);
    });
    assert!(container.run().ok().stdout.starts_with(APPARMOR_PROFILE));
}

/// As Podman calls for a container with mapped ids.
fn apparmor_profile_without_securityfs(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/attr/current"], |config| {
        config["process"]["apparmorProfile"] = json!(APPARMOR_PROFILE);
    });
    let hidden = "umount -R /sys/kernel/security && exec \"$@\"";
    let wrapper = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        hidden,
        "x",
    ];
    let run = ["run", "--bundle", &container.bundle(), &container.id];
    let output = case.finish(case.command_under(&wrapper, &run)).ok();
    assert!(output.stdout.starts_with(APPARMOR_PROFILE), "{output}");
}

fn apparmor_profile_that_is_not_loaded_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["process"]["apparmorProfile"] = json!("no-such-profile");
    });
    // A security setting that cannot be applied is an error, whether the kernel lacks AppArmor or the profile.
    case.names(&container.run().code_is(1), &["no-such-profile"]);
    case.nothing_left();
}

fn selinux_label(case: &Case) {
    let label = "system_u:system_r:container_t:s0";
    let container = case.container_with(&["cat", "/proc/self/attr/current"], |config| {
        config["process"]["selinuxLabel"] = json!(label);
    });
    assert!(container.run().ok().stdout.contains("container_t"));
}

fn mount_label(case: &Case) {
    let container = case.script_with("grep ' /dev/shm ' /proc/self/mountinfo", |config| {
        config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
    });
    let output = container.run().ok();
    assert!(
        output.stdout.contains("context=") && output.stdout.contains("c1,c2"),
        "{output}"
    );
}

/// A security setting that cannot be applied is an error.
fn labels_without_selinux_are_refused(case: &Case) {
    for (part, property) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
        let container = case.container_with(&["true"], |config| {
            config[part][property] = json!("system_u:system_r:container_t:s0");
        });
        case.names(&container.run().code_is(1), &["SELinux"]);
        case.nothing_left();
    }
}

/// An image can put anything in the place of /etc/passwd: it must be neither waited for nor read without end.
fn passwd_that_is_no_file_is_not_read(case: &Case) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let mode = Mode::from_raw_mode(0o666);
    for (kind, device) in [
        (FileType::Fifo, 0),
        (FileType::CharacterDevice, makedev(1, 5)),
        (FileType::Socket, 0),
        (FileType::Symlink, 0),
    ] {
        let container = case.container(&["sh", "-c", "echo $HOME"]);
        let passwd = container.rootfs("etc/passwd");
        std::fs::remove_file(&passwd).expect("it was there");
        match kind {
            FileType::Symlink => std::os::unix::fs::symlink("/dev/zero", &passwd).expect("a link"),
            kind => mknodat(CWD, &passwd, kind, mode, device).expect("a node"),
        }
        assert_eq!(container.run().ok().stdout, "/\n", "{kind:?}");
        // And of a guest's environment, which the same process makes.
        let guest = case.container(&["/hello.wasm"]);
        guest.write("hello.wasm", crate::harness::guest::binary("hello"), 0o644);
        std::fs::remove_file(guest.rootfs("etc/passwd")).expect("it was there");
        std::fs::rename(&passwd, guest.rootfs("etc/passwd")).expect("moved");
        assert!(guest.run().ok().lines().contains(&"env HOME=/"), "{kind:?}");
    }
}

/// `fs.suid_dumpable`, put back at the end; it is the whole machine's.
struct SuidDumpable(String);

impl SuidDumpable {
    const FILE: &str = "/proc/sys/fs/suid_dumpable";

    fn set(value: &str) -> Self {
        let before = std::fs::read_to_string(Self::FILE).expect("the setting");
        std::fs::write(Self::FILE, value).expect("root may set it");
        Self(before)
    }
}

impl Drop for SuidDumpable {
    fn drop(&mut self) {
        std::fs::write(Self::FILE, &self.0).expect("root may set it");
    }
}

/// With this setting the kernel makes a process dumpable that changes its user, for others to read and to trace.
fn change_of_user_leaves_init_undumpable(case: &Case) {
    use std::os::unix::fs::MetadataExt;
    let _setting = SuidDumpable::set("1");
    for args in [&["sleep", "100"][..], &["/sleep.wasm"]] {
        let container = case.container_with(args, |config| {
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        });
        container.write("sleep.wasm", crate::harness::guest::binary("sleep"), 0o644);
        container.create();
        let file = container.proc("status");
        let text = std::fs::read_to_string(&file).expect("its status");
        assert!(status(&text, "Uid").starts_with("1000"), "{text}");
        // Of a process that is dumpable these files are its user's (proc_pid(5)).
        assert_eq!(std::fs::metadata(&file).expect("its status").uid(), 0);
        container.delete_with(&["--force"]).ok();
    }
}
