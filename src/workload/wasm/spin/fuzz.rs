//! What must hold of an application's manifest, its runtime configuration and its locked form; see
//! [`fuzz`](crate::workload::wasm::fuzz).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http::router::Router;
use super::unpack::{APPLICATION, unpack};
use super::{Application, Member, read};
use crate::workload::wasm::fuzz::{Place, see_refusal};

/// A manifest beside which a runtime configuration is read.
pub const BESIDE: &str = "spin_manifest_version = 2\n[application]\nname = 'a'\n\
    [[trigger.http]]\nroute = '/...'\ncomponent = 'a'\n\
    [component.a]\nsource = 'a.wasm'\nfiles = ['assets/*', { source = 'link', destination = '/x' }]\n\
    key_value_stores = ['default']\nsqlite_databases = ['default']\n";

/// What is configured beside a manifest.
pub const CONFIGURATION: &str =
    "[key_value_store.my_store]\ntype = 'spin'\n[sqlite_database.other]\ntype = 'spin'\n";

/// What refusals of an application in a root file system begin with.
const FILES: [&str; 2] = ["/spin.toml: ", "/runtime-config.toml: "];

/// Reads the application in the place's root, twice.
pub fn application(place: &Place) {
    if let Some(first) = loaded(place, "root") {
        assert_eq!(loaded(place, "root"), Some(first), "it is read in another way");
    }
}

/// What an application is, once it is read.
fn loaded(place: &Place, root: &str) -> Option<String> {
    place.within(root, |surroundings| match read(surroundings) {
        Ok((application, sources)) => {
            ask(&application);
            let sources: Vec<_> = sources.into_iter().map(|source| source.name).collect();
            Some(format!("{} {sources:?}", described(&application)))
        }
        Err(error) => {
            see_refusal(&error, &FILES);
            None
        }
    })
}

fn described(application: &Application) -> String {
    let member = |it: &Member| format!("{} {:?} {:?} {:?}", it.id, it.grants, it.environment, it.mounts);
    let members: Vec<String> = application.members.iter().map(member).collect();
    format!(
        "{} {} {:?} {:?} {:?} {:?} {:?} {members:?}",
        application.name,
        application.version,
        application.triggers,
        application.subscriptions,
        application.command,
        application.stores,
        application.settings,
    )
}

/// Asks for some paths: what is taken for a route answers.
fn ask(application: &Application) {
    let router = Router::new(&application.triggers).expect("routes were checked");
    for path in ["/", "/a", "/a/b.c/d", "/a//b/", "//", "/\u{e9}/..."] {
        let trigger = router.find(path).map(|found| found.trigger);
        assert!(trigger.is_none_or(|at| at < application.triggers.len()));
    }
}

/// Unpacks an image layout with this locked application, twice, and reads what comes of it.
pub fn locked(input: &[u8], place: &Place) {
    let layout = place.path("layout");
    write_layout(&layout, input);
    let outcomes = ["first", "second"].map(|name| {
        let rootfs = place.path(name);
        match unpack(&layout, &rootfs) {
            Ok(unpacked) => {
                let application = loaded(place, name);
                let manifest = fs::read_to_string(rootfs.join("spin.toml")).expect("there is a manifest");
                fs::remove_dir_all(&rootfs).expect("removed");
                Some((unpacked, application, manifest))
            }
            Err(error) => {
                see_refusal(
                    &error,
                    &[
                        &format!("{}: ", layout.display()),
                        &format!("{}/", rootfs.display()),
                    ],
                );
                None
            }
        }
    });
    fs::remove_dir_all(&layout).expect("removed");
    let [first, second] = outcomes;
    assert_eq!(first, second, "it is unpacked in another way");
    place.is_clean();
}

/// What the seeds name by its digest.
const BLOBS: [&[u8]; 2] = [b"\0asm module", b"contents"];

/// An image layout with this locked application.
fn write_layout(layout: &Path, application: &[u8]) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("made");
    let put = |kind: &str, bytes: &[u8]| -> Value {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&hex), bytes).expect("written");
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    };
    let config = put(APPLICATION, application);
    let layers = BLOBS.map(|bytes| put("application/octet-stream", bytes));
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = put(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string()).expect("written");
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("written");
}
