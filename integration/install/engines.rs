//! Installed engines read what `install` writes, and forget it after an undo.

use std::fs;
use std::path::Path;

use super::{Config, DAEMON_JSON, ours};
use crate::harness::command::read;
use crate::harness::docker::{Daemon, Docker, NATIVE};
use crate::harness::{Case, Need, Output, Test, program, test};

pub fn tests() -> Vec<Test> {
    vec![
        ours(test!(docker_reads_it)).needs(Need::Docker),
        ours(test!(docker_s_own_default_is_in_the_way)).needs(Need::Docker),
        ours(test!(docker_is_asked_first)),
        ours(test!(containerd_reads_it)).needs(Need::Containerd),
        ours(test!(podman_reads_it))
            .needs(Need::Podman)
            .needs(Need::RaiseLimits),
        ours(test!(podman_knows_what_we_can_do))
            .needs(Need::Podman)
            .needs(Need::RaiseLimits),
        ours(test!(podman_runs_wasm_platforms))
            .needs(Need::PodmanPlatforms)
            .needs(Need::RaiseLimits),
        ours(test!(containerd_s_runc_is_followed)).needs(Need::Containerd),
    ]
}

/// Its cgroups are as runc's are by all that containerd reads: what it has by default, too, and what it imports.
fn containerd_s_runc_is_followed(case: &Case) {
    let file = |name: &str, text: &str| {
        let path = case.path(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let imported = file(
        "imported.toml",
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = \
         'io.containerd.runc.v2'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\n\
         SystemdCgroup = true\n",
    );
    for (name, text, expected) in [
        ("silent.toml", "version = 2\n".to_owned(), "SystemdCgroup = false"),
        (
            "importing.toml",
            format!("version = 2\nimports = ['{imported}']\n"),
            "SystemdCgroup = true",
        ),
    ] {
        let path = file(name, &text);
        case.call(&["install", "containerd", "--no-check", "--config", &path])
            .ok();
        let text = read(Path::new(&path));
        assert!(text.contains(expected), "{name}: {text}");
    }
}

/// A daemon started with the file: it knows wrun, runs what names no runtime by it, and our own check passes. After an
/// undo, the daemon that is started anew, as that says, has forgotten all.
fn docker_reads_it(case: &Case) {
    let file = case.path("daemon.json");
    fs::write(&file, "{\"log-level\": \"warn\"}").expect("a file");
    case.call(&["install", "docker", "--config", &file, "--default", "--no-check"])
        .ok();
    let start = || Daemon::start(&case.dir.join("docker"), &[], &["--config-file", &file]);
    let daemon = start();
    let mut command = case.command(&["install", "docker", "--config", &file, "--default"]);
    command.env("DOCKER_HOST", daemon.address());
    let output = case.finish(command).ok();
    assert!(output.stdout.contains("have run through Docker."), "{output}");
    let docker = Docker::on(case, &daemon);
    let id = docker.start(&[], NATIVE, &["sh", "-c", "exit 3"]);
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "3\n");
    assert_eq!(docker.inspect(&id, "{{.HostConfig.Runtime}}"), "wrun");
    let images = docker.call(&["images", "--format", "{{.Repository}}"]).ok();
    assert!(!images.stdout.contains("wrun-trial"), "{images}");

    let undone = case
        .call(&["install", "docker", "--config", &file, "--undo"])
        .ok();
    assert!(
        undone
            .stdout
            .contains("Docker forgets wrun after: systemctl restart docker"),
        "{undone}"
    );
    drop(daemon);
    let daemon = start();
    let format = "{{.DefaultRuntime}} {{json .Runtimes}}";
    let info = Docker::on(case, &daemon).call(&["info", "--format", format]).ok();
    assert!(!info.stdout.contains("wrun"), "{info}");
    // It does not know us, which no patience helps; only who had it reload waits.
    let mut command = case.command(&["install", "docker", "--config", &file]);
    command.env("DOCKER_HOST", daemon.address());
    let output = case.finish(command).ok();
    assert!(output.stdout.contains("Not tried through Docker"), "{output}");
    reload_takes_a_while(case, &daemon, &file);
}

/// A stand-in for systemctl returns before the daemon has read anything, as systemctl does.
fn reload_takes_a_while(case: &Case, daemon: &Daemon, file: &str) {
    case.call(&["install", "docker", "--config", file, "--undo"]).ok();
    let programs = case.dir.join("programs");
    fs::create_dir(&programs).expect("a directory");
    let systemctl = programs.join("systemctl");
    let pid = case.dir.join("docker/pid");
    let script = format!("#!/bin/sh\n(sleep 2; kill -HUP $(cat {})) &\n", pid.display());
    program::write(&systemctl, script);
    let mut command = case.command(&["install", "docker", "--config", file, "--default", "--restart"]);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("DOCKER_HOST", daemon.address())
        .env("PATH", format!("{}:{path}", programs.display()));
    let output = case.finish(command).ok();
    assert!(output.stdout.contains("have run through Docker."), "{output}");
}

/// dockerd does not start where its file and its command line both name the default runtime.
fn docker_s_own_default_is_in_the_way(case: &Case) {
    let config = Config::new(case);
    let flags = ["--config-file", &config.path(), "--default-runtime", "runc"];
    let _daemon = Daemon::start(&case.dir.join("docker"), &[], &flags);
    case.names(
        &config.call(&["--default"]).code_is(1),
        &["daemon.json", "--default-runtime", "nothing is changed"],
    );
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    config.call(&[]).ok();
    config.knows_wrun();
}

/// A stand-in for a dockerd that validates files, which it does from 23.0 on: what it does not take does not get there.
fn docker_is_asked_first(case: &Case) {
    let config = Config::new(case);
    let programs = case.dir.join("programs");
    fs::create_dir(&programs).expect("a directory");
    let dockerd = programs.join("dockerd");
    let install = |version: &str| {
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --version) echo 'Docker version {version}, build x';; \
             --validate) grep -q '\"wrun\"' \"$3\" && echo \"$3: no such directive\" >&2; exit 1;; esac\n"
        );
        program::write(&dockerd, script);
        let arguments = config.arguments(&[]);
        let mut command = case.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        case.finish(command)
    };
    let output = install("28.5.2").code_is(1);
    case.names(
        &output,
        &[
            "dockerd --validate",
            "daemon.json: no such directive",
            "nothing is changed",
        ],
    );
    assert_eq!((config.text().as_str(), config.files().len()), (DAEMON_JSON, 1));
    install("20.10.24").ok();
    config.knows_wrun();
}

