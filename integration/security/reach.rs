//! What of our own processes is in sight: descriptors, executable, working directory, environment.

use super::*;
use crate::harness::{Output, program};

pub fn tests() -> Vec<Test> {
    vec![
        test!(descriptors_are_only_the_three),
        test!(init_hides_its_descriptors_before_start)
            .wrun_only("runc 1.1 shows the environment of its waiting init"),
        test!(executable_cannot_be_overwritten_through_the_entry_point),
        test!(executable_cannot_be_overwritten_through_exec),
        test!(working_directory_through_a_descriptor),
        test!(working_directory_of_the_caller),
        test!(added_process_cannot_be_looked_into_before_it_is_confined),
        test!(added_process_has_nothing_of_the_host)
            .wrun_only("runc's joins the pid namespace with the host's root and descriptors"),
        test!(host_variables_do_not_come_in),
        test!(state_directory_is_for_its_owner_alone),
        test!(null_device_of_the_host_is_not_changed),
        test!(null_device_of_the_host_is_not_changed_by_an_added_process)
            .wrun_only("runc gives an added process the host's"),
        test!(null_device_of_the_host_is_not_changed_where_the_container_has_none)
            .wrun_only("runc makes no container without a null device"),
    ]
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
    program::copy(&case.runtime.path, &copy);
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

/// Who may trace others sees into an exec'd process as soon as it is in the pid namespace. It must have left the host by
/// then: its root, and every descriptor that leads anywhere on the host.
fn added_process_has_nothing_of_the_host(case: &Case) {
    let secret = secret(case).join("secret");
    let script = format!(
        "secret={}
        echo up >/up
        while :; do
            for p in /proc/[0-9]*; do
                [ $p = /proc/1 ] && continue
                [ -e $p/status ] && seen=1
                for f in $p/root $p/cwd $p/fd/[3-9] $p/fd/[1-9][0-9]; do
                    for way in '' /.. /../.. /../1/root /1/root /../../1/root /../../../../../../../..; do
                        [ -e $f$way$secret ] && echo $f$way >>/caught
                    done
                    [ -e $f/state.json ] && echo $f state >>/caught
                    [ -e $f/cgroup.procs ] && echo $f cgroup >>/caught
                    [ -e $f/sysrq-trigger ] && echo $f proc >>/caught
                    [ -e $f/../sysrq-trigger ] && echo $f/.. proc >>/caught
                done
                [ $seen ] && echo seen >/seen
            done
        done",
        secret.display()
    );
    let container = case.script_with(&script, |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"]);
        }
    });
    container.run_detached();
    container.wait_for_file("up");
    for _ in 0..100 {
        container.exec(&["true"]).ok();
    }
    container.wait_for_file("seen");
    let caught = fs::read_to_string(container.rootfs("caught")).unwrap_or_default();
    assert_eq!(caught, "", "the container reached the host");
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

/// Runs the runtime with `args` where the host's null device is one of the test's own, which its input is too; the last
/// line of the output is that device's mode in the end.
fn with_a_null_device(case: &Case, args: &[&str]) -> Output {
    let place = case.dir.join("null-device");
    fs::create_dir_all(&place).expect("a directory");
    let script = "mount --make-rprivate / && mount -t tmpfs none $0 && mknod -m 666 $0/null c 1 3 &&
                  mount --bind $0/null /dev/null && \"$@\" </dev/null; stat -c 'mode %a' $0/null";
    let wrapper = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        place.to_str().expect("UTF-8"),
    ];
    case.finish(case.command_under(&wrapper, args)).ok()
}

/// What hides files is the host's device in sight of the container, and so is input from it.
fn null_device_of_the_host_is_not_changed(case: &Case) {
    let script = "chmod 600 /etc/group /proc/self/fd/0; echo x >/etc/group && stat -c %a /dev/null";
    let container = case.script_with(script, |config| {
        config["linux"]["maskedPaths"] = json!(["/etc/group"]);
        privileged(config);
    });
    let run = ["run", "--bundle", &container.bundle(), &container.id];
    let output = with_a_null_device(case, &run);
    assert_eq!(output.lines(), ["600", "mode 666"], "{output}");
}

fn null_device_of_the_host_is_not_changed_by_an_added_process(case: &Case) {
    let container = case.container_with(&["sleep", "100"], privileged);
    container.run_detached();
    let script = "chmod 600 /proc/self/fd/0; stat -c %a /dev/null";
    let output = with_a_null_device(case, &["exec", &container.id, "sh", "-c", script]);
    assert_eq!(output.lines(), ["600", "mode 666"], "{output}");
    // One that has made something else of its null device takes processes all the same, and gains nothing by it.
    let script = "chmod 600 /proc/self/fd/0; chown 1:1 /proc/self/fd/0; touch /proc/self/fd/0
                  echo x >&0 && test -z \"$(cat)\" && echo in";
    for made in [
        "true",
        "mkdir /dev/null",
        "mkfifo /dev/null",
        "mknod /dev/null c 1 5",
    ] {
        container.sh(&format!("rm -r /dev/null; {made}"));
        let output = with_a_null_device(case, &["exec", &container.id, "sh", "-c", script]);
        assert_eq!(output.lines(), ["in", "mode 666"], "{made}: {output}");
        assert!(
            output.stderr.contains("Read-only file system"),
            "{made}: {output}"
        );
    }
}

/// Where a hook takes the device away before the container runs.
fn null_device_of_the_host_is_not_changed_where_the_container_has_none(case: &Case) {
    let script = "chmod 600 /proc/self/fd/0; test ! -e /dev/null && test -z \"$(cat)\" && echo in";
    let container = case.script_with(script, privileged);
    let device = container.rootfs("dev/null");
    container.edit(|config| {
        config["hooks"]["createContainer"] = json!([{ "path": "/bin/rm", "args": ["rm", device] }]);
    });
    let run = ["run", "--bundle", &container.bundle(), &container.id];
    let output = with_a_null_device(case, &run);
    assert_eq!(output.lines(), ["in", "mode 666"], "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
}
