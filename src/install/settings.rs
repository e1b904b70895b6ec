//! What each engine but Docker is told of us, key by key. Must edit no text.

use super::Engine;
use super::edit::{NAME, Part};
use super::toml::{self, Setting};

/// The shim that calls a runtime with runc's command line.
pub(super) const SHIM: &str = "io.containerd.runc.v2";
/// Annotations of pods that choose how a Wasm program runs: crun's, which image builders write, and ours.
const POD_ANNOTATIONS: [&str; 3] = ["module.wasm.image/variant", "run.oci.handler", "org.wrun.*"];
/// The same for CRI-O, which keeps only these back, and only under these names.
const CRIO_ANNOTATIONS: [&str; 2] = ["module.wasm.image/variant", "run.oci."];
/// The platforms of Wasm images, as Podman names them (from 4.4 on; an older one passes the key over).
pub(super) const PLATFORMS: [&str; 3] = ["wasi/wasm", "wasi/wasm32", "wasi/wasm64"];
/// Which runtimes can do what, as Podman believes: log errors as JSON, by which it tells them, and make a container
/// without cgroups. A list in a file takes the place of the one that Podman has, so that ours begins with that
/// (containers/common v0.44 to v0.64, pkg/config/default.go). Only 4.9 and newer could be told to add to it.
pub(super) const ABILITIES: [(&str, &[&str]); 2] = [
    (
        "runtime_supports_json",
        &["crun", "runc", "kata", "runsc", "youki", "krun", "ocijail"],
    ),
    ("runtime_supports_nocgroup", &["crun", "krun"]),
];

/// What each key of a configuration is to be.
type Settings<'a> = Vec<(Vec<&'a str>, Setting)>;

/// Where an engine's configuration has its runtimes and the name of the default one.
pub(super) struct Keys {
    pub(super) runtimes: Vec<&'static str>,
    pub(super) default: Vec<&'static str>,
}

impl Keys {
    pub(super) fn of(engine: Engine, version: i64) -> Self {
        let containerd = ["plugins", cri_plugin(version), "containerd"];
        match engine {
            Engine::Docker => Self {
                runtimes: vec!["runtimes"],
                default: vec!["default-runtime"],
            },
            Engine::Containerd => Self {
                runtimes: [&containerd[..], &["runtimes"]].concat(),
                default: [&containerd[..], &["default_runtime_name"]].concat(),
            },
            Engine::Podman => Self {
                runtimes: vec!["engine", "runtimes"],
                default: vec!["engine", "runtime"],
            },
            Engine::Crio => Self {
                runtimes: vec!["crio", "runtime", "runtimes"],
                default: vec!["crio", "runtime", "default_runtime"],
            },
        }
    }
}

/// The version of containerd's file; a file without one is of version 1. Other engines have none.
pub(super) fn version(engine: Engine, document: &toml_edit::DocumentMut) -> Result<i64, String> {
    if engine != Engine::Containerd {
        return Ok(0);
    }
    match document.get("version") {
        None => Ok(1),
        Some(item) => match item.as_integer() {
            Some(version @ 1..=4) => Ok(version),
            _ => Err(format!(
                "version {} is not known; 1 to 4 are",
                item.to_string().trim()
            )),
        },
    }
}

/// The plugin whose settings name the runtimes.
const fn cri_plugin(version: i64) -> &'static str {
    match version {
        ..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.runtime",
    }
}

/// All that a file is to say, where `document` is what it says now.
pub(super) fn settings<'a>(
    engine: Engine,
    version: i64,
    document: &toml_edit::DocumentMut,
    part: &Part,
) -> Settings<'a> {
    let keys = Keys::of(engine, version);
    let text = |text: &str| Setting::Text(text.to_owned());
    let of = |runtime: &'a str, key: &[&'a str]| [&keys.runtimes[..], &[runtime], key].concat();
    let words = |words: &[&str]| Setting::Words(words.iter().map(|word| (*word).to_owned()).collect());
    let program = text(&part.program);
    let mut settings = match engine {
        Engine::Docker => Vec::new(),
        Engine::Containerd => {
            // As it is, or as runc's has it, here or (`part`) by what else containerd reads.
            let runc = toml::get(document, &of("runc", &["options", "SystemdCgroup"]));
            let own = toml::get(document, &of(NAME, &["options", "SystemdCgroup"]));
            let systemd = own
                .or(runc)
                .and_then(|flag| flag.as_bool())
                .unwrap_or(part.systemd_cgroup);
            let mut settings = vec![
                (of(NAME, &["runtime_type"]), text(SHIM)),
                (of(NAME, &["pod_annotations"]), words(&POD_ANNOTATIONS)),
                (of(NAME, &["options", "BinaryName"]), program),
                (of(NAME, &["options", "SystemdCgroup"]), Setting::Flag(systemd)),
            ];
            // containerd 1 takes a table of runtimes for the whole of it, and fails without the default one, runc.
            if version <= 2 && toml::get(document, &keys.runtimes).is_none() {
                settings.insert(0, (of("runc", &["runtime_type"]), text(SHIM)));
            }
            settings
        }
        Engine::Podman => {
            let mut settings = vec![(of(NAME, &[]), words(&[&part.program]))];
            settings.extend(ABILITIES.map(|(key, others)| {
                let others = others.iter().map(|other| (*other).to_owned()).collect();
                (vec!["engine", key], Setting::Member(NAME.to_owned(), others))
            }));
            settings.extend(PLATFORMS.map(|it| (vec!["engine", "platform_to_oci_runtime", it], text(NAME))));
            settings
        }
        Engine::Crio => {
            let mut settings = vec![
                (of(NAME, &["runtime_path"]), program),
                (of(NAME, &["runtime_type"]), text("oci")),
            ];
            if part.annotations {
                settings.push((of(NAME, &["allowed_annotations"]), words(&CRIO_ANNOTATIONS)));
            }
            settings
        }
    };
    if part.default {
        settings.insert(0, (keys.default, text(NAME)));
    }
    settings
}
