//! Docker with containerd's image store, which takes images of platforms that are none of Linux's: `wasi/wasm`.

use serde_json::json;

use super::*;
use crate::harness::{bundle, guest, image};

pub fn tests() -> Vec<Test> {
    vec![test!(image_of_the_machine_s_platform).needs(Need::DockerFrom(26))]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(images_of_wasi_platforms).needs(Need::DockerFrom(26))]
}

/// A daemon with that image store, and the runtime by its default.
fn daemon(case: &Case) -> Daemon {
    let dir = case.dir.join("docker");
    fs::create_dir(&dir).expect("a directory");
    let config = dir.join("daemon.json");
    fs::write(&config, r#"{"features":{"containerd-snapshotter":true}}"#).expect("a file");
    let config = config.to_str().expect("UTF-8");
    Daemon::in_place_of_runc(&dir, &case.runtime, &["--config-file", config])
}

/// Loads an image of one platform.
fn load(docker: &Docker, name: &str, platform: &str, root: &std::path::Path, config: &serde_json::Value) {
    let archive = image::archive(&docker.case.dir, name, platform, root, config);
    let archive = archive.to_str().expect("UTF-8");
    docker.call(&["load", "--input", archive]).ok();
    assert_eq!(
        docker.call(&["images", "--quiet", name]).ok().lines().len(),
        1,
        "{name}"
    );
}

fn image_of_the_machine_s_platform(case: &Case) {
    let daemon = daemon(case);
    let docker = Docker::on(case, &daemon);
    let root = case.dir.join("image");
    bundle::make_rootfs(&root);
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({ "Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo of the store; exit 4"] });
    let platform = format!("linux/{architecture}");
    load(&docker, "native:oci", &platform, &root, &config);
    let output = docker.run(&[], "native:oci", &[]).code_is(4);
    assert_eq!(output.stdout, "of the store\n");
    let id = docker.start(&[], "native:oci", &["sleep", "100"]);
    assert_eq!(docker.call(&["exec", &id, "echo", "in"]).ok().stdout, "in\n");
}

fn images_of_wasi_platforms(case: &Case) {
    let daemon = daemon(case);
    let docker = Docker::on(case, &daemon);
    let root = case.dir.join("image");
    fs::create_dir(&root).expect("a directory");
    for name in ["command-02", "sleep"] {
        fs::write(root.join(format!("{name}.wasm")), guest::binary(name)).expect("the guest");
    }
    for platform in ["wasi/wasm32", "wasi/wasm"] {
        let name = format!("guest:{}", platform.replace('/', "-"));
        let config = json!({ "Entrypoint": ["/command-02.wasm"], "Env": ["ONE=one"] });
        load(&docker, &name, platform, &root, &config);
        let named = ["--platform", platform, "--runtime", &case.runtime.name];
        for flags in [&named[..2], &named[..]] {
            let output = docker.run(flags, &name, &["env", "args", "exit", "1"]).code_is(1);
            for line in ["env ONE=one", "arg args"] {
                assert!(output.lines().contains(&line), "{line}: {output}");
            }
        }
    }
    // One that stays, and what is asked of it.
    let flags = ["--platform", "wasi/wasm", "--entrypoint", "/sleep.wasm"];
    let id = docker.start(&flags, "guest:wasi-wasm", &[]);
    docker.wait_for_log(&id, "sleeping");
    let output = docker.call(&["exec", &id, "/command-02.wasm", "list", "/"]).ok();
    assert!(output.stdout.contains("entry sleep.wasm"), "{output}");
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "143");
}
