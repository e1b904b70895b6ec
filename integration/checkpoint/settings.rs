//! What config.json asks for is so after a restore as it was before.

use std::fs;

use serde_json::{Value, json};

use super::{
    COUNT, checkpoint, count, counter, goes_on, images, is_gone, knows, restore, run, try_checkpoint,
};
use crate::cgroups::{assert_file, cgroup};
use crate::harness::bundle::{add_mount, map_ids, set_namespace};
use crate::harness::command::eventually;
use crate::harness::{Case, Container, Need, Test, leaks, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(mounts_from_the_host),
        test!(mounts_come_from_where_the_bundle_says),
        test!(recursive_bind_mounts).wrun_only("runc names only the mount itself to CRIU"),
        test!(masked_and_read_only_paths),
        test!(paths_that_are_not_protected_in_the_images).wrun_only("runc leaves them to CRIU"),
        test!(confinement).needs(Need::RaiseLimits),
        test!(read_only_rootfs),
        test!(limits_are_in_force),
        test!(another_cgroup).runc_from(2, "--manage-cgroups-mode ignore"),
        test!(cgroup_modes),
        test!(cgroup_namespace)
            .wrun_only("runc does not restore the namespace with --manage-cgroups-mode ignore"),
        test!(hooks_are_run),
        test!(user_namespace),
        test!(network_that_was_joined),
        test!(ipc_that_was_joined),
        test!(loopback_is_up_again).wrun_only("runc leaves a restored network namespace empty"),
        test!(tcp_connections).wrun_only("runc leaves the loopback interface down"),
        test!(scope_of_systemd).needs(Need::Systemd),
    ]
}

fn again(container: &Container) {
    checkpoint(container, &[]);
    container.case.call(&["state", &container.id]).code_is(1);
    let before = count(container);
    restore(container, &[]);
    goes_on(container, before);
}

fn mounts_from_the_host(case: &Case) {
    fs::create_dir_all(case.path("data/sub")).expect("a directory");
    fs::write(case.path("data/word"), "here\n").expect("a file");
    let container = case.script_with(COUNT, |config| {
        let data = case.path("data");
        add_mount(config, "/data", "bind", &data, &["bind"]);
        add_mount(config, "/link", "bind", &data, &["bind", "ro"]);
        add_mount(config, "/data/sub/nested", "bind", &data, &["bind"]);
        add_mount(
            config,
            "/etc/word",
            "bind",
            &case.path("data/word"),
            &["bind", "ro"],
        );
        add_mount(config, "/dev/data", "bind", &data, &["bind"]);
        add_mount(config, "/run", "tmpfs", "tmpfs", &["mode=755"]);
        add_mount(config, "/run/data", "bind", &data, &["bind"]);
    });
    fs::create_dir_all(container.rootfs("real")).expect("a directory");
    std::os::unix::fs::symlink("/real/place", container.rootfs("link")).expect("a link");
    fs::create_dir_all(container.rootfs("real/place")).expect("a directory");
    run(&container, &[]);
    count(&container);
    container.sh("echo kept >/run/file");
    checkpoint(&container, &[]);
    // Places that the creation has made are made again.
    fs::remove_dir(case.path("data/sub/nested")).expect("it is empty");
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
    let words =
        "cat /data/word /link/word /data/sub/nested/word /etc/word /dev/data/word /run/data/word /run/file";
    assert_eq!(container.sh(words), "here\nhere\nhere\nhere\nhere\nhere\nkept");
    container.sh("echo new >/data/new");
    assert_eq!(
        fs::read_to_string(case.path("data/new")).expect("it is the host's"),
        "new\n"
    );
    // CRIU restores a read-only bind of a file writable where the same is bound writable elsewhere; wrun sets it again.
    let read_only: &[&str] = match case.runtime.ours {
        true => &["/link/x", "/etc/word"],
        false => &["/link/x"],
    };
    for path in read_only {
        let refused = container.exec(&["sh", "-c", &format!("echo x >{path}")]);
        assert!(refused.stderr.contains("ead-only"), "{refused}");
    }
}

fn mounts_come_from_where_the_bundle_says(case: &Case) {
    for name in ["old", "new"] {
        fs::create_dir(case.path(name)).expect("a directory");
        fs::write(case.path(name).clone() + "/word", name).expect("a file");
    }
    let container = counter(case, |config| {
        add_mount(config, "/data", "bind", &case.path("old"), &["bind"]);
    });
    checkpoint(&container, &[]);
    container.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.last_mut().expect("ours")["source"] = json!(case.path("new"));
    });
    restore(&container, &[]);
    assert_eq!(container.sh("cat /data/word"), "new");
}

