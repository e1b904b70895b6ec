//! Images, directories and annotations that are not what they should be, and a CRIU that ends or hangs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::{
    COUNT, checkpoint, count, counter, goes_on, images, is_gone, restore, run, try_checkpoint, try_restore,
    work,
};
use crate::harness::bundle::{map_ids, set_namespace};
use crate::harness::command::{Output, eventually};
use crate::harness::installed::find_program;
use crate::harness::{Case, Container, Test, program, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(namespaces_must_be_in_the_images).wrun_only("runc goes on, and sets the host's sysctls"),
        test!(joined_namespace_must_be_the_one).wrun_only("runc goes on"),
        test!(confinement_must_be_in_the_images).wrun_only("runc goes on without it"),
        test!(criu_that_is_killed_in_a_restore).wrun_only("runc waits without end"),
        test!(signal_ends_a_restore_in_the_foreground).wrun_only("runc waits without end"),
        test!(criu_that_is_killed_in_a_checkpoint),
        test!(force_ends_a_checkpoint_that_hangs).wrun_only("runc takes no lock"),
        test!(full_disk),
        test!(links_among_the_files_are_not_followed).wrun_only("runc lets CRIU follow them"),
        test!(fifo_among_the_images_does_not_block).wrun_only("runc waits without end"),
        test!(settings_of_others_are_refused).wrun_only("runc gives CRIU any file"),
        test!(settings_elsewhere_can_name_the_log),
        test!(images_are_for_root_alone).wrun_only("runc's are readable where the directory is"),
        test!(status_fd_is_the_callers).wrun_only("runc writes to a descriptor of its own"),
        test!(failed_checkpoint_leaves_it_paused),
        test!(words_without_a_value),
    ]
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let error = output.error();
    for word in words {
        assert!(error.contains(word), "no {word:?}: {output}");
    }
}

fn without_namespaces(config: &mut Value, kinds: &[&str]) {
    let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    list.retain(|namespace| !kinds.iter().any(|kind| namespace["type"] == *kind));
}

/// Neither the host's settings are changed, nor does anything run.
fn namespaces_must_be_in_the_images(case: &Case) {
    let kinds = ["network", "ipc", "uts"];
    let container = counter(case, |config| {
        without_namespaces(config, &kinds);
        config.as_object_mut().expect("an object").remove("hostname");
    });
    checkpoint(&container, &[]);
    let config = fs::read(container.bundle.join("config.json")).expect("config.json");
    let before = count(&container);
    let port = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let host = fs::read_to_string(port).expect("a sysctl");
    for (kind, link) in [
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("user", "user"),
    ] {
        container.edit(|config| match kind {
            "user" => map_ids(config, 100_000),
            "network" => {
                set_namespace(config, kind, None);
                config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "1021" });
            }
            _ => set_namespace(config, kind, None),
        });
        let failed = try_restore(&container, &[]).code_is(1);
        let now = fs::read_to_string(port).expect("a sysctl");
        if now != host {
            fs::write(port, &host).expect("the host's own");
        }
        assert_eq!(now, host, "the host's sysctl was set");
        if kind != "user" {
            refused(
                &failed,
                &["cannot be restored", &format!("a new {link} namespace")],
            );
        }
        is_gone(&container);
        assert_eq!(count(&container), before, "{kind}");
        fs::write(container.bundle.join("config.json"), &config).expect("config.json");
    }
    restore(&container, &[]);
    goes_on(&container, before);
}

fn joined_namespace_must_be_the_one(case: &Case) {
    let holder = case.script("sleep 1000");
    holder.run_detached();
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    let path = format!("/proc/{}/ns/net", holder.pid());
    container.edit(|config| set_namespace(config, "network", Some(&path)));
    // CRIU may notice it itself.
    let failed = try_restore(&container, &[]).code_is(1);
    assert!(failed.error().contains("restore"), "{failed}");
    container.case.call(&["state", &container.id]).code_is(1);
}

fn confinement_must_be_in_the_images(case: &Case) {
    type Edit = fn(&mut Value);
    let container = counter(case, |config| {
        config["process"]["noNewPrivileges"] = json!(false);
    });
    checkpoint(&container, &[]);
    let config = fs::read(container.bundle.join("config.json")).expect("config.json");
    let before = count(&container);
    let edits: [(&str, Edit); 3] = [
        ("process.noNewPrivileges", |config| {
            config["process"]["noNewPrivileges"] = json!(true);
        }),
        ("linux.seccomp", |config| {
            config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" },
            ]});
        }),
        ("process.capabilities", |config| {
            config["process"]["capabilities"] = json!({});
        }),
    ];
    for (culprit, edit) in edits {
        container.edit(edit);
        refused(
            &try_restore(&container, &[]).code_is(1),
            &["another one than config.json describes", culprit],
        );
        is_gone(&container);
        assert_eq!(
            count(&container),
            before,
            "the container ran in spite of {culprit}"
        );
        fs::write(container.bundle.join("config.json"), &config).expect("config.json");
    }
    restore(&container, &[]);
    goes_on(&container, before);
}

