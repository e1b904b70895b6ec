//! Bind mounts with a symbolic link at an end, as crun has them; and mounts that change others.

use super::*;

const CRUN_ALONE: &str = "of the peers crun alone has it";

pub fn tests() -> Vec<Test> {
    vec![
        test!(link_is_copied)
            .wrun_only(CRUN_ALONE)
            .covers(&["mounts.options"]),
        test!(link_is_mounted_itself)
            .wrun_only(CRUN_ALONE)
            .covers(&["mounts.options"]),
        test!(link_is_mounted_on)
            .wrun_only(CRUN_ALONE)
            .covers(&["mounts.options"]),
        test!(options_about_links_are_for_binds)
            .wrun_only(CRUN_ALONE)
            .covers(&["mounts.options"]),
        test!(links_and_id_maps)
            .wrun_only(CRUN_ALONE)
            .covers(&["mounts.options"]),
        test!(remount_of_a_bind).covers(&["mounts.options"]),
        test!(remount_of_a_file_system).covers(&["mounts.options"]),
        test!(lazytime_and_nosymfollow)
            .runc_from(2, "nosymfollow")
            .covers(&["mounts.options"]),
        test!(recursive_id_map)
            .runc_from(2, "id-mapped mounts")
            .covers(&["mounts.options"]),
    ]
}

/// A link to `target` in the test's directory.
fn link(case: &Case, target: &str) -> String {
    symlink(target, case.dir.join("link")).expect("a link");
    case.path("link")
}

fn link_is_copied(case: &Case) {
    let path = link(case, "passwd");
    let file = format!("{}/file", source(case, "source"));
    let script = "readlink /etc/copy; readlink /new/dir/copy; head -1 /etc/copy; cat /etc/plain; grep -c /etc/copy /proc/mounts";
    let with = |config: &mut Value| {
        for destination in ["/etc/copy", "/new/dir/copy"] {
            add_mount(config, destination, "bind", &path, &["bind", "copy-symlink"]);
        }
        // Anything else is mounted as ever.
        add_mount(config, "/etc/plain", "bind", &file, &["bind", "copy-symlink"]);
    };
    let container = case.script_with(script, with);
    let expected = [
        "passwd",
        "passwd",
        "root:x:0:0:root:/root:/bin/sh",
        "in source",
        "0",
    ];
    assert_eq!(container.run().lines(), expected);
    // One that is the same already is as good, another is not.
    container.run();
    fs::remove_file(container.rootfs("etc/copy")).expect("it was made");
    symlink("group", container.rootfs("etc/copy")).expect("a link");
    case.names(
        &container.run().code_is(1),
        &["mounts[6]", "/etc/copy", "file exists"],
    );
    assert_eq!(
        fs::read_link(container.rootfs("etc/copy")).expect("a link"),
        Path::new("group")
    );
}

fn link_is_mounted_itself(case: &Case) {
    let path = link(case, "/etc/group");
    let container = case.script_with("readlink /mnt/link; head -1 /mnt/link", |config| {
        add_mount(config, "/mnt/link", "bind", &path, &["bind", "src-nofollow"]);
    });
    assert_eq!(container.run().ok().lines(), ["/etc/group", "root:x:0:"]);
    // What the host has under that name was not touched and is not to be seen.
    assert_eq!(container.read("mnt/link"), "");
}

fn link_is_mounted_on(case: &Case) {
    let file = format!("{}/file", source(case, "source"));
    let container = case.script_with("cat /etc/link; head -1 /etc/passwd; ls /etc/link", |config| {
        add_mount(config, "/etc/link", "bind", &file, &["bind", "dest-nofollow"]);
    });
    symlink("passwd", container.rootfs("etc/link")).expect("a link");
    let expected = ["in source", "root:x:0:0:root:/root:/bin/sh", "/etc/link"];
    assert_eq!(container.run().ok().lines(), expected);
    assert_eq!(
        fs::read_link(container.rootfs("etc/link")).expect("a link"),
        Path::new("passwd")
    );
    let missing = case.container_with(&["true"], |config| {
        add_mount(config, "/etc/no/link", "bind", &file, &["bind", "dest-nofollow"]);
    });
    case.names(&missing.run().code_is(1), &["/etc/no/link", "no such file"]);
    // A link of the kernel's is no place to mount on.
    let kernel = case.container_with(&["true"], |config| {
        add_mount(config, "/proc/self", "bind", &file, &["bind", "dest-nofollow"]);
    });
    case.names(&kernel.run().code_is(1), &["/proc"]);
    case.nothing_left();
}

