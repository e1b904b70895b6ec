//! What each engine's configuration says where it knows wrun: pure edits, from text to text. Must touch no file.
//!
//! | engine | it knows wrun by |
//! |---|---|
//! | Docker | `runtimes.wrun.path` of daemon.json (dockerd(8)) |
//! | containerd | `runtimes.wrun` of its CRI plugin, whose name depends on the file's version (containerd-config.toml(5)) |
//! | Podman | `engine.runtimes.wrun`, and the Wasm platforms in `engine.platform_to_oci_runtime` (containers.conf(5)) |
//! | CRI-O | `crio.runtime.runtimes.wrun` (crio.conf(5)) |

use serde_json::{Value, json};

use super::toml::{self, Setting};
use super::{Engine, json};

/// The name under which engines know us.
pub const NAME: &str = "wrun";

/// The shim that calls a runtime with runc's command line.
const SHIM: &str = "io.containerd.runc.v2";
/// Annotations of pods that choose how a Wasm program runs: crun's, which image builders write, and ours.
const POD_ANNOTATIONS: [&str; 3] = ["module.wasm.image/variant", "run.oci.handler", "org.wrun.*"];
/// The same for CRI-O, which keeps only these back, and only under these names.
const CRIO_ANNOTATIONS: [&str; 2] = ["module.wasm.image/variant", "run.oci."];
/// The platforms of Wasm images, as Podman names them.
const PLATFORMS: [&str; 3] = ["wasi/wasm", "wasi/wasm32", "wasi/wasm64"];

/// How a file begins that is ours alone.
const HEAD: &str = "# Made by `wrun install";

/// What a configuration says of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The absolute path of our executable.
    pub program: String,
    /// Whether we run what names no runtime.
    pub default: bool,
    /// What the configuration leaves open, if it does: whether systemd makes our cgroups (containerd).
    pub systemd_cgroup: bool,
    /// Whether CRI-O is of a version that can be told of crun's annotations; an older one would not start.
    pub annotations: bool,
    /// The version of containerd's file, for one that is made anew: 3 for containerd 2, else 2.
    pub file_version: i64,
}

/// What each key of a configuration is to be.
type Settings<'a> = Vec<(Vec<&'a str>, Setting)>;

/// The configuration with our part; `before` is what is there, `None` without a file. Written anew, the same text
/// comes out.
///
/// # Errors
/// What is wrong with the text that is there, with its line or key.
pub fn insert(engine: Engine, before: Option<&str>, part: &Part) -> Result<String, String> {
    let before = before.filter(|text| !text.trim().is_empty());
    if engine == Engine::Docker {
        return insert_into_json(before.unwrap_or("{}\n"), part);
    }
    let fresh = fresh(engine, part);
    let Some(text) = before else {
        return insert_into_toml(engine, &fresh, part);
    };
    match found(engine, text)? {
        // A file that is ours alone is made anew, so that one change after the other comes to the same as one.
        Some(own) if insert(engine, None, &own).as_deref() == Ok(text) => {
            let default = own.default || part.default;
            insert(
                engine,
                None,
                &Part {
                    program: part.program.clone(),
                    default,
                    ..own
                },
            )
        }
        _ => insert_into_toml(engine, text, part),
    }
}

fn insert_into_toml(engine: Engine, before: &str, part: &Part) -> Result<String, String> {
    let mut document = toml::parse(before)?;
    let version = version(engine, &document)?;
    let settings = settings(engine, version, &document, part);
    let text = toml::edit(before, &mut document, |document| {
        settings
            .iter()
            .try_for_each(|(path, setting)| toml::set(document, path, setting))
    })?;
    // Whatever odd form the file has: what we write is what will be read.
    match found(engine, &text)? {
        Some(own) if own.program == part.program && (own.default || !part.default) => Ok(text),
        _ => Err(format!(
            "it is written in a way that cannot be edited; add runtimes.{NAME} by hand"
        )),
    }
}

/// What a configuration says of us; `None` where it does not know us.
///
/// # Errors
/// As [`insert`].
pub fn found(engine: Engine, text: &str) -> Result<Option<Part>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    if engine == Engine::Docker {
        let value = json::parse(text)?;
        let program = value["runtimes"][NAME]["path"].as_str();
        return Ok(program.map(|program| Part {
            program: program.to_owned(),
            default: value["default-runtime"] == NAME,
            systemd_cgroup: false,
            annotations: false,
            file_version: 0,
        }));
    }
    let document = toml::parse(text)?;
    let file_version = version(engine, &document)?;
    let keys = Keys::of(engine, file_version);
    let own = |key: &[&'static str]| toml::get(&document, &[&keys.runtimes[..], &[NAME], key].concat());
    let program = match engine {
        Engine::Podman => own(&[]).and_then(|programs| programs.as_array()?.get(0)?.as_str()),
        Engine::Containerd => own(&["options", "BinaryName"]).and_then(|program| program.as_str()),
        Engine::Docker | Engine::Crio => own(&["runtime_path"]).and_then(|program| program.as_str()),
    };
    Ok(program.map(|program| Part {
        program: program.to_owned(),
        default: toml::get(&document, &keys.default).and_then(|name| name.as_str()) == Some(NAME),
        systemd_cgroup: own(&["options", "SystemdCgroup"]).and_then(|flag| flag.as_bool()) == Some(true),
        annotations: own(&["allowed_annotations"]).is_some(),
        file_version,
    }))
}

