//! Mounts: their options, sources and destinations.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::harness::program;

pub fn tests() -> Vec<Test> {
    vec![
        test!(flags_of_a_tmpfs).covers(&["mounts.{type,options}"]),
        test!(flags_of_a_bind_mount).covers(&["mounts.{source,options}"]),
        test!(flags_of_a_bind_mount_are_cleared)
            .covers(&["mounts.options"])
            .runc_from(2, "the clearing of a source's flags"),
        test!(named_flags_of_a_bind_mount_are_all_it_has)
            .covers(&["mounts.options"])
            .runc_from(2, "the flags that a user namespace keeps"),
        test!(locked_flags_withstand_recursive_options).covers(&["mounts.options"]),
        test!(own_mounts_of_a_user_namespace_are_not_locked)
            .covers(&["mounts.options"])
            .wrun_only("runc looks the source up before the mounts are made"),
        test!(the_root_is_no_place_to_mount_on).wrun_only("runc mounts on the root itself"),
        test!(bind_mount_of_a_file).covers(&["mounts.{destination,source}"]),
        test!(bind_mount_is_recursive_only_when_asked).covers(&["mounts.options"]),
        test!(recursive_attributes).covers(&["mounts.options"]),
        test!(read_only_dev_is_filled_first).covers(&["mounts.options"]),
        test!(size_and_mode_of_a_tmpfs).covers(&["mounts.options"]),
        test!(mode_of_a_tmpfs_is_that_of_what_it_covers),
        test!(destination_with_the_path_of_the_root).covers(&["mounts.destination"]),
        test!(copy_up_into_a_tmpfs).covers(&["mounts.options"]),
        test!(id_mapped_mount)
            .covers(&[
                "mounts.{uidMappings,gidMappings}.{hostID,containerID,size}",
                "mounts.options",
            ])
            .runc_from(2, "id-mapped mounts"),
        test!(ids_mapped_by_ranges_of_an_option)
            .covers(&["mounts.options"])
            .wrun_only("the ranges are crun's"),
        test!(destination_is_made).covers(&["mounts.destination"]),
        test!(destination_through_a_link_stays_inside),
        test!(destination_with_dots_stays_inside),
        test!(mounts_come_in_order),
        test!(same_destination_twice),
        test!(sources_on_mounts_made_before)
            .covers(&["mounts.source"])
            .runc_from(2, "sources on mounts that were made before"),
        test!(links_of_the_image_lead_no_source_to_the_host)
            .wrun_only("runc follows them on the host where the source is below the root"),
        test!(sysfs_and_mqueue_are_of_the_container).covers(&["mounts.type"]),
        test!(unknown_option_is_refused).covers(&["mounts.options"]),
        test!(overlay_mount).covers(&["mounts.{type,options}"]),
        test!(overlay_mount_of_long_paths).covers(&["mounts.{source,options}"]),
        test!(overlay_mount_of_many_layers).covers(&["mounts.options"]),
        test!(overlay_mount_of_more_layers_than_a_page_holds)
            .needs(Need::LayersOneByOne)
            .wrun_only("mount(2), which runc calls, takes a page of options"),
        test!(long_source_that_is_no_path_is_refused).wrun_only("looks at the wording"),
    ]
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

fn mode_of_a_tmpfs_is_that_of_what_it_covers(case: &Case) {
    let container = case.script_with("stat -c %a /covered", |config| {
        add_mount(config, "/covered", "tmpfs", "tmpfs", &["nodev"]);
    });
    fs::create_dir(container.rootfs("covered")).expect("a directory");
    fs::set_permissions(container.rootfs("covered"), fs::Permissions::from_mode(0o711)).expect("its mode");
    assert_eq!(container.run().ok().stdout, "711\n");
}

/// Some generators of configurations write it so.
fn destination_with_the_path_of_the_root(case: &Case) {
    let container = case.script("grep -c ' /mnt tmpfs ' /proc/mounts");
    let destination = container.rootfs("mnt");
    container.edit(|config| {
        let destination = destination.to_str().expect("UTF-8");
        add_mount(config, destination, "tmpfs", "tmpfs", &[]);
    });
    assert_eq!(container.run().ok().stdout, "1\n");
}

fn flags_of_a_bind_mount(case: &Case) {
    let path = source(case, "source");
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    let script =
        "cat /mnt/file; echo x >/mnt/new; cp /bin/busybox /tmp/echo; /mnt/program; cat /proc/self/mountinfo";
    let container = case.script_with(script, |config| {
        add_mount(config, "/mnt", "bind", &path, &options)
    });
    program::copy("/bin/true", case.dir.join("source/program"));
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

/// Where any flag is named, those of the source's mount go; but in a user namespace what is locked stays, and may not
/// be cleared by name.
fn named_flags_of_a_bind_mount_are_all_it_has(case: &Case) {
    let path = source(case, "source");
    mount(&["-t", "tmpfs", "none", &path]);
    mount(&["-o", "remount,bind,ro,noexec", &path]);
    let add = |config: &mut Value, options: &[&str]| {
        add_mount(config, "/home", "bind", &path, &["bind"]);
        add_mount(config, "/tmp", "bind", &path, options);
    };
    let host = mounts_with(case, |config| add(config, &["bind", "nosuid"]));
    let user = mounts_with(case, |config| {
        map_ids(config, 100_000);
        add(config, &["bind", "nosuid"]);
    });
    let refused = case.container_with(&["true"], |config| {
        map_ids(config, 100_000);
        add(config, &["bind", "rw"]);
    });
    let refused = refused.run();
    unmount(&path);
    for text in [&host, &user] {
        let unnamed = mount_at(text, "/home");
        assert!(
            unnamed.has("ro") && unnamed.has("noexec") && !unnamed.has("nosuid"),
            "{unnamed:?}"
        );
    }
    let named = mount_at(&host, "/tmp");
    assert!(
        named.has("rw") && named.has("nosuid") && !named.has("noexec"),
        "{named:?}"
    );
    let kept = mount_at(&user, "/tmp");
    assert!(
        kept.has("ro") && kept.has("nosuid") && kept.has("noexec"),
        "{kept:?}"
    );
    assert!(
        !refused.status.success() && refused.stderr.contains("operation not permitted"),
        "{refused}"
    );
}

/// Neither by recursive options, which the host's root would otherwise carry out, for the source and what is below it.
fn locked_flags_withstand_recursive_options(case: &Case) {
    let path = nested_source(case);
    let inner = case.path("outer/inner");
    mount(&["-o", "remount,bind,ro,nosuid,nodev,noexec", &inner]);
    let run = |options: &[&str]| {
        let container = case.container_with(&["cat", "/proc/self/mountinfo"], |config| {
            map_ids(config, 100_000);
            add_mount(config, "/mnt", "bind", &path, options);
        });
        container.run()
    };
    let below = run(&["rbind", "rrw", "rsuid", "rdev", "rexec"]);
    let stricter = run(&["rbind", "rro"]);
    unmount(&inner);
    mount(&["-t", "tmpfs", "none", &inner]);
    mount(&["-o", "remount,bind,ro,nosuid,nodev,noexec", &inner]);
    let source = inner.clone();
    let top = case.container_with(&["true"], |config| {
        map_ids(config, 100_000);
        add_mount(
            config,
            "/mnt",
            "bind",
            &source,
            &["rbind", "rrw", "rsuid", "rdev", "rexec"],
        );
    });
    let top = top.run();
    unmount(&inner);
    for refused in [below, top] {
        assert!(
            !refused.status.success() && refused.stderr.contains("operation not permitted"),
            "{refused}"
        );
    }
    assert!(mount_at(&stricter.ok().stdout, "/mnt/inner").has("ro"));
}

/// What the container mounts itself is its own to bind with other flags.
fn own_mounts_of_a_user_namespace_are_not_locked(case: &Case) {
    let container = case.container_with(&["cat", "/proc/self/mountinfo"], |config| {
        map_ids(config, 100_000)
    });
    let made = container.rootfs("tmp");
    fs::create_dir_all(container.rootfs("again")).expect("a directory");
    container.edit(|config| {
        add_mount(config, "/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]);
        let made = made.to_str().expect("UTF-8");
        add_mount(config, "/again", "bind", made, &["bind", "dev", "suid"]);
    });
    let text = container.run().ok().stdout;
    let again = mount_at(&text, "/again");
    assert!(!again.has("nodev") && !again.has("nosuid"), "{again:?}");
}

/// A link of the image that leads a mount onto the root itself.
fn the_root_is_no_place_to_mount_on(case: &Case) {
    for (source, fstype) in [("tmpfs", "tmpfs"), ("cgroup", "cgroup")] {
        let container = case.container_with(&["true"], |config| {
            add_mount(config, "/vol", fstype, source, &[]);
        });
        symlink("/", container.rootfs("vol")).expect("a link");
        case.names(
            &container.run().code_is(1),
            &["/vol", "the root of the container"],
        );
    }
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

/// As Podman asks for it in pods.
fn read_only_dev_is_filled_first(case: &Case) {
    let script = "test -c /dev/null && test -c /dev/pts/ptmx && ls /ro/below && touch /dev/x";
    let container = case.script_with(script, |config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev");
        let options = dev.expect("/dev is one of them")["options"].as_array_mut();
        options.expect("it has options").push(json!("ro"));
        add_mount(config, "/ro", "tmpfs", "none", &["ro"]);
        add_mount(config, "/ro/below", "tmpfs", "none", &[]);
    });
    let output = container.run();
    assert!(
        output.stderr.contains("/dev/x: Read-only file system"),
        "{output}"
    );
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
    // What the options say of the directory itself holds; on one that is there already, runc 1.1 gives it that one's mode.
    let place = if case.runtime.ours { "/home" } else { "/new" };
    let container = case.script_with(&format!("stat -c '%a %u:%g' {place}; ls {place}"), |config| {
        let options = ["tmpcopyup", "mode=1777", "uid=5", "gid=6"];
        add_mount(config, place, "tmpfs", "none", &options);
    });
    container.write("home/file", "", 0o640);
    let output = container.run().ok();
    assert_eq!(output.lines()[0], "1777 5:6");
    assert_eq!(output.lines().get(1).is_some(), case.runtime.ours, "{output}");
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

/// A source below the root is found when its turn comes, also where the host has to map its ids.
fn sources_on_mounts_made_before(case: &Case) {
    let (outer, inner) = (source(case, "outer"), source(case, "inner"));
    fs::create_dir(case.dir.join("outer/deep")).expect("a directory");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    for (user_namespace, mapped) in [(false, false), (true, false), (false, true), (true, true)] {
        let container = case.script("cat /again/file /again/deep/file; stat -c %u /again");
        let made = container.rootfs("mnt");
        for place in ["mnt", "again"] {
            fs::create_dir_all(container.rootfs(place)).expect("a directory");
        }
        container.edit(|config| {
            if user_namespace {
                map_ids(config, 100_000);
            }
            add_mount(config, "/mnt", "bind", &outer, &["bind"]);
            add_mount(config, "/mnt/deep", "bind", &inner, &["bind"]);
            add_mount(
                config,
                "/again",
                "bind",
                made.to_str().expect("UTF-8"),
                &["rbind"],
            );
            let last = config["mounts"]
                .as_array_mut()
                .and_then(|mounts| mounts.last_mut());
            let last = last.expect("one");
            if mapped {
                last["uidMappings"] = map.clone();
                last["gidMappings"] = map.clone();
            }
        });
        let output = container.run().ok();
        // Root's directory: of 100000 with the map, who is root in the user namespace; nobody there without it.
        let owner = match (user_namespace, mapped) {
            (false, false) | (true, true) => "0",
            (true, false) => "65534",
            (false, true) => "100000",
        };
        assert_eq!(
            output.lines(),
            ["in outer", "in inner", owner],
            "{user_namespace} {mapped}: {output}"
        );
    }
}

fn links_of_the_image_lead_no_source_to_the_host(case: &Case) {
    let secret = source(case, "secret");
    for user_namespace in [false, true] {
        let container = case.script("cat /mnt/file");
        symlink(&secret, container.rootfs("link")).expect("a link");
        let link = container.rootfs("link");
        container.edit(|config| {
            if user_namespace {
                map_ids(config, 100_000);
            }
            add_mount(config, "/mnt", "bind", link.to_str().expect("UTF-8"), &["bind"]);
        });
        let output = container.run();
        assert!(
            !output.status.success() && output.stderr.contains("open the source"),
            "{output}"
        );
    }
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

fn ids_mapped_by_ranges_of_an_option(case: &Case) {
    let path = source(case, "source");
    let run = |option: &str| {
        let container = case.script_with("stat -c '%u:%g' /mnt/file", |config| {
            map_ids(config, 100_000);
            add_mount(config, "/mnt", "bind", &path, &["bind", option]);
        });
        container.run()
    };
    // On the host, where the container's ids begin at 100000.
    for option in [
        "idmap=uids=0-100005-1;gids=0-100006-1",
        "ridmap=uids=5-100000-1#0-100005-5;gids=@0-6-1",
    ] {
        assert_eq!(run(option).ok().stdout, "5:6\n", "{option}");
    }
    for (option, culprit) in [
        ("idmap=uids=0-0-1", "gids="),
        ("idmap=uids=@0-70000-1;gids=0-0-1", "@0-70000-1"),
        ("idmap=0-0-1", "0-0-1"),
    ] {
        case.names(&run(option), &["options", culprit]);
    }
}

/// Engines keep layers at paths of which two are longer than what fsconfig(2) takes.
fn overlay_mount_of_long_paths(case: &Case) {
    let name = |text: &str| format!("{}/{text}", "long-name-".repeat(15));
    let [lower, lowest, upper, work, merged] = ["lower:layer", "lowest\\layer", "upper", "work", "merged"]
        .map(|text| {
            let path = case.dir.join(name(text)).join(name("again"));
            fs::create_dir_all(&path).expect("a directory");
            path
        });
    fs::write(lower.join("file"), "of the lower\n").expect("a file");
    fs::write(lowest.join("below"), "of the lowest\n").expect("a file");
    let escaped = |path: &std::path::Path| {
        let path = path.to_str().expect("UTF-8");
        path.replace('\\', "\\\\").replace(':', "\\:")
    };
    let options = [
        format!("lowerdir={}:{}", escaped(&lower), escaped(&lowest)),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script = "cat /mnt/file /mnt/below; echo more >>/mnt/file";
    let container = case.script_with(script, |config| {
        let source = merged.to_str().expect("UTF-8");
        add_mount(config, "/mnt", "overlay", source, &options);
    });
    assert_eq!(container.run().ok().stdout, "of the lower\nof the lowest\n");
    assert_eq!(
        fs::read_to_string(upper.join("file")).expect("copied up"),
        "of the lower\nmore\n"
    );
}

/// The options of an overlay on `count` layers, of which each has a file of its own, and the script that reads all.
fn layers(case: &Case, count: usize) -> (Vec<String>, String) {
    let layer = |number: usize| {
        let path = case.path(&format!("layer-{number}"));
        fs::create_dir(&path).expect("a directory");
        fs::write(format!("{path}/{number}"), format!("{number}\n")).expect("a file");
        // Which of two layers is the upper one is seen where both have a file.
        fs::write(format!("{path}/top"), format!("top is {number}\n")).expect("a file");
        path
    };
    let paths: Vec<_> = (1..=count).map(layer).collect();
    let options = vec![format!("lowerdir={}", paths.join(":"))];
    let script = format!("for n in $(seq {count}); do cat /mnt/$n || exit; done | tail -n 1; cat /mnt/top");
    (options, script)
}

fn run_on_layers(case: &Case, count: usize) {
    let (mut options, script) = layers(case, count);
    for name in ["upper", "work"] {
        let path = case.path(name);
        fs::create_dir(&path).expect("a directory");
        options.push(format!("{name}dir={path}"));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let container = case.script_with(&format!("{script}; echo x >/mnt/new; pwd"), |config| {
        add_mount(config, "/mnt", "overlay", "overlay", &options);
    });
    let expected = format!("{count}\ntop is 1\n/\n");
    assert_eq!(container.run().ok().stdout, expected);
    assert!(Path::new(&case.path("upper")).join("new").exists());
}

/// BuildKit hands on the overlay of an image that a step mounts, each layer by its path.
fn overlay_mount_of_many_layers(case: &Case) {
    run_on_layers(case, 30);
}

fn overlay_mount_of_more_layers_than_a_page_holds(case: &Case) {
    run_on_layers(case, 130);
}

fn long_source_that_is_no_path_is_refused(case: &Case) {
    let source = format!("server:/{}", "x".repeat(300));
    let container = case.script_with("true", |config| {
        add_mount(config, "/mnt", "tmpfs", &source, &[]);
    });
    case.names(&container.run().code_is(1), &["/mnt", "server:/x", "255 bytes"]);
    case.nothing_left();
}
