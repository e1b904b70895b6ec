//! Layouts made here, good ones and bad ones.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;

const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A layout in the making.
struct Made {
    directory: TempDir,
    layers: Vec<serde_json::Value>,
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Made {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let layout = directory.path().join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).expect("made");
        fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("written");
        Self {
            directory,
            layers: Vec::new(),
        }
    }

    fn layout(&self) -> PathBuf {
        self.directory.path().join("layout")
    }

    fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    /// The file of a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        self.layout().join("blobs/sha256").join(hex)
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = digest(bytes);
        fs::write(self.blob(&digest), bytes).expect("written");
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    fn layer(&mut self, kind: &str, bytes: &[u8]) -> String {
        let layer = self.put(kind, bytes);
        let digest = layer["digest"].as_str().expect("text").to_owned();
        self.layers.push(layer);
        digest
    }

    /// Writes the manifest, with this configuration, and the index.
    fn index(&self, config: serde_json::Value) {
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": self.layers });
        let manifest = self.put(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        self.index_of(&[manifest]);
    }

    fn index_of(&self, manifests: &[serde_json::Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.layout().join("index.json"), index.to_string()).expect("written");
    }

    /// Unpacks; where that fails, nothing is left.
    fn unpack(&self) -> Result<Unpacked, String> {
        let outcome = unpack(&self.layout(), &self.rootfs());
        if outcome.is_err() {
            let left: Vec<_> = fs::read_dir(self.directory.path())
                .expect("read")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            assert_eq!(left, ["layout"], "something is left");
        }
        outcome.map_err(|error| crate::reason::chain(&error))
    }
}

fn locked(module: &str, file: &str) -> serde_json::Value {
    json!({
        "spin_lock_version": 1,
        "metadata": {
            "name": "shop", "version": "1.2.0", "description": null,
            "triggers": { "http": { "base": "/" } }, "origin": "vnd.fermyon.origin-oci:x"
        },
        "variables": { "word": { "default": "a" }, "token": { "secret": true } },
        "must_understand": ["host_requirements"],
        "host_requirements": { "local_service_chaining": "required", "other": "optional" },
        "triggers": [{
            "id": "trigger--one", "trigger_type": "http",
            "trigger_config": { "component": "one", "route": "/...", "executor": null }
        }],
        "components": [{
            "id": "one",
            "metadata": { "allowed_outbound_hosts": ["http://one.test"], "databases": ["default"] },
            "source": { "content_type": "application/wasm", "digest": module },
            "env": { "A": "b" },
            "files": [
                { "path": "deep/er/file", "digest": file },
                { "path": "small", "inline": "aGVsbG8=" }
            ],
            "config": { "said": "{{ word }}" }
        }]
    })
}

/// A good one; `edit` makes it bad.
fn made(edit: impl FnOnce(&mut Made, &mut serde_json::Value)) -> Made {
    let mut made = Made::new();
    let module = made.layer(WASM, b"\0asm module");
    let file = made.layer(DATA, b"contents");
    let mut app = locked(&module, &file);
    edit(&mut made, &mut app);
    made.layer(APPLICATION, app.to_string().as_bytes());
    made.index(made.put(CONFIG, b"{}"));
    made
}

#[test]
fn an_application_becomes_a_root_file_system() {
    let made = made(|_, _| {});
    let unpacked = made.unpack().expect("unpacked");
    let expected = Unpacked {
        name: "shop".to_owned(),
        components: 1,
        files: 2,
        bytes: 24,
    };
    assert_eq!(unpacked, expected);
    let read = |path: &str| fs::read_to_string(made.rootfs().join(path)).expect(path);
    assert_eq!(read("modules/one.wasm"), "\0asm module");
    assert_eq!(read("files/one/deep/er/file"), "contents");
    assert_eq!(read("files/one/small"), "hello");
    let manifest = super::super::manifest::Manifest::parse(&read("spin.toml")).expect("a manifest");
    let one = &manifest.components["one"];
    assert_eq!(
        (manifest.name.as_str(), manifest.version.as_str()),
        ("shop", "1.2.0")
    );
    assert_eq!(one.source, "modules/one.wasm");
    assert_eq!(one.environment["A"], "b");
    assert!(one.sqlite_databases.contains("default"));
    assert_eq!(one.allowed_outbound_hosts.len(), 1);
    assert_eq!(manifest.http[0].component(), Some("one"));
    assert_eq!(manifest.variables["token"].default, None);
    assert!(manifest.variables["token"].secret);
    let again = made.unpack_again();
    assert!(again.contains("exists and is no empty directory"), "{again}");
}