fn options_about_links_are_for_binds(case: &Case) {
    for options in [
        &["copy-symlink"][..],
        &["src-nofollow"],
        &["dest-nofollow"],
        &["bind", "copy-symlink", "src-nofollow"],
        &["bind", "copy-symlink", "dest-nofollow"],
    ] {
        let container = case.container_with(&["true"], |config| {
            add_mount(config, "/mnt", "tmpfs", "/etc", options);
        });
        case.names(
            &container.run().code_is(1),
            &["mounts[6].options", options.last().expect("one")],
        );
        case.nothing_left();
    }
}

/// With a user namespace the host opens what is mounted.
fn links_and_id_maps(case: &Case) {
    let path = link(case, "passwd");
    let container = case.script_with("readlink /etc/copy; readlink /etc/mounted", |config| {
        map_ids(config, 100_000);
        add_mount(config, "/etc/copy", "bind", &path, &["bind", "copy-symlink"]);
        add_mount(config, "/etc/mounted", "bind", &path, &["bind", "src-nofollow"]);
    });
    for name in ["etc", ""] {
        std::os::unix::fs::chown(container.rootfs(name), Some(100_000), Some(100_000)).expect("chown");
    }
    assert_eq!(container.run().ok().lines(), ["passwd", "passwd"]);
}

fn remount_of_a_bind(case: &Case) {
    let path = source(case, "source");
    let text = mounts_with(case, |config| {
        add_mount(config, "/mnt", "bind", &path, &["bind", "nosuid"]);
        add_mount(
            config,
            "/mnt",
            "bind",
            &path,
            &["bind", "remount", "ro", "nosuid", "noexec"],
        );
    });
    let mount = mount_at(&text, "/mnt");
    assert!(
        ["ro", "nosuid", "noexec"].iter().all(|option| mount.has(option)),
        "{mount:?}"
    );
    assert!(
        !mount.super_options.iter().any(|option| option == "ro"),
        "{mount:?}"
    );
}

fn remount_of_a_file_system(case: &Case) {
    let script = "df -k /mnt | tail -1; touch /mnt/x; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        add_mount(config, "/mnt", "tmpfs", "tmpfs", &["size=1024k"]);
        add_mount(
            config,
            "/mnt",
            "tmpfs",
            "tmpfs",
            &["remount", "ro", "noexec", "size=2048k"],
        );
    });
    let output = container.run().ok();
    assert!(output.stdout.contains(" 2048 "), "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    let mount = mount_at(&output.stdout, "/mnt");
    assert!(mount.has("ro") && mount.has("noexec"), "{mount:?}");
    assert_eq!(output.stdout.matches(" /mnt ").count(), 1, "{output}");
    let refused = case.container_with(&["true"], |config| {
        add_mount(config, "/mnt", "tmpfs", "tmpfs", &["remount", "size=2048k"]);
    });
    let output = refused.run();
    assert!(!output.status.success(), "{output}");
    case.names(&output, &["/mnt", "is it a mount point?"]);
    if case.runtime.ours {
        // Which file system that is must not be for the image to say.
        let led = case.container_with(&["true"], |config| {
            add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
            add_mount(config, "/link", "tmpfs", "tmpfs", &["remount", "ro"]);
        });
        symlink("/mnt", led.rootfs("link")).expect("a link");
        case.names(&led.run().code_is(1), &["/link", "does not follow a link"]);
    }
}

fn lazytime_and_nosymfollow(case: &Case) {
    let script = "ln -s /etc/passwd /mnt/link; cat /mnt/link; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        add_mount(config, "/mnt", "tmpfs", "tmpfs", &["nosymfollow", "lazytime"]);
    });
    let output = container.run().ok();
    assert!(
        output.stderr.contains("Too many levels of symbolic links"),
        "{output}"
    );
    let mount = mount_at(&output.stdout, "/mnt");
    assert!(mount.has("nosymfollow"), "{mount:?}");
    assert!(
        mount.super_options.iter().any(|option| option == "lazytime"),
        "{mount:?}"
    );
}

fn recursive_id_map(case: &Case) {
    let path = source(case, "outer");
    fs::create_dir(case.dir.join("outer/inner")).expect("a directory");
    mount(&["-t", "tmpfs", "none", &case.path("outer/inner")]);
    fs::write(case.dir.join("outer/inner/deep"), "").expect("a file");
    let container = case.script_with(
        "stat -c %u /flat/file /flat/inner/deep /deep/file /deep/inner/deep",
        |config| {
            map_ids(config, 100_000);
            add_mount(config, "/flat", "bind", &path, &["rbind", "idmap"]);
            add_mount(config, "/deep", "bind", &path, &["rbind", "ridmap"]);
        },
    );
    for name in ["flat", "deep"] {
        fs::create_dir(container.rootfs(name)).expect("a directory");
    }
    let output = container.run();
    unmount(&case.path("outer/inner"));
    // Root's files on disk; what is not mapped belongs to nobody.
    assert_eq!(output.ok().lines(), ["0", "65534", "0", "0"]);
}