/// The configuration without our part. Where we are the default runtime, it gets the one that `original` names.
///
/// # Errors
/// As [`insert`].
pub fn remove(engine: Engine, text: &str, original: Option<&str>) -> Result<String, String> {
    if engine == Engine::Docker {
        return remove_from_json(text, original);
    }
    let mut document = toml::parse(text)?;
    let keys = Keys::of(engine, version(engine, &document)?);
    toml::remove(&mut document, &[&keys.runtimes[..], &[NAME]].concat(), HEAD);
    for platform in PLATFORMS {
        let path = ["engine", "platform_to_oci_runtime", platform];
        if engine == Engine::Podman
            && toml::get(&document, &path).and_then(|name| name.as_str()) == Some(NAME)
        {
            toml::remove(&mut document, &path, HEAD);
        }
    }
    if toml::get(&document, &keys.default).and_then(|name| name.as_str()) == Some(NAME) {
        let original = original.and_then(|text| toml::parse(text).ok());
        let before = original
            .as_ref()
            .and_then(|original| toml::get(original, &keys.default)?.as_str());
        match before {
            Some(name) if name != NAME => {
                toml::set(&mut document, &keys.default, &Setting::Text(name.to_owned()))?;
            }
            _ => toml::remove(&mut document, &keys.default, HEAD),
        }
    }
    Ok(document.to_string())
}

/// What of the rest of a configuration keeps the engine from using us.
pub fn obstacle(engine: Engine, text: &str) -> Option<&'static str> {
    let document = (engine == Engine::Containerd).then(|| toml::parse(text).ok())??;
    let disabled = document.get("disabled_plugins")?.as_array()?;
    let cri = disabled.iter().any(|name| {
        name.as_str()
            .is_some_and(|name| name == "cri" || name.contains(".cri"))
    });
    cri.then_some(
        "It disables containerd's CRI plugin (disabled_plugins), without which Kubernetes cannot use wrun.",
    )
}

/// A file of our own says whose it is; containerd needs the version too.
fn fresh(engine: Engine, part: &Part) -> String {
    let name = engine.name();
    let head = format!("{HEAD} {name}`; `wrun install {name} --undo` takes it away.\n");
    match engine {
        Engine::Containerd => format!("{head}version = {}\n", part.file_version),
        _ => head,
    }
}

/// Where an engine's configuration has its runtimes and the name of the default one.
struct Keys {
    runtimes: Vec<&'static str>,
    default: Vec<&'static str>,
}

impl Keys {
    fn of(engine: Engine, version: i64) -> Self {
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
fn version(engine: Engine, document: &toml_edit::DocumentMut) -> Result<i64, String> {
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

fn settings<'a>(
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
            // As runc's has it, or else as the host suggests.
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

fn insert_into_json(before: &str, part: &Part) -> Result<String, String> {
    let value = json::parse(before)?;
    let own = &value["runtimes"][NAME];
    // A shim's entry (`runtimeType`) has no room for a path.
    let text = if own.is_object() && own.get("runtimeType").is_none() && own.get("options").is_none() {
        match own["path"] == part.program.as_str() {
            true => before.to_owned(),
            false => json::set(
                before,
                &["runtimes", NAME, "path"],
                &Value::from(part.program.as_str()),
            )?,
        }
    } else if own.is_null() {
        json::set(
            before,
            &["runtimes", NAME, "path"],
            &Value::from(part.program.as_str()),
        )?
    } else {
        json::set(before, &["runtimes", NAME], &json!({ "path": part.program }))?
    };
    if part.default && value["default-runtime"] != NAME {
        return json::set(&text, &["default-runtime"], &Value::from(NAME));
    }
    Ok(text)
}

fn remove_from_json(text: &str, original: Option<&str>) -> Result<String, String> {
    let value = json::parse(text)?;
    let text = json::remove(text, &["runtimes", NAME]);
    if value["default-runtime"] != NAME {
        return Ok(text);
    }
    let original = original.and_then(|text| json::parse(text).ok());
    match original
        .as_ref()
        .and_then(|original| original["default-runtime"].as_str())
    {
        Some(name) if name != NAME => json::set(&text, &["default-runtime"], &Value::from(name)),
        _ => Ok(json::remove(&text, &["default-runtime"])),
    }
}