/// The major version of the installed containerd.
fn containerd_version() -> u32 {
    let output = std::process::Command::new("containerd").arg("--version").output();
    let text = String::from_utf8(output.expect("containerd starts").stdout).expect("UTF-8");
    let numbers = text
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches('v').split_once('.'));
    let mut majors = numbers.filter_map(|(major, _)| major.parse().ok());
    majors
        .next_back()
        .unwrap_or_else(|| panic!("no version in {text}"))
}

/// The installed containerd reads each form of the file, and has a default runtime afterwards. From 2.0 on it takes no
/// runtimes of the oldest form, which is told.
fn containerd_reads_it(case: &Case) {
    for (name, before, default) in [
        ("none", None, "runc"),
        ("old", Some("oom_score = 1\n# [debug]\n"), "runc"),
        ("new", Some("version = 2\n[debug]\nlevel = \"warn\"\n"), "runc"),
        ("default", None, "wrun"),
    ] {
        let file = case.path(&format!("{name}.toml"));
        if let Some(text) = before {
            fs::write(&file, text).expect("a file");
        }
        let more: &[&str] = if default == "wrun" { &["--default"] } else { &[] };
        let output = case.call(&[&["install", "containerd", "--no-check", "--config", &file], more].concat());
        if name == "old" && containerd_version() >= 2 {
            case.names(
                &output.code_is(1),
                &["old.toml", "version 1", "containerd config migrate"],
            );
            assert_eq!(
                fs::read_to_string(&file).expect("the file"),
                before.expect("it was there")
            );
            continue;
        }
        output.ok();
        let mut command = std::process::Command::new("containerd");
        command.args(["--config", &file, "config", "dump"]);
        let dump = case.finish(command).ok().stdout.replace('\'', "\"");
        for text in [
            &format!("default_runtime_name = \"{default}\""),
            "containerd.runtimes.runc]",
            "containerd.runtimes.wrun]",
            &format!(
                "BinaryName = \"{}\"",
                case.runtime.path.canonicalize().expect("it exists").display()
            ),
        ] {
            assert!(dump.contains(text), "{name}: {text} is not in {dump}");
        }
    }
}