fn recursive_bind_mounts(case: &Case) {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let inner = case.path("data/inner");
    fs::create_dir_all(&inner).expect("a directory");
    mount("tmpfs", &inner, "tmpfs", MountFlags::empty(), c"").expect("a tmpfs");
    fs::write(format!("{inner}/word"), "inner").expect("a file");
    let container = counter(case, |config| {
        add_mount(config, "/data", "bind", &case.path("data"), &["rbind"]);
        add_mount(config, "/data/inner/deep", "tmpfs", "tmpfs", &[]);
    });
    checkpoint(&container, &[]);
    // Its place is made again where it was: in what is mounted below the source.
    fs::remove_dir(format!("{inner}/deep")).expect("it is empty");
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
    assert!(std::path::Path::new(&format!("{inner}/deep")).exists());
    assert_eq!(container.sh("cat /data/inner/word"), "inner");
    container.delete_with(&["--force"]).ok();
    unmount(&inner, UnmountFlags::DETACH).expect("ours");
}

fn masked_and_read_only_paths(case: &Case) {
    let container = case.script_with(COUNT, |config| {
        config["linux"]["maskedPaths"] = json!([
            "/proc/keys",
            "/proc/timer_list",
            "/sys/firmware",
            "/secret",
            "/hidden"
        ]);
        add_mount(config, "/hidden", "tmpfs", "tmpfs", &[]);
    });
    container.write("secret", "secret", 0o644);
    run(&container, &[]);
    count(&container);
    let look = "wc -c </proc/keys; wc -c </secret; ls /sys/firmware /hidden; \
                grep -c ' /proc/sys .* ro[, ]' /proc/self/mountinfo; (echo x >/proc/sys/kernel/domainname) 2>&1";
    let before = container.exec(&["sh", "-c", look]).stdout;
    again(&container);
    let after = container.exec(&["sh", "-c", look]);
    assert_eq!(after.stdout, before);
    assert!(after.stdout.starts_with("0\n0\n"), "{after}");
    assert!(after.stdout.contains("ead-only"), "{after}");
}

