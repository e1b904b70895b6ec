//! Masked and read-only paths, the root itself, and the mount of the cgroups.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(masked_file_and_directory).covers(&["linux.maskedPaths"]),
        test!(masked_path_that_is_missing).covers(&["linux.{maskedPaths,readonlyPaths}"]),
        test!(readonly_paths).covers(&["linux.readonlyPaths"]),
        test!(readonly_root).covers(&["root.readonly"]),
        test!(root_outside_of_the_bundle).covers(&["root.path"]),
        test!(root_on_a_mount_of_its_own),
        test!(cgroup_mount)
            .covers(&["mounts.{type,options}"])
            .needs(Need::CgroupV1),
        test!(cgroup_mount_in_a_cgroup_namespace)
            .covers(&["mounts.type", "linux.namespaces.type=cgroup"])
            .needs(Need::CgroupV1),
        test!(cgroup_mount_on_v2_in_the_host_s_namespace)
            .covers(&["mounts.{type,options}"])
            .unified(),
        test!(cgroup_mount_of_the_host_s_gets_none_of_its_mounts)
            .unified()
            .wrun_only("runc's is a slave of the host's"),
        test!(cgroup_mount_on_v2_without_a_cgroup)
            .unified()
            .wrun_only("it is an option of crun's, which shows the tree from its root"),
        test!(cgroup_mount_on_v2)
            .covers(&["mounts.{type,options}", "linux.namespaces.type=cgroup"])
            .unified(),
    ]
}

fn masked_file_and_directory(case: &Case) {
    let script = "cat /etc/passwd; ls /etc/inner; touch /etc/inner/x; cat /proc/keys; ls /sys/firmware";
    let container = case.script_with(script, |config| {
        config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/etc/inner", "/proc/keys", "/sys/firmware"]);
    });
    container.write("etc/inner/file", "hidden", 0o644);
    let output = container.run();
    assert_eq!(output.stdout, "", "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

fn masked_path_that_is_missing(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["maskedPaths"] = json!(["/no/such/path"]);
        config["linux"]["readonlyPaths"] = json!(["/no/such/path"]);
    });
    container.run().ok();
    assert!(!container.rootfs("no").exists(), "a masked path is not made");
}

fn readonly_paths(case: &Case) {
    let script =
        "echo x >/etc/passwd; touch /etc/x; echo 1 >/proc/sys/vm/swappiness; touch /tmp/x && echo rest";
    let container = case.script_with(script, |config| {
        config["linux"]["readonlyPaths"] = json!(["/etc", "/proc/sys"]);
    });
    let output = container.run();
    assert_eq!(output.stdout, "rest\n", "{output}");
    assert_eq!(
        output.stderr.matches("Read-only file system").count(),
        3,
        "{output}"
    );
}

fn readonly_root(case: &Case) {
    let path = source(case, "source");
    let script = "touch /x; touch /etc/x; touch /dev/x /dev/shm/x /mnt/x && echo mounts are as they say";
    let container = case.script_with(script, |config| {
        config["root"]["readonly"] = json!(true);
        add_mount(config, "/mnt", "bind", &path, &["bind"]);
    });
    let output = container.run().ok();
    assert_eq!(output.stdout, "mounts are as they say\n");
    assert_eq!(
        output.stderr.matches("Read-only file system").count(),
        2,
        "{output}"
    );
    assert!(!container.rootfs("x").exists());
}

fn root_outside_of_the_bundle(case: &Case) {
    let container = case.container(&["echo", "from there"]);
    let root = case.dir.join("elsewhere");
    fs::rename(container.rootfs(""), &root).expect("a rename");
    container.edit(|config| config["root"]["path"] = json!(root));
    assert_eq!(container.run().ok().stdout, "from there\n");
}

/// As engines do it: the root filesystem is an overlay.
fn root_on_a_mount_of_its_own(case: &Case) {
    let container = case.script("echo new >/tmp/file; rm /etc/group");
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| case.path(name));
    fs::rename(container.rootfs(""), &lower).expect("a rename");
    for dir in [
        &upper,
        &work,
        &container
            .bundle
            .join("rootfs")
            .to_str()
            .expect("UTF-8")
            .to_owned(),
    ] {
        fs::create_dir(dir).expect("a directory");
    }
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount(&[
        "-t",
        "overlay",
        "-o",
        &options,
        "none",
        container.bundle.join("rootfs").to_str().expect("UTF-8"),
    ]);
    container.run().ok();
    assert_eq!(container.read("tmp/file"), "new\n");
    assert!(Path::new(&lower).join("etc/group").exists() && !container.rootfs("etc/group").exists());
    unmount(container.bundle.join("rootfs").to_str().expect("UTF-8"));
}