/// With storage and configuration of its own, in a mount namespace; what the shell command `then` does besides comes
/// after an installation. Directories are made in a copy of /etc/containers: one made there would have to be removed, and
/// that takes away what another test has mounted on it.
#[track_caller]
fn with_podman(case: &Case, then: &str) -> Output {
    let copy = case.path("containers");
    let script = format!(
        "mount --make-rprivate / && cp -a /etc/containers {copy} && mkdir -p {copy}/containers.conf.d && \
         mount --bind {copy} /etc/containers && for dir in /var/lib/containers /run/containers /run/libpod \
         /etc/containers/containers.conf.d; do {{ test -d $dir || mkdir -p $dir; }} && mount -t tmpfs none $dir; done && \
         \"$@\" && {then}"
    );
    let wrapper = ["unshare", "-m", "sh", "-c", &script, "x"];
    case.finish(case.command_under(&wrapper, &["install", "podman", "--default"]))
        .ok()
}

fn podman_reads_it(case: &Case) {
    assert!(
        with_podman(case, "true")
            .stdout
            .contains("have run through Podman.")
    );
}

/// What Podman believes of runtimes by their name: that one of ours needs no cgroup, and tells errors as JSON.
fn podman_knows_what_we_can_do(case: &Case) {
    let archive = case.path("image.tar");
    let root = case.dir.join("image");
    fs::create_dir(&root).expect("a directory");
    crate::harness::bundle::make_rootfs(&root);
    let tar = std::process::Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["-cf", &archive, "."])
        .status();
    assert!(tar.expect("tar starts").success());
    let script = format!(
        "podman import {archive} busybox:test >/dev/null && \
         podman run --rm --network none --cgroups=disabled --pid private busybox:test echo without && \
         {{ podman run --rm --network none busybox:test /no/such 2>&1 || true; }}"
    );
    let output = with_podman(case, &script);
    assert!(output.stdout.contains("\nwithout\n"), "{output}");
    assert!(output.stdout.contains("/no/such"), "{output}");
}

/// The platform of an image is enough for Podman 4.4 and later.
fn podman_runs_wasm_platforms(case: &Case) {
    let wasm = crate::harness::guest::binary("hello");
    fs::create_dir(case.dir.join("image")).expect("a directory");
    fs::write(case.dir.join("image/hello.wasm"), wasm).expect("the guest");
    let image = case.path("image");
    let script = format!(
        "sed -i '/^runtime = /d' /etc/containers/containers.conf.d/wrun.conf && \
         tar -C {image} -c . | podman import --os wasi --arch wasm -c 'ENTRYPOINT [\"/hello.wasm\"]' - hello:test >/dev/null && \
         podman create --network none --name hello hello:test >/dev/null && \
         podman inspect --format '= {{{{.OCIRuntime}}}}' hello"
    );
    let output = with_podman(case, &script);
    assert!(output.stdout.contains("= wrun\n"), "{output}");
}
