//! Images as archives of an OCI layout, for whatever platform, as `docker load` takes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The digest of a blob that is moved into the layout, and its size.
fn blob(layout: &Path, file: &Path) -> (String, u64) {
    let sum = Command::new("sha256sum").arg(file).output();
    let sum = sum.expect("sha256sum starts").stdout;
    let sum = String::from_utf8_lossy(&sum).into_owned();
    let digest = sum.split_whitespace().next().expect("a digest");
    let size = file.metadata().expect("a file").len();
    fs::rename(file, layout.join("blobs/sha256").join(digest)).expect("the same directory");
    (format!("sha256:{digest}"), size)
}

fn json_blob(layout: &Path, value: &Value) -> (String, u64) {
    let file = layout.join("blob");
    fs::write(&file, value.to_string()).expect("a file");
    blob(layout, &file)
}

fn tar(archive: &Path, root: &Path) {
    let status = Command::new("tar")
        .arg("-C")
        .arg(root)
        .arg("-cf")
        .arg(archive)
        .arg(".")
        .status();
    assert!(status.expect("tar starts").success());
}

/// Makes `DIR/image.tar` of the directory `root`, for the platform OS/ARCHITECTURE, with the configuration `config`.
pub fn archive(dir: &Path, name: &str, platform: &str, root: &Path, config: &Value) -> PathBuf {
    let (os, architecture) = platform.split_once('/').expect("OS/ARCHITECTURE");
    let layout = dir.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    let layer = layout.join("blob");
    tar(&layer, root);
    let (layer, layer_size) = blob(&layout, &layer);
    let image = json!({
        "architecture": architecture,
        "os": os,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let (image, image_size) = json_blob(&layout, &image);
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media("manifest.v1+json"),
        "config": { "mediaType": media("config.v1+json"), "digest": image, "size": image_size },
        "layers": [{ "mediaType": media("layer.v1.tar"), "digest": layer, "size": layer_size }],
    });
    let (manifest, manifest_size) = json_blob(&layout, &manifest);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media("index.v1+json"),
        "manifests": [{
            "mediaType": media("manifest.v1+json"),
            "digest": manifest,
            "size": manifest_size,
            "platform": { "os": os, "architecture": architecture },
            "annotations": {
                "io.containerd.image.name": format!("docker.io/library/{name}"),
                "org.opencontainers.image.ref.name": name.rsplit(':').next().expect("a tag"),
            },
        }],
    });
    fs::write(layout.join("index.json"), index.to_string()).expect("a file");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    let archive = dir.join("image.tar");
    tar(&archive, &layout);
    fs::remove_dir_all(&layout).expect("it is ours");
    archive
}