/// What Docker mounts at /sys/fs/cgroup.
fn with_cgroup_mount(config: &mut Value) {
    let options = ["ro", "nosuid", "noexec", "nodev"];
    add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &options);
}

fn cgroup_mount(case: &Case) {
    let script = "ls -d /sys/fs/cgroup/memory/memory.limit_in_bytes && cat /sys/fs/cgroup/pids/pids.max; \
                  grep -c 1 /sys/fs/cgroup/pids/cgroup.procs; mkdir /sys/fs/cgroup/pids/x";
    let container = case.script_with(script, |config| {
        with_cgroup_mount(config);
        config["linux"]["resources"]["pids"] = json!({ "limit": 77 });
    });
    let output = container.run();
    assert!(output.stdout.contains("memory.limit_in_bytes\n77\n"), "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}

fn cgroup_mount_in_a_cgroup_namespace(case: &Case) {
    let script = "cat /sys/fs/cgroup/pids/pids.max; grep ' /sys/fs/cgroup/pids ' /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        with_cgroup_mount(config);
        set_namespace(config, "cgroup", None);
        config["linux"]["resources"]["pids"] = json!({ "limit": 78 });
    });
    let output = container.run().ok();
    assert!(output.stdout.starts_with("78\n"), "{output}");
    assert!(
        !output.stdout.contains(&container.id),
        "the host's path shows: {output}"
    );
}

fn cgroup_mount_on_v2(case: &Case) {
    let script = "cat /sys/fs/cgroup/cgroup.type; mkdir /sys/fs/cgroup/x; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        with_cgroup_mount(config);
        set_namespace(config, "cgroup", None);
    });
    let output = container.run().ok();
    assert!(output.stdout.starts_with("domain\n"), "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(mount_at(&output.stdout, "/sys/fs/cgroup").filesystem, "cgroup2");
}

/// Without a cgroup namespace the host's tree is shown, where the container finds its own cgroup by the path it is told.
fn cgroup_mount_on_v2_in_the_host_s_namespace(case: &Case) {
    let script = "cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/cgroup.type; mkdir /sys/fs/cgroup/x; \
                  cat /proc/self/mountinfo";
    let container = case.script_with(script, with_cgroup_mount);
    let output = container.run().ok();
    assert!(output.stdout.starts_with("domain\n"), "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert!(
        mount_at(&output.stdout, "/sys/fs/cgroup")
            .filesystem
            .starts_with("cgroup"),
        "{output}"
    );
}

/// What is shown of a mount that the host shares with others is shared with nobody, nor a slave of it.
fn cgroup_mount_of_the_host_s_gets_none_of_its_mounts(case: &Case) {
    let container = case.script_with("cat /proc/self/mountinfo", with_cgroup_mount);
    let bundle = container.bundle();
    let shared = [
        "sh",
        "-c",
        "mount --make-shared /sys/fs/cgroup && exec \"$@\"",
        "x",
    ];
    let run = ["run", "--bundle", &bundle, &container.id];
    let output = case.finish(case.command_under(&shared, &run)).ok();
    let mount = mount_at(&output.stdout, "/sys/fs/cgroup");
    assert_eq!(mount.optional, Vec::<String>::new(), "{output}");
}

/// The caller's own is shown, to be looked at only, and not the host's tree, whatever the mount's options say.
fn cgroup_mount_on_v2_without_a_cgroup(case: &Case) {
    let script = "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &["rw"]);
    });
    let bundle = container.bundle();
    let output = case.call(&[
        "--cgroup-manager",
        "disabled",
        "run",
        "--bundle",
        &bundle,
        &container.id,
    ]);
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    let own = output.stdout.lines().find_map(|line| line.strip_prefix("0::"));
    let line = output
        .stdout
        .lines()
        .find(|line| line.contains(" /sys/fs/cgroup "));
    assert_eq!(line.and_then(|line| line.split(' ').nth(3)), own, "{output}");
}