impl Made {
    fn unpack_again(&self) -> String {
        let error = unpack(&self.layout(), &self.rootfs()).expect_err("it is there");
        assert!(self.rootfs().join("spin.toml").exists(), "what was there stays");
        error.to_string()
    }
}

#[test]
fn an_empty_directory_is_taken_and_an_older_form_read() {
    let mut made = Made::new();
    let module = made.layer(WASM, b"\0asm module");
    let mut app = locked(&module, "");
    app["components"][0]["files"] = json!([]);
    app["metadata"] = json!({ "name": "old", "trigger": { "type": "http", "base": "/base" } });
    app["spin_lock_version"] = json!(0);
    made.index(made.put(APPLICATION, app.to_string().as_bytes()));
    fs::create_dir(made.rootfs()).expect("made");
    assert_eq!(made.unpack().expect("unpacked").files, 0);
    let text = fs::read_to_string(made.rootfs().join("spin.toml")).expect("read");
    assert!(text.contains("base = \"/base\""), "{text}");
}

#[test]
fn paths_have_no_way_out() {
    for path in [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "./a",
        "",
        "a/",
        "a\0b",
        "..",
    ] {
        let made = made(|_, app| app["components"][0]["files"][0]["path"] = json!(path));
        let error = made.unpack().expect_err(path);
        assert!(
            error.contains("is no path below the component's root"),
            "{path:?}: {error}"
        );
    }
    for id in ["../one", "a/b", "", "..", "one\0"] {
        let made = made(|_, app| app["components"][0]["id"] = json!(id));
        let error = made.unpack().expect_err(id);
        assert!(error.contains("is no name of a component"), "{id:?}: {error}");
    }
}

#[test]
fn a_name_cannot_be_a_file_and_a_directory() {
    let made = made(|_, app| app["components"][0]["files"][1]["path"] = json!("deep"));
    let error = made.unpack().expect_err("both");
    assert!(error.contains("files/one/deep: cannot be written"), "{error}");
    let made = self::made(|_, app| app["components"][0]["files"][1]["path"] = json!("deep/er/file"));
    let error = made.unpack().expect_err("twice");
    assert!(error.contains("is there twice"), "{error}");
}

#[test]
fn directories_are_bounded_as_files_are() {
    let of = |files: Vec<String>| {
        let files: Vec<_> = files
            .iter()
            .map(|path| json!({ "path": path, "inline": "" }))
            .collect();
        made(|_, app| app["components"][0]["files"] = json!(files)).unpack()
    };
    assert_eq!(
        of(vec![format!("{}x", "d/".repeat(64))]).expect("unpacked").files,
        1
    );
    let error = of(vec![format!("{}x", "d/".repeat(65))]).expect_err("too deep");
    assert!(error.contains("64 directories deep"), "{error}");
    let many = (0..2000).map(|at| format!("{}x", format!("{at}/").repeat(64)));
    let error = of(many.collect()).expect_err("too many");
    assert!(error.contains("files and directories, and at most"), "{error}");
}

