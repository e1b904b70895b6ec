//! The container reaches nothing of the host: not our descriptors, executable or working directory, no path
//! outside of its root filesystem, and no process before that is confined.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(descriptors_are_only_the_three),
        test!(init_hides_its_descriptors_before_start)
            .wrun_only("runc 1.1 waits with host descriptors in sight of its own user"),
        test!(executable_cannot_be_overwritten_through_the_entry_point),
        test!(executable_cannot_be_overwritten_through_exec),
        test!(working_directory_through_a_descriptor),
        test!(working_directory_of_the_caller),
        test!(mount_destination_is_a_link_out),
        test!(mount_destination_has_a_link_out_on_its_way),
        test!(mount_destination_is_proc_through_a_link),
        test!(mount_over_proc_is_refused),
        test!(masked_path_is_a_link_out),
        test!(dev_null_is_a_link).wrun_only("CVE-2025-31133 is in runc before 1.2.8"),
        test!(dev_console_is_a_link),
        test!(dev_ptmx_is_a_link).wrun_only("CVE-2025-52565 is in runc before 1.2.8"),
        test!(proc_is_a_fake_of_the_image).wrun_only("CVE-2025-52881 is in runc before 1.2.8"),
        test!(device_path_is_a_link_out),
        test!(working_directory_is_a_link_out),
        test!(root_is_a_link),
        test!(links_swapped_while_containers_start),
        test!(added_process_cannot_be_looked_into_before_it_is_confined),
        test!(host_variables_do_not_come_in),
        test!(state_directory_is_for_its_owner_alone),
    ]
}

/// The host's file that no container may reach.
fn secret(case: &Case) -> PathBuf {
    let path = case.dir.join("outside");
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("secret"), "the secret\n").expect("a file");
    path
}

/// Asserts that the container was refused with one error, or ran without reaching the secret.
#[track_caller]
fn harmless(container: &Container) {
    let output = container.run();
    assert!(!output.stdout.contains("the secret"), "{output}");
    if !output.status.success() && container.case.runtime.ours {
        assert!(!output.stderr.is_empty(), "failed without a word: {output}");
    }
    let outside = container.case.dir.join("outside");
    let names: Vec<_> = fs::read_dir(&outside)
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["secret"], "something was made on the host");
    assert_eq!(
        fs::read_to_string(outside.join("secret")).expect("it"),
        "the secret\n"
    );
    container.case.nothing_left();
}

/// Every capability, as a privileged container has.
fn privileged(config: &mut Value) {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "MKNOD",
        "SETUID",
        "SETGID",
        "KILL",
        "SYS_ADMIN",
        "SYS_CHROOT",
    ];
    let all: Vec<_> = names.iter().map(|name| format!("CAP_{name}")).collect();
    config["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
}

fn descriptors_are_only_the_three(case: &Case) {
    let script = "for f in /proc/self/fd/*; do readlink $f; done; ls /proc/self/fd";
    let container = case.script(script);
    let output = container.run().ok();
    // 3 is the directory that ls reads.
    assert_eq!(output.lines().len(), 3 + 4, "{output}");
    assert!(output.stdout.ends_with("0\n1\n2\n3\n"), "{output}");
    let sleeper = case.container(&["sleep", "100"]);
    sleeper.run_detached();
    assert!(sleeper.sh(script).ends_with("0\n1\n2\n3"));
    let first = sleeper.sh("ls -l /proc/1/fd");
    assert_eq!(first.matches(" -> ").count(), 3, "{first}");
}

/// Between create and start, the container's own user must find nothing in init.
fn init_hides_its_descriptors_before_start(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.create();
    for file in ["fd", "environ", "maps", "exe", "root/", "cwd/"] {
        let output = container.exec(&["sh", "-c", &format!("ls -l /proc/1/{file} && cat /proc/1/{file}")]);
        assert!(!output.status.success(), "{file} can be read: {output}");
    }
}

/// A copy of the runtime for attacks on its file, and the case's commands made with it.
fn copy_of_the_runtime(case: &Case) -> (PathBuf, Vec<u8>) {
    let copy = case.dir.join("runtime");
    fs::copy(&case.runtime.path, &copy).expect("a copy of the runtime");
    let before = fs::read(&copy).expect("the copy");
    (copy, before)
}

/// CVE-2019-5736: the entry point's interpreter is /proc/self/exe, which is the runtime itself.
fn executable_cannot_be_overwritten_through_the_entry_point(case: &Case) {
    let (copy, before) = copy_of_the_runtime(case);
    let container = case.container_with(&["/evil"], privileged);
    container.write("evil", "#!/proc/self/exe\n", 0o755);
    let mut run = std::process::Command::new(&copy);
    run.arg("--root")
        .arg(&case.root)
        .args(["run", "--bundle", &container.bundle(), &container.id]);
    run.stdin(std::process::Stdio::null());
    let output = case.finish(run);
    assert!(!output.status.success(), "{output}");
    assert!(
        fs::read(&copy).expect("the copy") == before,
        "the runtime was changed"
    );
}

