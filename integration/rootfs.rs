//! Mounts and devices: every kind of option, propagation, masks, read-only paths and the root itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::{add_mount, map_ids, set_namespace};
use crate::harness::{Case, Container, Need, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(default_devices_work),
        test!(default_links_in_dev),
        test!(more_devices),
        test!(terminals_are_new),
        test!(flags_of_a_tmpfs),
        test!(flags_of_a_bind_mount),
        test!(flags_of_a_bind_mount_are_cleared)
            .wrun_only("runc clears the flags of a source's mount from 1.2 on"),
        test!(bind_mount_of_a_file),
        test!(bind_mount_is_recursive_only_when_asked),
        test!(recursive_attributes),
        test!(propagation_of_a_mount),
        test!(propagation_from_the_host),
        test!(propagation_of_the_root).wrun_only("runc gives the root its propagation from 1.3 on"),
        test!(size_and_mode_of_a_tmpfs),
        test!(copy_up_into_a_tmpfs),
        test!(id_mapped_mount).wrun_only("runc has id-mapped mounts from 1.2 on"),
        test!(destination_is_made),
        test!(destination_through_a_link_stays_inside),
        test!(destination_with_dots_stays_inside),
        test!(mounts_come_in_order),
        test!(same_destination_twice),
        test!(masked_file_and_directory),
        test!(masked_path_that_is_missing),
        test!(readonly_paths),
        test!(readonly_root),
        test!(root_outside_of_the_bundle),
        test!(root_on_a_mount_of_its_own),
        test!(cgroup_mount).needs(Need::CgroupV1),
        test!(cgroup_mount_in_a_cgroup_namespace).needs(Need::CgroupV1),
        test!(cgroup_mount_on_v2).unified(),
        test!(sysfs_and_mqueue_are_of_the_container),
        test!(unknown_option_is_refused),
        test!(nothing_of_the_host_is_mounted),
        test!(host_does_not_see_the_container_s_mounts),
        test!(overlay_mount),
    ]
}

/// A line of /proc/self/mountinfo: its per-mount options, its optional fields and the filesystem's options.
#[derive(Debug)]
struct Mount {
    options: Vec<String>,
    optional: Vec<String>,
    filesystem: String,
    super_options: Vec<String>,
}

/// The topmost mount at `path`, from the text of a mountinfo file.
fn mount_at(text: &str, path: &str) -> Mount {
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some(path));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {path}:\n{text}"));
    let (left, right) = line
        .split_once(" - ")
        .expect("proc_pid_mountinfo(5) has a separator");
    let list = |text: Option<&str>| text.unwrap_or_default().split(',').map(str::to_owned).collect();
    let left: Vec<_> = left.split(' ').collect();
    let right: Vec<_> = right.split(' ').collect();
    Mount {
        options: list(left.get(5).copied()),
        optional: left[6..].iter().map(|word| (*word).to_owned()).collect(),
        filesystem: right[0].to_owned(),
        super_options: list(right.get(2).copied()),
    }
}

impl Mount {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// Runs a container made with `edit` that prints its mounts.
fn mounts_with(case: &Case, edit: impl FnOnce(&mut Value)) -> String {
    case.container_with(&["cat", "/proc/self/mountinfo"], edit)
        .run()
        .ok()
        .stdout
}

/// A directory of the test with the file `file` in it.
fn source(case: &Case, name: &str) -> String {
    let path = case.dir.join(name);
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("file"), format!("in {name}\n")).expect("a file");
    case.path(name)
}

/// mount(8) on the host; the clean-up unmounts.
fn mount(arguments: &[&str]) {
    let status = Command::new("mount")
        .args(arguments)
        .status()
        .expect("mount(8) starts");
    assert!(status.success(), "mount {arguments:?}");
}

fn unmount(path: &str) {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).expect("it is mounted");
}

