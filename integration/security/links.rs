//! Symbolic links of the image, where a mount, a mask, a device or a terminal goes.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(mount_destination_is_a_link_out),
        test!(mount_destination_has_a_link_out_on_its_way),
        test!(mount_destination_is_proc_through_a_link),
        test!(mount_over_proc_is_refused),
        test!(masked_path_is_a_link_out),
        test!(dev_null_is_a_link).wrun_only("CVE-2025-31133 is in runc before 1.2.8"),
        test!(dev_console_is_a_link),
        test!(dev_ptmx_is_a_link),
        test!(proc_is_a_fake_of_the_image).wrun_only("CVE-2025-52881 is in runc before 1.2.8"),
        test!(device_path_is_a_link_out),
        test!(working_directory_is_a_link_out),
        test!(root_is_a_link),
        test!(links_swapped_while_containers_start),
    ]
}

/// A container with a link `/link` that leads out, and the script that would find the secret through it.
fn with_link_out<'case>(case: &'case Case, edit: impl FnOnce(&mut Value, &str)) -> Container<'case> {
    let outside = secret(case);
    let script = format!(
        "cat /link/secret /link/new/secret {0}/secret; exit 0",
        outside.display()
    );
    let container = case.script_with(&script, |config| edit(config, outside.to_str().expect("UTF-8")));
    let up = format!("../../../../../../../../../..{}", outside.display());
    symlink(up, container.rootfs("link")).expect("a link");
    container
}

/// CVE-2021-30465 and others: the destination of a mount.
fn mount_destination_is_a_link_out(case: &Case) {
    for kind in ["tmpfs", "bind"] {
        let container = with_link_out(case, |config, _| {
            add_mount(
                config,
                "/link",
                kind,
                "/etc",
                if kind == "bind" { &["rbind"] } else { &[] },
            );
        });
        harmless(&container);
    }
}

fn mount_destination_has_a_link_out_on_its_way(case: &Case) {
    let container = with_link_out(case, |config, _| {
        add_mount(config, "/link/new/mount", "tmpfs", "none", &[]);
        add_mount(config, "/link/../new", "tmpfs", "none", &[]);
    });
    harmless(&container);
}

fn mount_destination_is_proc_through_a_link(case: &Case) {
    let container = case.container_with(&["true"], |_| {});
    fs::remove_dir(container.rootfs("proc")).expect("it is empty");
    fs::create_dir(container.rootfs("fake")).expect("a directory");
    symlink("fake", container.rootfs("proc")).expect("a link");
    case.names(&container.run().code_is(1), &["/proc"]);
    case.nothing_left();
}

fn mount_over_proc_is_refused(case: &Case) {
    for destination in ["/proc/self", "/proc/sys/kernel", "/proc/1/fd"] {
        let container = case.container_with(&["true"], |config| {
            add_mount(config, destination, "bind", "/etc", &["rbind", "ro"]);
        });
        case.names(&container.run().code_is(1), &[destination]);
        case.nothing_left();
    }
}

fn masked_path_is_a_link_out(case: &Case) {
    let container = with_link_out(case, |config, outside| {
        config["linux"]["maskedPaths"] = json!(["/link", "/link/secret", format!("/link{outside}")]);
        config["linux"]["readonlyPaths"] = json!(["/link/secret", "/link"]);
    });
    harmless(&container);
}

/// The image brings a /dev of its own, so that nothing is mounted over it.
fn with_own_dev(config: &mut Value) {
    config["mounts"].as_array_mut().expect("mounts").retain(|mount| {
        !mount["destination"]
            .as_str()
            .expect("a destination")
            .starts_with("/dev")
    });
}

/// CVE-2025-31133: masking binds /dev/null, and the image made that a link to something better.
fn dev_null_is_a_link(case: &Case) {
    let container = case.script_with("cat /etc/hidden; echo x >>/etc/hidden; cat /evil", |config| {
        with_own_dev(config);
        config["linux"]["maskedPaths"] = json!(["/etc/hidden"]);
    });
    container.write("etc/hidden", "to be hidden", 0o644);
    container.write("evil", "evil\n", 0o666);
    symlink("/evil", container.rootfs("dev/null")).expect("a link");
    let output = container.run();
    // Refused, or masked with the true /dev/null.
    assert!(!output.stdout.contains("to be hidden"), "{output}");
    assert!(!output.status.success() || output.stdout == "evil\n", "{output}");
    assert_eq!(container.read("evil"), "evil\n", "the link was followed");
    case.nothing_left();
}