/// config.json hides and protects more than it did when the checkpoint was made.
fn paths_that_are_not_protected_in_the_images(case: &Case) {
    let container = case.script_with(COUNT, |config| {
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    container.write("secret/word", "secret", 0o644);
    container.write("hidden", "secret", 0o644);
    run(&container, &[]);
    count(&container);
    checkpoint(&container, &[]);
    container.edit(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/proc/timer_list"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
    assert_eq!(container.sh("ls /secret; cat /hidden /proc/timer_list"), "");
    let refused = container.exec(&["sh", "-c", "echo x >/proc/sys/kernel/domainname"]);
    assert!(refused.stderr.contains("ead-only"), "{refused}");
}

fn confinement(case: &Case) {
    let container = case.script_with(&COUNT.replace("/n", "/tmp/n"), |config| {
        config["process"]["oomScoreAdj"] = json!(123);
        config["process"]["user"] =
            json!({ "uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [2000] });
        config["process"]["cwd"] = json!("/tmp");
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
        });
    });
    let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(container.rootfs("tmp"), open).expect("our own directory");
    run(&container, &[]);
    container.wait_for_file("tmp/n");
    // What the kernel says of its rights, without what counts memory and switches.
    let rights = || -> Vec<String> {
        let status = fs::read_to_string(container.proc("status")).expect("its status");
        let wanted = ["Umask", "Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp"];
        let lines = status
            .lines()
            .filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        let mut rights: Vec<String> = lines.map(str::to_owned).collect();
        for file in ["limits", "oom_score_adj", "attr/current"] {
            rights.push(fs::read_to_string(container.proc(file)).unwrap_or_default());
        }
        rights
    };
    let before = rights();
    assert!(before.iter().any(|line| line == "Seccomp:\t2"), "{before:#?}");
    checkpoint(&container, &[]);
    restore(&container, &[]);
    assert_eq!(rights(), before);
    assert_eq!(
        fs::read_link(container.proc("cwd"))
            .expect("it has one")
            .file_name()
            .expect("a name"),
        "tmp"
    );
}

fn read_only_rootfs(case: &Case) {
    fs::create_dir(case.path("out")).expect("a directory");
    let container = case.script_with(&COUNT.replace("/n", "/out/n"), |config| {
        config["root"]["readonly"] = json!(true);
        add_mount(config, "/out", "bind", &case.path("out"), &["bind"]);
    });
    run(&container, &[]);
    let counted = || {
        fs::read_to_string(case.path("out/n"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    eventually("it counts", counted);
    checkpoint(&container, &[]);
    let before = counted().expect("a number");
    restore(&container, &[]);
    eventually("it counts on", || counted().filter(|now| *now > before));
    let refused = container.exec(&["sh", "-c", "echo x >/file"]);
    assert!(refused.stderr.contains("ead-only"), "{refused}");
}

fn with_limits(config: &mut Value) {
    config["linux"]["resources"]["pids"] = json!({ "limit": 64 });
    config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
}

fn memory_file(container: &Container) -> &'static str {
    match cgroup(container, "memory").join("memory.max").exists() {
        true => "memory.max",
        false => "memory.limit_in_bytes",
    }
}

#[track_caller]
fn has_limits(container: &Container) {
    assert_file(container, "pids", "pids.max", "64");
    assert_file(
        container,
        "memory",
        memory_file(container),
        &(64 << 20).to_string(),
    );
    let denied = container.exec(&["sh", "-c", "mknod /dev/x c 10 200 2>&1 && cat /dev/x"]);
    assert!(!denied.status.success(), "{denied}");
}

fn limits_are_in_force(case: &Case) {
    let container = counter(case, with_limits);
    has_limits(&container);
    let before = cgroup(&container, "pids");
    again(&container);
    has_limits(&container);
    assert_eq!(cgroup(&container, "pids"), before);
}

fn another_cgroup(case: &Case) {
    let container = counter(case, with_limits);
    checkpoint(&container, &["--manage-cgroups-mode", "ignore"]);
    let path = format!("/{}parent/child", case.mark);
    container.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    restore(&container, &["--manage-cgroups-mode", "ignore"]);
    goes_on(&container, count(&container));
    assert!(cgroup(&container, "pids").ends_with(&path[1..]));
    has_limits(&container);
    container.delete_with(&["--force"]).ok();
    for group in leaks::cgroups(&case.mark).iter().rev() {
        fs::remove_dir(group).expect("the parent is empty");
    }
}

fn cgroup_modes(case: &Case) {
    for mode in modes(case) {
        let container = counter(case, with_limits);
        checkpoint(&container, &["--manage-cgroups-mode", mode]);
        is_gone(&container);
        let before = count(&container);
        restore(&container, &["--manage-cgroups-mode", mode]);
        goes_on(&container, before);
        has_limits(&container);
        container.delete_with(&["--force"]).ok();
        case.nothing_left();
    }
}

/// Those that the runtime has: `ignore` is not in older versions of runc.
fn modes(case: &Case) -> Vec<&'static str> {
    let mut modes = vec!["soft", "full"];
    modes.extend(knows(case, "ignore").then_some("ignore"));
    modes
}

/// The container sees no more of the host's cgroups than before.
fn cgroup_namespace(case: &Case) {
    for mode in modes(case) {
        let container = counter(case, |config| {
            set_namespace(config, "cgroup", None);
            add_mount(
                config,
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["ro", "nosuid", "noexec", "nodev"],
            );
        });
        let look = "cat /proc/1/cgroup; ls -R /sys/fs/cgroup | wc -l";
        let before = container.sh("cat /proc/1/cgroup");
        checkpoint(&container, &["--manage-cgroups-mode", mode]);
        restore(&container, &["--manage-cgroups-mode", mode]);
        assert_eq!(
            container.sh("cat /proc/1/cgroup"),
            before,
            "{mode}: {}",
            container.sh(look)
        );
        container.delete_with(&["--force"]).ok();
    }
}

fn hooks_are_run(case: &Case) {
    let container = case.script_with(COUNT, |config| {
        for kind in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ] {
            let log = case.path("log");
            let script = format!("echo {kind} >>{log}; cat >{log}.{kind}");
            // Those in the container find no such file there.
            let args = json!([
                "sh",
                "-c",
                format!("test -d {} && {{ {script}; }}; true", case.path(""))
            ]);
            config["hooks"][kind] =
                json!([{ "path": "/bin/sh", "args": args, "env": ["PATH=/bin:/usr/bin"] }]);
        }
    });
    run(&container, &[]);
    count(&container);
    let log = || fs::read_to_string(case.path("log")).unwrap_or_default();
    let take = || {
        let text = log();
        fs::remove_file(case.path("log")).expect("the log");
        text
    };
    take();
    checkpoint(&container, &[]);
    assert_eq!(take(), "poststop\n");
    restore(&container, &[]);
    assert_eq!(take(), "prestart\ncreateRuntime\n");
    let state = fs::read(case.path("log.createRuntime")).expect("the state");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    assert_eq!(
        (&state["id"], &state["pid"]),
        (&json!(container.id), &json!(container.pid()))
    );
    goes_on(&container, count(&container));
}

fn user_namespace(case: &Case) {
    let container = case.script_with(COUNT, |config| map_ids(config, 100_000));
    let all = std::process::Command::new("chown")
        .args(["-R", "100000:100000"])
        .arg(container.rootfs(""))
        .status();
    assert!(all.expect("chown").success());
    // runc leaves the images to root alone; wrun shows them to the root of the user namespace.
    if !case.runtime.ours {
        fs::create_dir(images(&container)).expect("a directory");
    }
    run(&container, &[]);
    count(&container);
    let look = "id -u; cat /proc/1/uid_map; stat -c %u /proc/1 /dev/null /n";
    let before = container.sh(look);
    again(&container);
    assert_eq!(container.sh(look), before);
    // On the host it is no root.
    let status = fs::read_to_string(container.proc("status")).expect("its status");
    assert!(status.contains("Uid:\t100000"), "{status}");
}

fn network_that_was_joined(case: &Case) {
    let holder = case.script("sleep 1000");
    holder.run_detached();
    let path = format!("/proc/{}/ns/net", holder.pid());
    let container = counter(case, |config| set_namespace(config, "network", Some(&path)));
    again(&container);
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("a namespace");
    assert_eq!(namespace(container.pid()), namespace(holder.pid()));
}

fn ipc_that_was_joined(case: &Case) {
    let holder = case.script("sleep 1000");
    holder.run_detached();
    let pid = holder.pid();
    let container = counter(case, |config| {
        set_namespace(config, "ipc", Some(&format!("/proc/{pid}/ns/ipc")));
        set_namespace(config, "uts", Some(&format!("/proc/{pid}/ns/uts")));
        config.as_object_mut().expect("an object").remove("hostname");
    });
    again(&container);
    for kind in ["ipc", "uts"] {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_eq!(namespace(container.pid()), namespace(pid), "{kind}");
    }
}

fn loopback_is_up_again(case: &Case) {
    let container = counter(case, |config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "7" });
    });
    again(&container);
    assert_eq!(
        container.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
        "7"
    );
    assert!(container.sh("ip link show lo").contains("UP"));
    container.sh("ping -c 1 127.0.0.1 || nc -z 127.0.0.1 1 || ip addr show lo | grep 127.0.0.1");
}

