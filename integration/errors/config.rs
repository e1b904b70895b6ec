//! A bundle or a config.json that is wrong.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(broken_json),
        test!(wrong_types),
        test!(unknown_version)
            .covers(&["ociVersion"])
            .wrun_only("runc takes any version"),
        test!(other_systems_are_refused)
            .wrun_only("runc passes them over")
            .covers(&["solaris.*", "windows.*", "vm.*", "zos.*", "freebsd"]),
        test!(unknown_properties_are_passed_over).covers(&["uidMappings.*", "gidMappings.*"]),
        test!(no_config),
        test!(no_bundle),
        test!(missing_rootfs),
        test!(missing_program),
        test!(missing_program_by_path),
        test!(program_not_executable),
        test!(program_is_a_directory),
        test!(missing_interpreter),
        test!(not_a_program),
        test!(mount_source_is_missing),
        test!(mount_of_an_unknown_kind),
        test!(unknown_namespace),
        test!(namespace_path_is_missing),
        test!(namespace_path_of_another_kind),
        test!(unknown_capability_is_warned_of),
        test!(unknown_rlimit),
        test!(relative_cwd),
        test!(unknown_system_call_action),
        test!(sysctl_of_the_host),
        test!(cgroup_path_is_not_under_the_mount),
        test!(limit_that_the_kernel_refuses),
    ]
}

/// [`refused`] for a config.json made bad by `edit`.
#[track_caller]
fn refused_with(case: &Case, culprits: &[&str], edit: impl FnOnce(&mut Value)) {
    refused(&case.container_with(&["true"], edit), culprits);
}

fn broken_json(case: &Case) {
    let container = case.container(&["true"]);
    fs::write(
        container.bundle.join("config.json"),
        "{ \"ociVersion\": \"1.0.2\",\n  oops",
    )
    .expect("it");
    refused(&container, &["config.json", "line 2"]);
    fs::write(container.bundle.join("config.json"), "").expect("it");
    refused(&container, &["config.json"]);
}

fn wrong_types(case: &Case) {
    refused_with(case, &["config.json", "args"], |config| {
        config["process"]["args"] = json!("true")
    });
    refused_with(case, &["config.json", "uid"], |config| {
        config["process"]["user"]["uid"] = json!(-1)
    });
    refused_with(case, &["config.json", "mounts"], |config| {
        config["mounts"] = json!({})
    });
}

fn unknown_version(case: &Case) {
    refused_with(case, &["ociVersion", "7.0.0"], |config| {
        config["ociVersion"] = json!("7.0.0")
    });
    refused_with(case, &["ociVersion", "one"], |config| {
        config["ociVersion"] = json!("one")
    });
    refused_with(case, &["ociVersion"], |config| {
        config.as_object_mut().expect("an object").remove("ociVersion");
    });
}

/// A container for another system is not what would run.
fn other_systems_are_refused(case: &Case) {
    let mut all = crate::properties::document();
    all["vm"]["hwConfig"] = json!({ "vcpus": 1 });
    all["freebsd"] = json!({ "devices": [] });
    for system in ["solaris", "windows", "vm", "zos", "freebsd"] {
        refused_with(case, &[system, "not supported"], |config| {
            config[system] = all[system].clone()
        });
        // Whatever is in it.
        refused_with(case, &[system, "not supported"], |config| {
            config[system] = json!({})
        });
    }
}

/// The specification asks for that. oci-spec's types have two that the specification never had.
fn unknown_properties_are_passed_over(case: &Case) {
    let all = crate::properties::document();
    let container = case.container_with(&["cat", "/proc/self/uid_map"], |config| {
        config["nonsense"] = json!({ "any": "thing" });
        config["process"]["nonsense"] = json!(1);
        config["linux"]["nonsense"] = json!([]);
        for property in ["uidMappings", "gidMappings"] {
            assert!(all[property].is_array());
            config[property] = all[property].clone();
        }
    });
    let own = fs::read_to_string("/proc/self/uid_map").expect("our own map");
    assert_eq!(container.run().ok().stdout, own);
}

fn no_config(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_file(container.bundle.join("config.json")).expect("it was there");
    refused(&container, &["config.json"]);
}

fn no_bundle(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_dir_all(&container.bundle).expect("it was there");
    refused(&container, &[&container.bundle()]);
}

fn missing_rootfs(case: &Case) {
    let container = case.container(&["true"]);
    fs::remove_dir_all(container.rootfs("")).expect("it was there");
    refused(&container, &["rootfs", "no such file"]);
    fs::write(container.rootfs("").with_file_name("rootfs"), "a file").expect("it");
    refused(&container, &["rootfs"]);
}