/// A hook that sends a signal to CRIU, which is the first child of the runtime.
fn signal_criu(config: &mut Value, signal: &str, then: &str) {
    let script = format!("set -- $(cat /proc/$PPID/task/$PPID/children); kill -{signal} $1; {then}");
    config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
}

fn criu_that_is_killed_in_a_restore(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    container.edit(|config| signal_criu(config, "KILL", "true"));
    refused(
        &try_restore(&container, &[]).code_is(1),
        &["criu failed to restore", "SIGKILL"],
    );
    is_gone(&container);
    container.edit(|config| config["hooks"] = json!({}));
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}

fn signal_ends_a_restore_in_the_foreground(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    let mark = case.path("stopped");
    container.edit(|config| signal_criu(config, "STOP", &format!("echo >{mark}")));
    let (images, work) = (images(&container), work(&container));
    let paths = ["--image-path", images.as_str(), "--work-path", &work];
    let running = case.start(container.command("restore", &paths));
    eventually("CRIU is stopped", || Path::new(&mark).exists().then_some(()));
    let kill = Command::new("kill")
        .args(["-TERM", &running.pid().to_string()])
        .status();
    assert!(kill.expect("kill").success());
    refused(&running.wait().code_is(1), &["interrupted by a signal"]);
    is_gone(&container);
}

/// A program criu that is itself when it is asked for its version, and then does something else.
fn other_criu(case: &Case, then: &str) -> String {
    let real = find_program("criu").expect("criu is there");
    let directory = case.path("programs");
    fs::create_dir_all(&directory).expect("a directory");
    let asked = case.path("asked");
    let script = format!(
        "#!/bin/sh\nif test -e {asked}; then {then}; fi\necho >{asked}\nexec {} \"$@\"\n",
        real.display()
    );
    let path = Path::new(&directory).join("criu");
    program::write(&path, script);
    format!("{directory}:{}", std::env::var("PATH").expect("a PATH"))
}

fn checkpoint_command(container: &Container, path: &str) -> Command {
    let images = images(container);
    let mut command = container
        .case
        .command(&["checkpoint", "--image-path", &images, &container.id]);
    command.env("PATH", path);
    command
}

fn criu_that_is_killed_in_a_checkpoint(case: &Case) {
    let container = counter(case, |_| {});
    let path = other_criu(case, "kill -9 $$");
    let failed = case.finish(checkpoint_command(&container, &path)).code_is(1);
    if case.runtime.ours {
        refused(&failed, &["criu failed to checkpoint", "SIGKILL"]);
    }
    assert_eq!(container.status(), "running");
    goes_on(&container, count(&container));
}

fn force_ends_a_checkpoint_that_hangs(case: &Case) {
    let container = counter(case, |_| {});
    let mark = case.path("hangs");
    let path = other_criu(case, &format!("echo >{mark}; exec sleep 1000"));
    let running = case.start(checkpoint_command(&container, &path));
    eventually("CRIU hangs", || Path::new(&mark).exists().then_some(()));
    container.delete_with(&["--force"]).ok();
    refused(&running.wait().code_is(1), &["criu hangs"]);
    is_gone(&container);
}

fn full_disk(case: &Case) {
    let container = counter(case, |_| {});
    let path = images(&container);
    fs::create_dir(&path).expect("a directory");
    mount("tmpfs", &path, "tmpfs", MountFlags::empty(), c"size=64k").expect("a tmpfs");
    let failed = try_checkpoint(&container, &[]);
    unmount(&path, UnmountFlags::DETACH).expect("ours");
    failed.code_is(1);
    assert_eq!(container.status(), "running");
    goes_on(&container, count(&container));
}

fn links_among_the_files_are_not_followed(case: &Case) {
    let container = counter(case, |_| {});
    let victim = case.path("victim");
    fs::write(&victim, "kept").expect("a file");
    let (images, work) = (images(&container), work(&container));
    fs::create_dir_all(&images).expect("a directory");
    fs::create_dir_all(&work).expect("a directory");
    for name in ["dump.log", "stats-dump", "restore.log", "stats-restore"] {
        symlink(&victim, Path::new(&work).join(name)).expect("a link");
    }
    let pages = Path::new(&images).join("pages-1.img");
    symlink(&victim, &pages).expect("a link");
    refused(
        &try_checkpoint(&container, &[]).code_is(1),
        &["pages-1.img", "regular"],
    );
    goes_on(&container, count(&container));
    fs::remove_file(&pages).expect("ours");
    checkpoint(&container, &[]);
    // What was written elsewhere cannot be made an image.
    let away = case.path("pages");
    fs::rename(&pages, &away).expect("an image");
    symlink(&away, &pages).expect("a link");
    refused(
        &try_restore(&container, &[]).code_is(1),
        &["pages-1.img", "regular"],
    );
    case.nothing_left();
    fs::rename(&away, &pages).expect("an image");
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "kept");
}