fn default_devices_work(case: &Case) {
    let script = "cd /dev; for d in null zero full random urandom tty; do test -c $d || echo no $d; done; \
                  echo x >null; head -c 3 zero | wc -c; echo x >full && echo full took it; \
                  head -c 5 urandom | wc -c; stat -c '%a %t:%T' null zero full random urandom tty";
    let output = case.script(script).run().ok();
    let expected = [
        "3", "5", "666 1:3", "666 1:5", "666 1:7", "666 1:8", "666 1:9", "666 5:0",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

fn default_links_in_dev(case: &Case) {
    let output = case
        .script("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done")
        .run()
        .ok();
    let expected = [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ];
    assert_eq!(output.lines(), expected);
}

fn more_devices(case: &Case) {
    let script = "stat -c '%F %a %u:%g %t:%T' /dev/mine /dev/deep/block /dev/pipe; cat /dev/mine; \
                  head -c 1 /dev/deep/block 2>&1";
    let container = case.script_with(script, |config| {
        config["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 },
            { "path": "/dev/deep/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        ]);
    });
    let output = container.run();
    let expected = [
        "character special file 640 7:8 1:3",
        "block special file 600 0:0 7:63",
        "fifo 622 0:0 0:0",
        // The cgroup allows no such device.
        "head: /dev/deep/block: Operation not permitted",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

fn terminals_are_new(case: &Case) {
    let output = case.script("ls /dev/pts; stat -c %a /dev/pts/ptmx").run().ok();
    assert_eq!(output.lines(), ["ptmx", "666"], "{output}");
}

fn flags_of_a_tmpfs(case: &Case) {
    let text = mounts_with(case, |config| {
        add_mount(
            config,
            "/a",
            "tmpfs",
            "none",
            &["ro", "nosuid", "nodev", "noexec", "noatime"],
        );
        add_mount(
            config,
            "/b",
            "tmpfs",
            "none",
            &["rw", "strictatime", "nodiratime"],
        );
        add_mount(config, "/c", "tmpfs", "none", &["nosymfollow", "sync", "dirsync"]);
    });
    let a = mount_at(&text, "/a");
    assert!(
        ["ro", "nosuid", "nodev", "noexec", "noatime"]
            .iter()
            .all(|option| a.has(option)),
        "{a:?}"
    );
    let b = mount_at(&text, "/b");
    assert!(
        b.has("rw") && b.has("nodiratime") && !b.has("relatime") && !b.has("nosuid"),
        "{b:?}"
    );
    let c = mount_at(&text, "/c");
    assert!(c.super_options.iter().any(|option| option == "sync"), "{c:?}");
    assert!(c.has("nosymfollow") || !case.runtime.ours, "{c:?}");
}

fn flags_of_a_bind_mount(case: &Case) {
    let path = source(case, "source");
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    let script =
        "cat /mnt/file; echo x >/mnt/new; cp /bin/busybox /tmp/echo; /mnt/program; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        add_mount(config, "/mnt", "bind", &path, &options)
    });
    fs::copy("/bin/true", case.dir.join("source/program")).expect("a program");
    let output = container.run().ok();
    assert!(output.stdout.starts_with("in source\n"), "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert!(output.stderr.contains("Permission denied"), "noexec: {output}");
    let mount = mount_at(&output.stdout, "/mnt");
    assert!(options[1..].iter().all(|option| mount.has(option)), "{mount:?}");
    assert!(!case.dir.join("source/new").exists());
}

/// The opposites take back what the source's own mount says.
fn flags_of_a_bind_mount_are_cleared(case: &Case) {
    let path = source(case, "source");
    mount(&["-t", "tmpfs", "-o", "nosuid,nodev,noexec,ro", "none", &path]);
    let text = mounts_with(case, |config| {
        add_mount(config, "/kept", "bind", &path, &["bind"]);
        add_mount(
            config,
            "/cleared",
            "bind",
            &path,
            &["bind", "suid", "dev", "exec", "rw"],
        );
    });
    unmount(&path);
    let (kept, cleared) = (mount_at(&text, "/kept"), mount_at(&text, "/cleared"));
    assert!(
        ["nosuid", "nodev", "noexec"]
            .iter()
            .all(|option| kept.has(option)),
        "{kept:?}"
    );
    assert!(
        ["nosuid", "nodev", "noexec"]
            .iter()
            .all(|option| !cleared.has(option)),
        "{cleared:?}"
    );
}

fn bind_mount_of_a_file(case: &Case) {
    source(case, "source");
    let file = case.path("source/file");
    let container = case.script_with("cat /etc/passwd /new/file; echo more >>/new/file", |config| {
        add_mount(config, "/etc/passwd", "bind", &file, &["bind", "ro"]);
        add_mount(config, "/new/file", "bind", &file, &["bind"]);
    });
    assert_eq!(container.run().ok().stdout, "in source\nin source\n");
    assert_eq!(fs::read_to_string(&file).expect("it"), "in source\nmore\n");
    assert!(
        container.read("etc/passwd").starts_with("root:"),
        "the image's own file is as it was"
    );
}

/// A directory with a tmpfs mounted on its `inner`, which holds the file `deep`.
fn nested_source(case: &Case) -> String {
    let path = source(case, "outer");
    fs::create_dir(case.dir.join("outer/inner")).expect("a directory");
    mount(&["-t", "tmpfs", "none", &case.path("outer/inner")]);
    fs::write(case.dir.join("outer/inner/deep"), "deep\n").expect("a file");
    path
}

fn bind_mount_is_recursive_only_when_asked(case: &Case) {
    let path = nested_source(case);
    let container = case.script_with("ls /flat/inner; echo; ls /deep/inner", |config| {
        add_mount(config, "/flat", "bind", &path, &["bind"]);
        add_mount(config, "/deep", "bind", &path, &["rbind"]);
    });
    let output = container.run().ok();
    unmount(&case.path("outer/inner"));
    assert_eq!(output.stdout, "\ndeep\n");
}

fn recursive_attributes(case: &Case) {
    let path = nested_source(case);
    let text = mounts_with(case, |config| {
        add_mount(config, "/top", "bind", &path, &["rbind", "ro"]);
        add_mount(
            config,
            "/all",
            "bind",
            &path,
            &["rbind", "rro", "rnosuid", "rnoexec", "rnodev"],
        );
    });
    unmount(&case.path("outer/inner"));
    assert!(
        mount_at(&text, "/top").has("ro") && mount_at(&text, "/top/inner").has("rw"),
        "{text}"
    );
    for path in ["/all", "/all/inner"] {
        let mount = mount_at(&text, path);
        assert!(
            ["ro", "nosuid", "noexec", "nodev"]
                .iter()
                .all(|option| mount.has(option)),
            "{mount:?}"
        );
    }
}

/// A shared tmpfs on the host.
fn shared_source(case: &Case) -> String {
    let path = source(case, "shared");
    mount(&["-t", "tmpfs", "none", &path]);
    mount(&["--make-rshared", &path]);
    fs::create_dir(case.dir.join("shared/inner")).expect("a directory");
    path
}

fn propagation_of_a_mount(case: &Case) {
    let path = shared_source(case);
    let text = mounts_with(case, |config| {
        for option in [
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
        ] {
            add_mount(config, &format!("/{option}"), "bind", &path, &["rbind", option]);
        }
    });
    unmount(&path);
    let fields = |path: &str| mount_at(&text, path).optional.join(" ");
    for private in ["/private", "/rprivate"] {
        assert_eq!(fields(private), "", "{private}");
    }
    for slave in ["/slave", "/rslave"] {
        assert!(
            fields(slave).contains("master:") && !fields(slave).contains("shared:"),
            "{slave}: {text}"
        );
    }
    for shared in ["/shared", "/rshared"] {
        assert!(fields(shared).contains("shared:"), "{shared}: {text}");
    }
    assert!(fields("/unbindable").contains("unbindable"), "{text}");
}

fn propagation_from_the_host(case: &Case) {
    let path = shared_source(case);
    let container = case.container_with(&["sleep", "100"], |config| {
        add_mount(config, "/slave", "bind", &path, &["rbind", "rslave"]);
        add_mount(config, "/private", "bind", &path, &["rbind", "rprivate"]);
    });
    container.run_detached();
    let inner = case.path("shared/inner");
    mount(&["-t", "tmpfs", "none", &inner]);
    fs::write(Path::new(&inner).join("late"), "").expect("a file");
    let seen = container.sh("ls /slave/inner; echo; ls /private/inner");
    unmount(&inner);
    unmount(&path);
    assert_eq!(seen, "late");
}

fn propagation_of_the_root(case: &Case) {
    for (propagation, field) in [("shared", "shared:"), ("slave", "master:"), ("private", "")] {
        let container = case.container_with(&["cat", "/proc/self/mountinfo"], |config| {
            config["linux"]["rootfsPropagation"] = json!(propagation);
        });
        let text = container.run().ok().stdout;
        let root = mount_at(&text, "/");
        // A slave has a master only where the host's mount is shared.
        if propagation != "slave" {
            assert_eq!(
                root.optional.iter().any(|own| own.starts_with(field)),
                !field.is_empty(),
                "{root:?}"
            );
        } else {
            assert!(
                !root.optional.iter().any(|own| own.starts_with("shared:")),
                "{root:?}"
            );
        }
    }
}

fn size_and_mode_of_a_tmpfs(case: &Case) {
    let script = "stat -c %a /mnt; df -k /mnt | tail -1; dd if=/dev/zero of=/mnt/big bs=1k count=2000";
    let container = case.script_with(script, |config| {
        add_mount(config, "/mnt", "tmpfs", "none", &["mode=1750", "size=1024k"]);
    });
    let output = container.run().code_is(1);
    // runc 1.1 gives a mode back to a directory that was there before.
    assert!(
        output.stdout.starts_with("1750\n") || !case.runtime.ours,
        "{output}"
    );
    assert!(output.stdout.contains(" 1024 "), "{output}");
    assert!(output.stderr.contains("No space left"), "{output}");
}

fn copy_up_into_a_tmpfs(case: &Case) {
    let script = "cat /etc/passwd | head -1; stat -c '%a' /etc/secret; readlink /etc/link; echo x >/etc/new; \
                  grep ' /etc ' /proc/self/mountinfo | wc -l";
    let container = case.script_with(script, |config| {
        add_mount(config, "/etc", "tmpfs", "none", &["tmpcopyup"]);
    });
    container.write("etc/secret", "secret", 0o600);
    symlink("passwd", container.rootfs("etc/link")).expect("a link");
    let output = container.run().ok();
    assert_eq!(
        output.lines(),
        ["root:x:0:0:root:/root:/bin/sh", "600", "passwd", "1"],
        "{output}"
    );
    assert!(!container.rootfs("etc/new").exists(), "the image was written to");
}

fn id_mapped_mount(case: &Case) {
    let path = source(case, "source");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let container = case.script_with("stat -c '%u:%g' /mnt/file", |config| {
        add_mount(config, "/mnt", "bind", &path, &["bind"]);
        let last = config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .last_mut()
            .expect("one");
        last["uidMappings"] = map.clone();
        last["gidMappings"] = map.clone();
    });
    let output = container.run().ok();
    // Root's file on disk is that of 100000 in the container.
    assert_eq!(output.stdout, "100000:100000\n");
    let mapped = case.script_with(
        "stat -c '%u:%g' /mnt/file; touch /mnt/new && echo may write",
        |config| {
            map_ids(config, 100_000);
            add_mount(config, "/mnt", "bind", &path, &["bind", "idmap"]);
        },
    );
    let output = mapped.run().ok();
    assert_eq!(output.stdout, "0:0\nmay write\n", "the map of the user namespace");
    let new = fs::metadata(case.dir.join("source/new")).expect("the new file");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&new),
        0,
        "on disk it is root's"
    );
}

fn destination_is_made(case: &Case) {
    let path = source(case, "source");
    let container = case.container_with(&["cat", "/very/deep/directory/file"], |config| {
        add_mount(config, "/very/deep/directory", "bind", &path, &["bind"]);
    });
    assert_eq!(container.run().ok().stdout, "in source\n");
    // A destination without a slash at the front, as old engines write it.
    let relative = case.container_with(&["cat", "/relative/file"], |config| {
        add_mount(config, "relative", "bind", &path, &["bind"]);
    });
    let output = relative.run();
    assert!(
        output.stdout == "in source\n" || !output.status.success(),
        "{output}"
    );
}

fn destination_through_a_link_stays_inside(case: &Case) {
    let path = source(case, "source");
    let container = case.container_with(&["cat", "/real/file", "/link/file"], |config| {
        add_mount(config, "/link", "bind", &path, &["bind"]);
    });
    fs::create_dir(container.rootfs("real")).expect("a directory");
    symlink("/real", container.rootfs("link")).expect("a link");
    assert_eq!(container.run().ok().stdout, "in source\nin source\n");
}

fn destination_with_dots_stays_inside(case: &Case) {
    let path = source(case, "source");
    let container = case.container_with(
        &["sh", "-c", "find / -xdev -name tmp -maxdepth 2; cat /tmp/up/file"],
        |config| {
            add_mount(config, "/../../../tmp/up", "bind", &path, &["bind"]);
        },
    );
    let output = container.run();
    assert!(
        !output.status.success() || output.stdout.contains("in source"),
        "{output}"
    );
    assert!(!Path::new("/tmp/up").exists(), "made on the host");
}

fn mounts_come_in_order(case: &Case) {
    let path = source(case, "source");
    let container = case.script_with("ls /mnt; ls /mnt/inner", |config| {
        add_mount(config, "/mnt", "tmpfs", "none", &[]);
        add_mount(config, "/mnt/inner", "bind", &path, &["bind"]);
    });
    assert_eq!(container.run().ok().stdout, "inner\nfile\n");
}

fn same_destination_twice(case: &Case) {
    let (first, second) = (source(case, "first"), source(case, "second"));
    let container = case.container_with(&["cat", "/mnt/file"], |config| {
        add_mount(config, "/mnt", "bind", &first, &["bind"]);
        add_mount(config, "/mnt", "bind", &second, &["bind"]);
    });
    assert_eq!(container.run().ok().stdout, "in second\n");
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

fn sysfs_and_mqueue_are_of_the_container(case: &Case) {
    let output = case
        .script("ls /sys/class/net; touch /dev/mqueue/queue && ls /dev/mqueue")
        .run()
        .ok();
    assert_eq!(output.lines(), ["lo", "queue"], "{output}");
}

fn unknown_option_is_refused(case: &Case) {
    // What is no flag goes to the filesystem, which does not know it.
    let container = case.container_with(&["true"], |config| {
        add_mount(config, "/mnt", "tmpfs", "none", &["nonsense=1"]);
    });
    case.names(&container.run().code_is(1), &["/mnt", "nonsense"]);
    case.nothing_left();
}

fn nothing_of_the_host_is_mounted(case: &Case) {
    let text = mounts_with(case, |_| {});
    for line in text.lines() {
        let point = line.split(' ').nth(4).expect("a mount point");
        let expected = ["/proc", "/dev", "/sys"].iter().any(|own| point.starts_with(own));
        assert!(point == "/" || expected, "{line}");
    }
}

fn host_does_not_see_the_container_s_mounts(case: &Case) {
    let before = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let container: Container = case.container_with(&["sleep", "100"], |config| {
        add_mount(config, "/mnt", "tmpfs", "none", &[]);
    });
    container.run_detached();
    let after = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line) && line.contains(&case.mark))
        .collect();
    assert!(new.is_empty(), "{new:?}");
}

fn overlay_mount(case: &Case) {
    let lower = source(case, "lower");
    let [upper, work] = ["upper", "work"].map(|name| case.path(name));
    fs::create_dir(&upper).expect("a directory");
    fs::create_dir(&work).expect("a directory");
    let options = [
        &format!("lowerdir={lower}"),
        &format!("upperdir={upper}"),
        &format!("workdir={work}"),
    ];
    let container = case.script_with("cat /mnt/file; echo x >/mnt/new", |config| {
        let options: Vec<&str> = options.iter().map(|option| option.as_str()).collect();
        add_mount(config, "/mnt", "overlay", "overlay", &options);
    });
    assert_eq!(container.run().ok().stdout, "in lower\n");
    assert!(Path::new(&upper).join("new").exists());
}