fn missing_program(case: &Case) {
    refused(
        &case.container(&["nonsense"]),
        &["nonsense", "executable file not found in $PATH"],
    );
}

fn missing_program_by_path(case: &Case) {
    refused(
        &case.container(&["/bin/nonsense"]),
        &["/bin/nonsense", "no such file or directory"],
    );
}

fn program_not_executable(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "#!/bin/sh\n", 0o644);
    refused(&container, &["/program", "permission denied"]);
}

fn program_is_a_directory(case: &Case) {
    refused(&case.container(&["/bin"]), &["/bin"]);
}

/// Found only by execve, so `create` succeeds with runc, and `start` or `run` tells.
#[track_caller]
fn fails_at_start(container: &Container, culprits: &[&str]) {
    let output = container.run();
    assert!(!output.status.success(), "{output}");
    container.case.names(&output, culprits);
    container.case.nothing_left();
}

fn missing_interpreter(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "#!/no/such/interpreter\n", 0o755);
    fails_at_start(&container, &["/program"]);
}

fn not_a_program(case: &Case) {
    let container = case.container(&["/program"]);
    container.write("program", "\0neither ELF nor script\n", 0o755);
    fails_at_start(&container, &["/program", "exec format error"]);
}

fn mount_source_is_missing(case: &Case) {
    refused_with(case, &["/no/such/source"], |config| {
        add_mount(config, "/mnt", "bind", "/no/such/source", &["rbind"]);
    });
}

fn mount_of_an_unknown_kind(case: &Case) {
    refused_with(case, &["/mnt", "nonsensefs"], |config| {
        add_mount(config, "/mnt", "nonsensefs", "none", &[]);
    });
}

fn unknown_namespace(case: &Case) {
    refused_with(case, &["namespace", "nonsense"], |config| {
        crate::harness::bundle::set_namespace(config, "nonsense", None);
    });
}

fn namespace_path_is_missing(case: &Case) {
    refused_with(case, &["/no/such/namespace"], |config| {
        crate::harness::bundle::set_namespace(config, "network", Some("/no/such/namespace"));
    });
}

fn namespace_path_of_another_kind(case: &Case) {
    refused_with(case, &["/proc/self/ns/uts"], |config| {
        crate::harness::bundle::set_namespace(config, "network", Some("/proc/self/ns/uts"));
    });
}

/// The spec: what cannot be granted is logged as a warning.
fn unknown_capability_is_warned_of(case: &Case) {
    let container = case.container_with(&["echo", "fine"], |config| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_NONSENSE"]);
    });
    let output = container.run().ok();
    assert_eq!(output.stdout, "fine\n");
    assert!(
        output.stderr.contains("level=warning") && output.stderr.contains("CAP_NONSENSE"),
        "{output}"
    );
}

fn unknown_rlimit(case: &Case) {
    refused_with(case, &["RLIMIT_NONSENSE"], |config| {
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1 }]);
    });
}

fn relative_cwd(case: &Case) {
    refused_with(case, &["cwd", "tmp"], |config| {
        config["process"]["cwd"] = json!("tmp")
    });
}

fn unknown_system_call_action(case: &Case) {
    refused_with(case, &["SCMP_ACT_NONSENSE"], |config| {
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_NONSENSE" });
    });
}

fn sysctl_of_the_host(case: &Case) {
    refused_with(case, &["kernel.panic"], |config| {
        config["linux"]["sysctl"] = json!({ "kernel.panic": "1" })
    });
}

fn cgroup_path_is_not_under_the_mount(case: &Case) {
    // The dots are taken from the cgroup's root, never from the host's.
    let container = case.container_with(&["true"], |config| {
        let out = "../".repeat(8);
        config["linux"]["cgroupsPath"] = json!(format!("/{out}{}/{}cg", case.path("cgroup"), case.mark));
    });
    let output = container.run();
    assert!(!case.dir.join("cgroup").exists(), "{output}");
    // Parents that were made on the way stay: they are nobody's, and the same test of another runtime may have
    // its own below the upper ones.
    for group in leaks::cgroups(&case.path("cgroup")).iter().rev() {
        fs::remove_dir(group).expect("it is empty");
    }
    for group in leaks::cgroups("/tmp").iter().rev() {
        let _ = fs::remove_dir(group);
    }
    case.nothing_left();
}

fn limit_that_the_kernel_refuses(case: &Case) {
    refused_with(case, &["cpu"], |config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": "9999" })
    });
}