fn fifo_among_the_images_does_not_block(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    for name in ["descriptors.json", "inventory.img"] {
        let path = Path::new(&images(&container)).join(name);
        let aside = case.path(name);
        fs::rename(&path, &aside).expect("an image");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        refused(&try_restore(&container, &[]).code_is(1), &["--image-path", name]);
        case.nothing_left();
        fs::rename(&aside, &path).expect("an image");
    }
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}

fn settings_of_others_are_refused(case: &Case) {
    let settings = case.path("settings.conf");
    let (script, mark) = (case.path("script"), case.path("was run"));
    program::write(&script, format!("#!/bin/sh\necho >'{mark}'\n"));
    fs::write(&settings, format!("action-script={script}\n")).expect("a file");
    let container = counter(case, |config| {
        config["annotations"] = json!({ "org.criu.config": settings })
    });
    refused(
        &try_checkpoint(&container, &[]).code_is(1),
        &["org.criu.config", "action-script", "/etc/criu"],
    );
    goes_on(&container, count(&container));
    container.delete_with(&["--force"]).ok();
    container.edit(|config| config["annotations"] = json!({}));
    run(&container, &[]);
    checkpoint(&container, &[]);
    container.edit(|config| config["annotations"] = json!({ "org.criu.config": settings }));
    refused(&try_restore(&container, &[]).code_is(1), &["org.criu.config"]);
    is_gone(&container);
    assert!(!Path::new(&mark).exists());
}

fn settings_elsewhere_can_name_the_log(case: &Case) {
    let settings = case.path("settings.conf");
    fs::write(&settings, "log-file=another.log\n").expect("a file");
    let container = counter(case, |config| {
        config["annotations"] = json!({ "org.criu.config": settings })
    });
    let log = Path::new(&work(&container)).join("another.log");
    checkpoint(&container, &[]);
    fs::remove_file(&log).expect("the log");
    restore(&container, &[]);
    assert!(log.exists());
    goes_on(&container, count(&container));
}

fn images_are_for_root_alone(case: &Case) {
    let container = counter(case, |_| {});
    let path = images(&container);
    fs::create_dir(&path).expect("a directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    checkpoint(&container, &[]);
    for entry in fs::read_dir(&path).expect("the images") {
        let entry = entry.expect("an image");
        let mode = entry.metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
}

/// A number that is one of the runtime's own, here its log, is nobody's to be told.
fn status_fd_is_the_callers(case: &Case) {
    let container = counter(case, |_| {});
    let (log, images) = (case.path("own.log"), images(&container));
    let words = [
        "--log",
        &log,
        "checkpoint",
        "--image-path",
        &images,
        "--status-fd",
    ];
    for number in ["3", "4", "5", "2", "77"] {
        let failed = case
            .call(&[&words[..], &[number, "--lazy-pages", &container.id]].concat())
            .code_is(1);
        let said = fs::read_to_string(&log).expect("the log") + &failed.stderr;
        assert!(said.contains("--status-fd"), "{number}: {said}");
        assert_eq!(container.status(), "running");
    }
    // Without lazy pages there is nothing to tell.
    checkpoint(&container, &["--status-fd", "77"]);
}

fn failed_checkpoint_leaves_it_paused(case: &Case) {
    let container = case.script(COUNT);
    container.run_detached();
    count(&container);
    case.call(&["pause", &container.id]).ok();
    // A standard stream of it is a file of the host, so that CRIU refuses.
    try_checkpoint(&container, &[]).code_is(1);
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
    goes_on(&container, count(&container));
}

fn words_without_a_value(case: &Case) {
    let container = counter(case, |_| {});
    let images = images(&container);
    let words = [
        "checkpoint",
        "--image-path",
        &images,
        "--work-path",
        "",
        "--parent-path",
        "",
        "--page-server",
        "",
        "--manage-cgroups-mode",
        "",
        &container.id,
    ];
    let done = case.call(&words);
    assert!(done.status.success(), "{done}");
    let restore = container.command("restore", &["-d", "--image-path", &images, "--work-path", ""]);
    case.finish(restore).ok();
    goes_on(&container, count(&container));
}