/// CVE-2025-52565: what is mounted on /dev/console, and where.
fn dev_console_is_a_link(case: &Case) {
    let outside = secret(case);
    let container = case.script_with("ls -l /dev/console /target; read end", |config| {
        with_own_dev(config);
        add_mount(
            config,
            "/dev/pts",
            "devpts",
            "devpts",
            &["newinstance", "ptmxmode=0666", "mode=0620"],
        );
        config["process"]["terminal"] = json!(true);
    });
    symlink(outside.join("secret"), container.rootfs("dev/console")).expect("a link");
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    let output = container.try_create(&["--console-socket", path.to_str().expect("UTF-8")]);
    if output.status.success() {
        let _terminal = Terminal::from(socket.receive());
        let mounts = fs::read_to_string(container.proc("mountinfo")).expect("its mounts");
        assert!(!mounts.contains("outside"), "{mounts}");
    }
    let secret = fs::metadata(outside.join("secret")).expect("it is there");
    assert!(secret.is_file() && secret.len() == 11, "the link was followed");
}

/// CVE-2025-52565: the terminal is taken from the container's devpts, which the image could have replaced.
fn dev_ptmx_is_a_link(case: &Case) {
    let container = case.script_with("true", |config| {
        with_own_dev(config);
        config["process"]["terminal"] = json!(true);
    });
    fs::create_dir(container.rootfs("dev/pts")).expect("a directory");
    container.write("dev/pts/ptmx", "no terminal", 0o666);
    symlink("pts/ptmx", container.rootfs("dev/ptmx")).expect("a link");
    let path = case.dir.join("console.sock");
    let _socket = DescriptorSocket::listen(&path);
    let output = container
        .try_create(&["--console-socket", path.to_str().expect("UTF-8")])
        .code_is(1);
    case.names(&output, &["ptmx"]);
    case.nothing_left();
}

/// CVE-2025-52881: the image's files at /proc take what is meant for the kernel, so the setting is never made.
fn proc_is_a_fake_of_the_image(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    });
    container.write("proc/sys/net/ipv4/ip_forward", "0", 0o666);
    container.write("proc/self/attr/exec", "", 0o666);
    let output = container.run();
    assert_eq!(
        container.read("proc/sys/net/ipv4/ip_forward"),
        "0",
        "written to the fake: {output}"
    );
}

fn device_path_is_a_link_out(case: &Case) {
    let container = with_link_out(case, |config, _| {
        config["linux"]["devices"] =
            json!([{ "path": "/link/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    });
    harmless(&container);
}

fn working_directory_is_a_link_out(case: &Case) {
    let container = with_link_out(case, |config, _| {
        config["process"]["cwd"] = json!("/link/new/directory")
    });
    harmless(&container);
}

fn root_is_a_link(case: &Case) {
    let outside = secret(case);
    let container = case.script("ls /; exit 0");
    let real = container.bundle.join("real");
    fs::rename(container.bundle.join("rootfs"), &real).expect("a rename");
    // To the true root filesystem: works, or is refused; never anything else.
    symlink("real", container.bundle.join("rootfs")).expect("a link");
    let output = container.run();
    assert!(
        !output.status.success() || output.stdout.contains("busybox") || output.stdout.contains("bin"),
        "{output}"
    );
    assert!(outside.join("secret").exists());
}

/// CVE-2021-30465: two containers share a directory, and one swaps a mount's destination for a link to the root
/// while the other is being started.
fn links_swapped_while_containers_start(case: &Case) {
    let outside = secret(case);
    let shared = case.dir.join("shared");
    fs::create_dir_all(shared.join("directory")).expect("a directory");
    symlink("/", shared.join("link")).expect("a link");
    let attacker = case.container_with(
        &["sh", "-c", "cd /shared; echo >/up; while :; do mv -T directory swap; mv -T link directory; mv -T directory link; mv -T swap directory; done 2>/dev/null"],
        |config| add_mount(config, "/shared", "bind", shared.to_str().expect("UTF-8"), &["rbind"]),
    );
    attacker.run_detached();
    attacker.wait_for_file("up");
    let script = format!(
        "cat {0}/secret /shared/directory/{0}/secret; exit 0",
        outside.display()
    );
    // Of this test alone: what another runtime made would not be told from what ours made.
    let name = format!("{}inner", case.mark);
    for _ in 0..20 {
        let victim = case.script_with(&script, |config| {
            add_mount(
                config,
                "/shared",
                "bind",
                shared.to_str().expect("UTF-8"),
                &["rbind"],
            );
            add_mount(config, "/shared/directory", "tmpfs", "none", &[]);
            add_mount(
                config,
                &format!("/shared/directory/{name}"),
                "bind",
                "/etc",
                &["rbind", "ro"],
            );
        });
        let output = victim.run();
        assert!(!output.stdout.contains("the secret"), "{output}");
    }
    let made = Path::new("/").join(&name);
    if made.exists() {
        fs::remove_dir(&made).expect("an empty directory of our own");
        // CVE-2024-45310 is in runc before 1.1.14.
        assert!(
            !case.runtime.ours,
            "{} was made in the host's root",
            made.display()
        );
    }
    attacker.delete_with(&["--force"]).ok();
}
