//! What cannot be dumped or restored is refused, with a reason, and leaves everything as it was.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{
    checkpoint, count, counter, goes_on, images, is_gone, restore, run, try_checkpoint, try_restore, work,
};
use crate::harness::command::eventually;
use crate::harness::{Case, Output, Test, guest, leaks, test};

use wrun::sys::fault::{POINTS_OF_CHECKPOINT, POINTS_OF_RESTORE};

pub fn tests() -> Vec<Test> {
    vec![
        test!(what_criu_cannot_dump_goes_on),
        test!(damaged_images_leave_nothing),
        test!(missing_images_are_named),
        test!(id_that_is_taken),
        test!(failing_hook_ends_a_restore),
        test!(wasm_guest_is_refused).wrun_only("runc has no Wasm"),
        test!(id_mapped_mount_is_refused).wrun_only("runc lets CRIU restore it without its map"),
        test!(kill_at_each_step_of_checkpoint).wrun_only("only our test build has fault points"),
        test!(kill_at_each_step_of_restore).wrun_only("only our test build has fault points"),
    ]
}

pub fn tests_without_criu() -> Vec<Test> {
    vec![
        test!(criu_that_is_missing_is_named).wrun_only("runc says only that there is no such file"),
        test!(only_what_runs_can_be_dumped),
        test!(wrong_words_are_refused),
    ]
}

fn criu_that_is_missing_is_named(case: &Case) {
    let container = case.container(&["sleep", "1000"]);
    container.run_detached();
    let mut command = case.command(&["checkpoint", "--image-path", &images(&container), &container.id]);
    command.env("PATH", "/nowhere");
    refuses(
        case,
        &case.finish(command).code_is(1),
        &["criu is not installed", "/nowhere", "package criu"],
    );
    assert_eq!(container.status(), "running");
    assert!(!Path::new(&images(&container)).exists());
    container.delete_with(&["--force"]).ok();
    fs::create_dir(images(&container)).expect("a directory");
    for name in ["inventory.img", "descriptors.json"] {
        fs::write(Path::new(&images(&container)).join(name), "[]").expect("a file");
    }
    let mut command = container.command("restore", &["-d", "--image-path", &images(&container)]);
    command.env("PATH", "/nowhere");
    refuses(case, &case.finish(command).code_is(1), &["criu is not installed"]);
    case.nothing_left();
}

fn only_what_runs_can_be_dumped(case: &Case) {
    let container = case.container(&["true"]);
    try_checkpoint(&container, &[]).code_is(1);
    container.create();
    refuses(
        case,
        &try_checkpoint(&container, &[]).code_is(1),
        &["cannot be checkpointed in created state"],
    );
    container.start();
    container.wait_for("stopped");
    refuses(
        case,
        &try_checkpoint(&container, &[]).code_is(1),
        &["cannot be checkpointed in stopped state"],
    );
}

fn wrong_words_are_refused(case: &Case) {
    let container = case.container(&["sleep", "1000"]);
    container.run_detached();
    for words in [
        ["--manage-cgroups-mode", "hard"],
        ["--empty-ns", "pid"],
        ["--page-server", "nowhere"],
        ["--page-server", "1.2.3.4:x"],
    ] {
        let refused = try_checkpoint(&container, &words).code_is(1);
        refuses(case, &refused, &[words[0]]);
        assert_eq!(container.status(), "running");
    }
}

/// An error, of which a peer may print more than one.
#[track_caller]
fn refuses(case: &Case, output: &Output, culprits: &[&str]) {
    if case.runtime.ours {
        case.names(output, culprits);
    }
}

/// A standard stream that is a file of the host.
fn what_criu_cannot_dump_goes_on(case: &Case) {
    let container = case.script(super::COUNT);
    container.run_detached();
    count(&container);
    let refused = try_checkpoint(&container, &[]).code_is(1);
    refuses(
        case,
        &refused,
        &["criu failed to checkpoint", "Error (", "dump.log"],
    );
    assert_eq!(container.status(), "running");
    goes_on(&container, count(&container));
}

fn damaged_images_leave_nothing(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    let core = Path::new(&images(&container)).join("core-1.img");
    let whole = fs::read(&core).expect("an image");
    fs::remove_file(&core).expect("an image");
    for _ in 0..2 {
        let failed = try_restore(&container, &[]).code_is(1);
        refuses(case, &failed, &["criu failed to restore", "restore.log"]);
        is_gone(&container);
        fs::write(&core, &whole[..whole.len() / 2]).expect("an image");
    }
    fs::write(&core, &whole).expect("an image");
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}

