//! Applications as `spin registry push` stores them, unpacked by `wrun wasm unpack`.

use sha2::{Digest as _, Sha256};

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_an_unpacked_artifact_runs),
        test!(spin_a_hostile_artifact_leaves_nothing),
    ]
}

/// An image layout in a directory.
struct Layout(String);

impl Layout {
    fn new(case: &Case) -> Self {
        let path = case.path("layout");
        fs::create_dir_all(format!("{path}/blobs/sha256")).expect("made");
        fs::write(format!("{path}/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("written");
        Layout(path)
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> Value {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(format!("{}/blobs/sha256/{hex}", self.0), bytes).expect("written");
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    /// A program that shows the file `path`, with that file.
    fn application(&self, path: &str) {
        let module = self.put(
            "application/vnd.wasm.content.layer.v1+wasm",
            &guest::binary("file"),
        );
        let data = self.put("application/vnd.wasm.content.layer.v1+data", b"from a layer\n");
        let locked = json!({
            "spin_lock_version": 0,
            "metadata": { "name": "job", "version": "1" },
            "triggers": [{
                "id": "trigger--job", "trigger_type": "command", "trigger_config": { "component": "job" }
            }],
            "components": [{
                "id": "job",
                "source": { "content_type": "application/wasm", "digest": module["digest"] },
                "files": [{ "path": path, "digest": data["digest"] }, { "path": "small", "inline": "YQo=" }]
            }]
        });
        let kind = "application/vnd.fermyon.spin.application.v1+config";
        let locked = self.put(kind, locked.to_string().as_bytes());
        let config = self.put("application/vnd.oci.image.config.v1+json", b"{}");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [module, data, locked] });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.put(kind, manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(format!("{}/index.json", self.0), index.to_string()).expect("written");
    }
}

fn spin_an_unpacked_artifact_runs(case: &Case) {
    let layout = Layout::new(case);
    layout.application("deep/file");
    let container = case.container_with(&["/", "deep/file"], |_| {});
    let rootfs = case.path("unpacked");
    let output = case.call(&["wasm", "unpack", &layout.0, &rootfs]).ok();
    assert!(
        output.stdout.starts_with("job: 1 components and 2 files, "),
        "{output}"
    );
    container.edit(|config| config["root"]["path"] = json!(rootfs));
    assert_eq!(container.run().ok().stdout, "from a layer\n");
    container.edit(|config| config["process"]["args"] = json!(["/", "small"]));
    assert_eq!(container.run().ok().stdout, "a\n");
}

fn spin_a_hostile_artifact_leaves_nothing(case: &Case) {
    let layout = Layout::new(case);
    let refused = |told: &str| {
        let error = case
            .call(&["wasm", "unpack", &layout.0, &case.path("into/rootfs")])
            .error();
        assert!(error.contains(told), "{told}: {error}");
        let left = fs::read_dir(case.path("into")).expect("read").count();
        assert_eq!(left, 0, "{told}: something is left");
    };
    fs::create_dir(case.path("into")).expect("made");
    layout.application("../../escaped");
    refused("is no path below the component's root");
    layout.application("deep/file");
    for entry in fs::read_dir(format!("{}/blobs/sha256", layout.0)).expect("read") {
        let path = entry.expect("an entry").path();
        if fs::read(&path).expect("read") == b"from a layer\n" {
            fs::write(&path, "from a devil\n").expect("written");
        }
    }
    refused("so it is not what was asked for");
    fs::write(format!("{}/index.json", layout.0), "{\"manifests\": []}").expect("written");
    refused("names 0 images");
}
