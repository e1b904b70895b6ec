//! What of later mounts goes in and out.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(propagation_of_a_mount).covers(&["mounts.options"]),
        test!(propagation_from_the_host).covers(&["mounts.options"]),
        test!(propagation_of_the_root)
            .covers(&["linux.rootfsPropagation"])
            .runc_from(3, "the propagation of the root"),
        test!(nothing_of_the_host_is_mounted),
        test!(host_does_not_see_the_container_s_mounts),
    ]
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
    for (propagation, field) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("private", ""),
        ("rprivate", ""),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        // runc then cannot bind its read-only paths.
        if propagation == "runbindable" && !case.runtime.ours {
            continue;
        }
        let container = case.container_with(&["cat", "/proc/self/mountinfo"], |config| {
            config["linux"]["rootfsPropagation"] = json!(propagation);
        });
        // On a mount of its own that is shared, as all are where systemd is init: a propagation that is not
        // recursive does not reach it, and yet nothing may come through to the host.
        let bundle = container.bundle();
        mount(&["--bind", &bundle, &bundle]);
        mount(&["--make-shared", &bundle]);
        let output = container.run();
        let host = fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
        unmount(&bundle);
        assert!(!host.contains(&format!(" {bundle}/")), "{propagation}: {host}");
        let text = output.ok().stdout;
        let root = mount_at(&text, "/");
        // A slave has a master only where the host's mount is shared.
        if !propagation.ends_with("slave") {
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