fn missing_images_are_named(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    let inventory = Path::new(&images(&container)).join("inventory.img");
    for path in [inventory, Path::new(&images(&container)).join("descriptors.json")] {
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).expect("an image");
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        refuses(
            case,
            &try_restore(&container, &[]).code_is(1),
            &["--image-path", name],
        );
        case.nothing_left();
        fs::rename(&aside, &path).expect("an image");
    }
    let nowhere = case.path("nowhere");
    let restore = container.command("restore", &["-d", "--image-path", &nowhere]);
    refuses(
        case,
        &case.finish(restore).code_is(1),
        &["--image-path", &nowhere],
    );
    case.nothing_left();
}

fn id_that_is_taken(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &["--leave-running"]);
    let pid = container.pid();
    refuses(
        case,
        &try_restore(&container, &[]).code_is(1),
        &[&container.id, "exist"],
    );
    assert_eq!((container.status().as_str(), container.pid()), ("running", pid));
    goes_on(&container, count(&container));
}

fn failing_hook_ends_a_restore(case: &Case) {
    let container = counter(case, |_| {});
    checkpoint(&container, &[]);
    container.edit(|config| {
        let hook = |script: String| json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        config["hooks"] = json!({
            "createRuntime": hook("echo not today >&2; exit 3".to_owned()),
            "poststop": hook(format!("echo stopped >{}", case.path("poststop"))),
        });
    });
    let failed = try_restore(&container, &[]).code_is(1);
    refuses(case, &failed, &["createRuntime hook #0", "not today"]);
    is_gone(&container);
    assert!(Path::new(&case.path("poststop")).exists() || !case.runtime.ours);
}

fn wasm_guest_is_refused(case: &Case) {
    let container = case.container(&["/sleeps.wasm"]);
    container.write("sleeps.wasm", guest::binary("sleep"), 0o644);
    run(&container, &[]);
    eventually("the guest runs", || {
        (container.status() == "running").then_some(())
    });
    refuses(case, &try_checkpoint(&container, &[]).code_is(1), &["Wasm guest"]);
    assert_eq!(container.status(), "running");
    assert!(!Path::new(&images(&container)).exists());
}

fn id_mapped_mount_is_refused(case: &Case) {
    fs::create_dir(case.path("data")).expect("a directory");
    let container = counter(case, |config| {
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
        config["mounts"].as_array_mut().expect("mounts").push(json!({
            "destination": "/data", "type": "bind", "source": case.path("data"), "options": ["bind"],
            "uidMappings": map, "gidMappings": map,
        }));
    });
    refuses(
        case,
        &try_checkpoint(&container, &[]).code_is(1),
        &["mounts[", "id-mapped"],
    );
    goes_on(&container, count(&container));
}

/// The container goes on, or is gone where the checkpoint was whole already; and can be dumped and deleted.
fn kill_at_each_step_of_checkpoint(case: &Case) {
    let container = counter(case, |_| {});
    for point in POINTS_OF_CHECKPOINT {
        let (images, work) = (images(&container), work(&container));
        let mut command = case.command(&[
            "checkpoint",
            "--image-path",
            &images,
            "--work-path",
            &work,
            &container.id,
        ]);
        command.env("WRUN_FAULT", point);
        case.finish(command).code_is(128 + 9);
        if *point == "checkpoint:dumped" {
            container.wait_for("stopped");
            container.delete();
            case.nothing_left();
            let before = count(&container);
            restore(&container, &[]);
            goes_on(&container, before);
            continue;
        }
        eventually(&format!("the container runs after {point}"), || {
            (container.status() == "running").then_some(())
        });
        goes_on(&container, count(&container));
    }
    checkpoint(&container, &[]);
    is_gone(&container);
}

fn kill_at_each_step_of_restore(case: &Case) {
    let dumped = || {
        let container = counter(case, |config| {
            config["hooks"]["createRuntime"] = json!([{ "path": "/bin/true" }]);
        });
        checkpoint(&container, &[]);
        container
    };
    for point in POINTS_OF_RESTORE {
        // Each time anew: one that was restored and killed has changed the files that its images name.
        let container = dumped();
        let (images, work) = (images(&container), work(&container));
        let mut command = container.command(
            "restore",
            &["--detach", "--image-path", &images, "--work-path", &work],
        );
        command.env("WRUN_FAULT", point);
        case.finish(command).code_is(128 + 9);
        container.delete_with(&["--force"]).ok();
        let left = leaks::find(case);
        assert!(left.is_empty(), "left behind after {point}: {left:#?}");
    }
    let container = dumped();
    let before = count(&container);
    restore(&container, &[]);
    goes_on(&container, before);
}