/// CVE-2019-5736: the container waits for a process of ours, keeps its executable open, and writes to it later.
fn executable_cannot_be_overwritten_through_exec(case: &Case) {
    let (copy, before) = copy_of_the_runtime(case);
    // Opens what is not its own busybox, and writes to it when the process has gone and the file is no longer busy.
    let script = "echo up >/up
        while :; do
            for p in /proc/[0-9]*; do
                case $(readlink $p/exe 2>/dev/null) in */busybox|'') continue;; esac
                if exec 9<$p/exe 2>/dev/null; then
                    echo caught >>/caught
                    sleep 0.1
                    (echo overwritten >/proc/self/fd/9) 2>/dev/null && echo done >>/done
                    exec 9<&-
                fi
            done
        done";
    let container = case.script_with(script, privileged);
    let call = |args: &[&str]| {
        let mut command = std::process::Command::new(&copy);
        command
            .arg("--root")
            .arg(&case.root)
            .args(args)
            .stdin(std::process::Stdio::null());
        case.finish(command)
    };
    call(&["run", "--detach", "--bundle", &container.bundle(), &container.id]).ok();
    container.wait_for_file("up");
    for _ in 0..15 {
        call(&["exec", &container.id, "true"]).ok();
    }
    container.write("evil", "#!/proc/self/exe\n", 0o755);
    call(&["exec", &container.id, "/evil"]);
    call(&["delete", "--force", &container.id]).ok();
    assert!(
        !container.rootfs("done").exists(),
        "an executable of the host was written to"
    );
    assert!(
        fs::read(&copy).expect("the copy") == before,
        "the runtime was changed"
    );
}

/// CVE-2024-21626: a descriptor of the host's, left open, as the working directory.
fn working_directory_through_a_descriptor(case: &Case) {
    let outside = secret(case);
    let steal = format!("pwd; cat ../../../../../../../../../{}/secret", outside.display());
    for number in 3..12 {
        let container = case.container_with(&["sh", "-c", &steal], |config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        });
        harmless(&container);
    }
    let container = case.container(&["sleep", "100"]);
    container.run_detached();
    for number in 3..12 {
        let output = container.exec_with(
            &["--cwd", &format!("/proc/self/fd/{number}")],
            &["sh", "-c", &steal],
        );
        assert!(!output.stdout.contains("the secret"), "{output}");
    }
    // Through a link of the image as well.
    symlink("/proc/self/fd", container.rootfs("link")).expect("a link");
    for number in 3..12 {
        let output = container.exec_with(&["--cwd", &format!("/link/{number}")], &["sh", "-c", &steal]);
        assert!(!output.stdout.contains("the secret"), "{output}");
    }
}

fn working_directory_of_the_caller(case: &Case) {
    let outside = secret(case);
    let container = case.script("cat secret; cat /proc/1/cwd/secret; ls -l /proc/1/cwd");
    let mut command = container.command("run", &[]);
    command.current_dir(&outside);
    let output = case.finish(command);
    assert!(!output.stdout.contains("the secret"), "{output}");
    assert!(output.stdout.contains("-> /\n"), "{output}");
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
                "/shared/directory/inner",
                "bind",
                "/etc",
                &["rbind", "ro"],
            );
        });
        let output = victim.run();
        assert!(!output.stdout.contains("the secret"), "{output}");
    }
    assert!(!Path::new("/inner").exists(), "made in the host's root");
    attacker.delete_with(&["--force"]).ok();
}

/// CVE-2016-9962: an exec'd process joins the namespaces before it is confined; until then nobody in the container
/// may look into it.
fn added_process_cannot_be_looked_into_before_it_is_confined(case: &Case) {
    let script = "echo up >/up
        while :; do
            for p in /proc/[0-9]*; do
                exe=$(readlink $p/exe 2>/dev/null) || continue
                case $exe in */busybox|'') ;; *) echo $p $exe >>/caught;; esac
                for f in $p/fd/*; do
                    case $(readlink $f 2>/dev/null) in
                        *state*|*runtime*|*sys/fs*|*rootfs*|/tmp/*/runc*) echo $f $(readlink $f) >>/caught;;
                    esac
                done
            done
        done";
    let container = case.script(script);
    container.run_detached();
    container.wait_for_file("up");
    for _ in 0..20 {
        container.exec(&["true"]).ok();
    }
    let caught = fs::read_to_string(container.rootfs("caught")).unwrap_or_default();
    assert_eq!(caught, "", "the container looked into a process of the runtime");
}

fn host_variables_do_not_come_in(case: &Case) {
    let container = case.container(&["env"]);
    let mut command = container.command("run", &[]);
    command.env("HOST_SECRET", "the secret");
    let output = case.finish(command).ok();
    assert!(!output.stdout.contains("HOST_SECRET"), "{output}");
    let sleeper = case.container(&["sleep", "100"]);
    let mut create = sleeper.command("create", &[]);
    create.env("HOST_SECRET", "the secret");
    case.finish(create).ok();
    sleeper.start();
    let mut exec = case.command(&[
        "exec",
        &sleeper.id,
        "sh",
        "-c",
        "env; tr '\\0' '\\n' </proc/1/environ",
    ]);
    exec.env("HOST_SECRET", "the secret");
    let output = case.finish(exec).ok();
    assert!(!output.stdout.contains("HOST_SECRET"), "{output}");
}

fn state_directory_is_for_its_owner_alone(case: &Case) {
    use std::os::unix::fs::PermissionsExt;
    let container = case.container(&["sleep", "100"]);
    container.create();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command
        .arg("cat")
        .arg(case.root.join(&container.id).join("state.json"));
    let output = case.finish(command);
    assert!(!output.status.success() || !case.runtime.ours, "{output}");
    for entry in fs::read_dir(case.root.join(&container.id))
        .expect("the state")
        .flatten()
    {
        let mode = entry.metadata().expect("it").permissions().mode();
        // runc's exec.fifo is open to all, in a directory that is not.
        assert!(
            mode & 0o002 == 0 || !case.runtime.ours,
            "{}: {mode:o}",
            entry.path().display()
        );
    }
}