#[test]
fn blobs_are_held_to_their_names() {
    type Edit = fn(&mut Made, &mut serde_json::Value);
    let cases: [(Edit, &str); 8] = [
        (
            |made, _| fs::write(made.blob(&digest(b"contents")), b"c0ntents").expect("written"),
            "has the digest sha256:",
        ),
        (
            |made, _| fs::write(made.blob(&digest(b"contents")), b"content").expect("written"),
            "has fewer bytes",
        ),
        (
            |made, _| fs::write(made.blob(&digest(b"contents")), b"contents.").expect("written"),
            "has more bytes",
        ),
        (
            |made, _| fs::remove_file(made.blob(&digest(b"contents"))).expect("removed"),
            "cannot be read",
        ),
        (
            |made, _| made.layers[1]["size"] = json!(u64::MAX),
            "bytes, and at most",
        ),
        (
            |made, _| {
                made.layers.remove(1);
            },
            "no layer has the digest",
        ),
        (
            |_, app| app["components"][0]["source"]["digest"] = json!("sha256:00"),
            "no layer has the digest",
        ),
        (
            |made, app| {
                made.layers[0]["digest"] = json!("sha256:../../x");
                app["components"][0]["source"]["digest"] = json!("sha256:../../x");
            },
            "is no digest",
        ),
    ];
    for (edit, told) in cases {
        let error = made(edit).unpack().expect_err(told);
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn no_link_leads_out_of_the_layout() {
    let made = made(|made, _| {
        let blob = made.blob(&digest(b"contents"));
        let outside = made.directory.path().join("layout-outside");
        fs::write(&outside, b"contents").expect("written");
        fs::remove_file(&blob).expect("removed");
        std::os::unix::fs::symlink(&outside, &blob).expect("linked");
    });
    let error = unpack(&made.layout(), &made.rootfs()).expect_err("it leads out");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(!made.rootfs().exists());
}

#[test]
fn what_is_ambiguous_is_refused() {
    let good = made(|_, _| {});
    good.index_of(&[]);
    let error = good.unpack().expect_err("none");
    assert!(error.contains("index.json: names 0 images"), "{error}");
    let one =
        json!({ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(b""), "size": 0 });
    good.index_of(&[one.clone(), one.clone()]);
    let error = good.unpack().expect_err("two");
    assert!(error.contains("index.json: names 2 images"), "{error}");
    good.index_of(&[one]);
    let error = good.unpack().expect_err("an index");
    assert!(error.contains("names an index of images"), "{error}");
    let two = made(|made, app| {
        made.layer(APPLICATION, app.to_string().as_bytes());
    });
    let error = two.unpack().expect_err("two");
    assert!(error.contains("there are 2 layers of the type"), "{error}");
    let mut none = Made::new();
    none.layer(WASM, b"\0asm");
    none.index(none.put(CONFIG, b"{}"));
    let error = none.unpack().expect_err("none");
    assert!(error.contains("this is no Spin application"), "{error}");
}

#[test]
fn what_an_application_asks_for_and_is_not_done_is_told() {
    type Edit = fn(&mut serde_json::Value);
    let cases: [(Edit, &str); 9] = [
        (
            |app| app["spin_lock_version"] = json!(2),
            "spin_lock_version: is 2",
        ),
        (
            |app| app["must_understand"] = json!(["dreams"]),
            "must_understand: `dreams`",
        ),
        (
            |app| app["host_requirements"] = json!({ "middleware": "required" }),
            "`middleware` is not provided",
        ),
        (
            |app| app["triggers"][0]["trigger_type"] = json!("sqs"),
            "there is no trigger of type `sqs`",
        ),
        (
            |app| app["triggers"][0]["trigger_config"]["component"] = json!("two"),
            "there is no component `two`",
        ),
        (
            |app| app["components"][0]["dependencies"] = json!({ "a:b/c": {} }),
            "is to be put together with it",
        ),
        (
            |app| app["components"][0]["metadata"]["databases"] = json!(1),
            "metadata.databases: is no list of texts",
        ),
        (
            |app| app["components"][0]["files"][1]["inline"] = json!("?"),
            "is no Base64",
        ),
        (|app| app["components"] = json!(1), "components: invalid type"),
    ];
    for (edit, told) in cases {
        let error = made(|_, app| edit(app)).unpack().expect_err(told);
        assert!(error.contains(told), "{told}: {error}");
    }
}