fn tcp_connections(case: &Case) {
    let script = "sleep 1000 | nc -l -p 5000 >/got & sleep 0.5; \
        while :; do echo x; i=$((i+1)); echo $i >/n.new; mv /n.new /n; sleep 0.05; done | nc 127.0.0.1 5000";
    let container = case.script(script);
    run(&container, &[]);
    let got = || fs::metadata(container.rootfs("got")).map_or(0, |file| file.len());
    eventually("bytes go through the connection", || (got() > 4).then_some(()));
    let refused = try_checkpoint(&container, &[]).code_is(1);
    assert!(refused.error().contains("tcp") || !case.runtime.ours, "{refused}");
    let before = got();
    eventually("the refusal has changed nothing", || {
        (got() > before).then_some(())
    });
    checkpoint(&container, &["--tcp-established"]);
    let before = got();
    restore(&container, &["--tcp-established"]);
    eventually("bytes go through the restored connection", || {
        (got() > before + 4).then_some(())
    });
}

fn scope_of_systemd(case: &Case) {
    let name = format!("{}scope", case.mark);
    let container = case.script_with(COUNT, |config| {
        config["linux"]["cgroupsPath"] = json!(format!("system.slice:wt:{name}"));
        with_limits(config);
    });
    let bundle = container.bundle();
    let call = |words: &[&str]| {
        let mut command = case.command(&[&["--systemd-cgroup"], words].concat());
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        crate::harness::command::Running::start_silent(command)
            .wait()
            .ok();
    };
    call(&["run", "--detach", "--bundle", &bundle, &container.id]);
    count(&container);
    let images = case.path("images");
    call(&["checkpoint", "--image-path", &images, &container.id]);
    let before = count(&container);
    call(&[
        "restore",
        "--detach",
        "--bundle",
        &bundle,
        "--image-path",
        &images,
        &container.id,
    ]);
    goes_on(&container, before);
    let own = cgroup(&container, "pids");
    assert!(
        own.ends_with(format!("system.slice/wt-{name}.scope")),
        "{}",
        own.display()
    );
    has_limits(&container);
    call(&["delete", "--force", &container.id]);
}
