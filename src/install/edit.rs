//! What each engine's configuration says where it knows wrun: pure edits, from text to text. Must touch no file.
//!
//! | engine | it knows wrun by |
//! |---|---|
//! | Docker | `runtimes.wrun.path` of daemon.json (dockerd(8)) |
//! | containerd | `runtimes.wrun` of its CRI plugin, whose name depends on the file's version (containerd-config.toml(5)) |
//! | Podman | `engine.runtimes.wrun`, and the Wasm platforms in `engine.platform_to_oci_runtime` (containers.conf(5)) |
//! | CRI-O | `crio.runtime.runtimes.wrun` (crio.conf(5)) |

use super::settings::{ABILITIES, Keys, PLATFORMS, SHIM, settings, version};
use super::toml::{self, Setting};
use super::{Engine, docker};

/// The name under which engines know us.
pub const NAME: &str = "wrun";

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
    /// The version of a file of containerd's that is made anew: 3 for containerd 2, which cannot be told of us in one of
    /// version 1, else 2.
    pub file_version: i64,
}

/// The configuration with our part; `before` is what is there, `None` without a file. Written anew, the same text
/// comes out.
///
/// # Errors
/// What is wrong with the text that is there, with its line or key.
pub fn insert(engine: Engine, before: Option<&str>, part: &Part) -> Result<String, String> {
    let before = before.filter(|text| !text.trim().is_empty());
    let after = match before {
        _ if engine == Engine::Docker => docker::insert(before.unwrap_or("{}\n"), part)?,
        None => insert_into_toml(engine, &fresh(engine, part), part)?,
        // A file that is ours alone is made anew, so that one change after the other comes to the same as one, and
        // what an older wrun has written is as this one would write it.
        Some(text) if own(engine, text) => {
            let known = found(engine, text)?.unwrap_or_else(|| part.clone());
            let part = Part {
                program: part.program.clone(),
                default: known.default || part.default,
                annotations: known.annotations || part.annotations,
                ..known
            };
            insert_into_toml(engine, &fresh(engine, &part), &part)?
        }
        Some(text) => toml::in_its_form(text, |text| insert_into_toml(engine, text, part))?,
    };
    // Whatever odd form the file has: what we write is what will be read.
    match found(engine, &after)? {
        Some(own) if own.program == part.program && (own.default || !part.default) => Ok(after),
        _ => Err(by_hand("add")),
    }
}

fn by_hand(what: &str) -> String {
    format!("it is written in a way that cannot be edited; {what} runtimes.{NAME} by hand")
}

fn insert_into_toml(engine: Engine, before: &str, part: &Part) -> Result<String, String> {
    let mut document = toml::parse(before)?;
    let version = version(engine, &document)?;
    // Seen with 2.1.9: it renames the plugin, but not the one in which 2.0 has put the runtimes.
    if version == 1 && part.file_version > 2 {
        return Err(
            "it is of version 1 (or tells none), of whose runtimes containerd 2 takes none; `containerd config migrate` \
             shows it as one of the newest version"
                .to_owned(),
        );
    }
    let settings = settings(engine, version, &document, part);
    toml::edit(before, &mut document, |document| {
        settings
            .iter()
            .try_for_each(|(path, setting)| toml::set(document, path, setting))
    })
}

/// Whether we have made the file and nobody has added to it, this version or another one of us.
pub(super) fn own(engine: Engine, text: &str) -> bool {
    let Ok(Some(part)) = found(engine, text) else {
        return false;
    };
    if engine == Engine::Docker {
        // JSON has no comments, so only the text itself can tell.
        return insert(engine, None, &part).as_deref() == Ok(text);
    }
    let rest = || {
        let rest = remove(engine, text, None).ok()?;
        let mut document = toml::parse(&rest).ok()?;
        if engine == Engine::Containerd {
            let keys = Keys::of(engine, version(engine, &document).ok()?);
            let runc = [&keys.runtimes[..], &["runc", "runtime_type"]].concat();
            if toml::get(&document, &runc).and_then(|shim| shim.as_str()) == Some(SHIM) {
                toml::remove(&mut document, &runc, HEAD);
            }
            document.remove("version");
        }
        Some(document.to_string())
    };
    let ours = |line: &str| line.trim().is_empty() || line.starts_with(HEAD);
    text.starts_with(HEAD) && rest().is_some_and(|rest| rest.lines().all(ours))
}

/// What is left of `original` when we are put in and taken out again. An undo that leaves the same of a file knows
/// that nobody else has changed it.
///
/// # Errors
/// As [`insert`].
pub(super) fn without(engine: Engine, original: &str, part: &Part) -> Result<String, String> {
    remove(engine, &insert(engine, Some(original), part)?, Some(original))
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
        return docker::found(text);
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

/// The configuration without our part; what it has taken the place of comes back as `original` has it.
///
/// # Errors
/// As [`insert`].
pub fn remove(engine: Engine, text: &str, original: Option<&str>) -> Result<String, String> {
    let after = match engine {
        Engine::Docker => docker::remove(text, original)?,
        _ => toml::in_its_form(text, |text| remove_from_toml(engine, text, original))?,
    };
    match found(engine, &after)? {
        None => Ok(after),
        Some(_) => Err(by_hand("remove")),
    }
}

fn remove_from_toml(engine: Engine, text: &str, original: Option<&str>) -> Result<String, String> {
    let mut document = toml::parse(text)?;
    let original = original
        .and_then(|text| toml::parse(text).ok())
        .unwrap_or_default();
    let keys = Keys::of(engine, version(engine, &document)?);
    toml::remove(&mut document, &[&keys.runtimes[..], &[NAME]].concat(), HEAD);
    let mut named = vec![keys.default];
    if engine == Engine::Podman {
        for (key, others) in ABILITIES {
            let path = ["engine", key];
            let all = toml::get(&original, &path).is_none().then_some(others);
            toml::remove_member(&mut document, &path, NAME, all, HEAD);
        }
        named.extend(PLATFORMS.map(|platform| vec!["engine", "platform_to_oci_runtime", platform]));
    }
    for key in named {
        if toml::get(&document, &key).and_then(|name| name.as_str()) != Some(NAME) {
            continue;
        }
        match toml::get(&original, &key).and_then(|name| name.as_str()) {
            Some(name) if name != NAME => {
                toml::set(&mut document, &key, &Setting::Text(name.to_owned()))?;
            }
            _ => toml::remove(&mut document, &key, HEAD),
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
