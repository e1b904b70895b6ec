//! The annotations that decide how a container is run, and the errors of all annotations. Others that change what wrun
//! does are in [`guest_options`], [`super::runtime_options`] and [`super::systemd_properties`]; one that is in none of
//! these has no effect but being kept in the state.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::guest_options;

/// Ours: `native` (never Wasm), `wasm` (Wasm or an error) or `auto` (the default: by content). Wins over the
/// other two.
pub const WORKLOAD: &str = "org.wrun.workload";

/// crun's and youki's: which handler runs the container. Any of [`WASM_HANDLERS`] asks for Wasm, whichever
/// engine it names: ours runs it. Another value asks for something that we are not, and is an error.
pub const HANDLER: &str = "run.oci.handler";

/// crun's, set by image builders: `compat` (the entry point is Wasm), or `compat-smart` and `wasm-smart`
/// (Wasm only where its name says so, since the pod may have native sidecars).
pub const VARIANT: &str = "module.wasm.image/variant";

/// What container runtime interfaces say of a container: `sandbox` is a pod's own, which runs a native program
/// whatever the pod's containers run. containerd's key, which crun heeds as well, and CRI-O's.
pub const CONTAINER_TYPES: [&str; 2] = [
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri-o.ContainerType",
];

/// Which pod's sandbox it is, as each of the two says with [`CONTAINER_TYPES`], in the same order.
const SANDBOX_IDS: [&str; 2] = ["io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"];

/// All of the above but the last: how a container is run. What a guest is given besides: [`guest_options::ALL`].
pub const ALL: [&str; 3] = [VARIANT, WORKLOAD, HANDLER];

/// The values of [`HANDLER`] that mean Wasm: crun's handlers, the names of engines and of shims. `spin` and `slight`
/// also say which of the two applications an image is that has the manifests of both.
pub const WASM_HANDLERS: [&str; 10] = [
    "wasm", "wasmtime", "wasmedge", "wasmer", "wamr", "wws", "spin", "slight", "lunatic", "wasi",
];

/// How the entry point is to be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// No annotation: the first bytes of the entry point decide.
    Detect,
    /// Wasm only where the entry point's name ends in `.wasm` or `.wat`, and its bytes agree
    /// (`module.wasm.image/variant=compat-smart`); native otherwise.
    DetectByName,
    /// Wasm or an error (`run.oci.handler=wasm`, `module.wasm.image/variant=compat`, argv0 `wrun-wasm`).
    Wasm,
    /// As [`Self::Wasm`], and of the applications only Spin's (`run.oci.handler=spin`).
    Spin,
    /// As [`Self::Wasm`], and of the applications only SpiderLightning's (`run.oci.handler=slight`).
    Slight,
    /// Never Wasm (`org.wrun.workload=native`).
    Native,
}

impl Workload {
    /// Whether anything but Wasm is an error.
    pub const fn requires_wasm(self) -> bool {
        matches!(self, Self::Wasm | Self::Spin | Self::Slight)
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum AnnotationError {
    #[error("annotation {key}={value:?} is unknown: use one of {known}")]
    Unknown {
        key: &'static str,
        value: String,
        known: String,
    },
    #[error("annotation {HANDLER}={value:?} asks for a handler that wrun does not have: it has {known}")]
    Handler { value: String, known: String },
    #[error("annotation {key}={value:?} is wrong: it must be {expected}")]
    Invalid {
        key: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error(
        "annotation {key} is unknown; those of wrun are {WORKLOAD}, {}",
        guest_options::ALL.join(", ")
    )]
    UnknownKey { key: String },
    #[error("annotation {key} is not supported: {why}")]
    Refused { key: &'static str, why: &'static str },
    #[error("annotation {key}={value:?}: {problem}")]
    Property {
        key: String,
        value: String,
        problem: &'static str,
    },
    #[error("annotation {WORKLOAD}=\"native\" contradicts the name wrun-wasm, which runs Wasm only")]
    NativeAsWasm,
}

/// Decides from the annotations, and from whether we were called as `wrun-wasm` (Podman's and CRI-O's way to
/// ask for Wasm by image platform). An explicit annotation of ours wins, then the handler, then the variant.
pub fn workload(
    annotations: &BTreeMap<String, String>,
    wasm_required: bool,
) -> Result<Workload, AnnotationError> {
    let chosen = match annotations.get(WORKLOAD).map(String::as_str) {
        Some("native") if wasm_required => return Err(AnnotationError::NativeAsWasm),
        Some("native") => Some(Workload::Native),
        Some("wasm") => Some(Workload::Wasm),
        Some("auto") => Some(Workload::Detect),
        Some(other) => return Err(unknown(WORKLOAD, other, &["native", "wasm", "auto"])),
        None => None,
    };
    let sandbox = CONTAINER_TYPES.iter().zip(SANDBOX_IDS).any(|(key, id)| {
        annotations.get(*key).is_some_and(|kind| kind == "sandbox")
            // Alone it must not turn off what the runtime's name promises: images have annotations as well.
            && (!wasm_required || annotations.contains_key(id))
    });
    if sandbox && chosen.is_none() {
        // What the pod's annotations or its runtime's name say is about its containers.
        return Ok(Workload::Native);
    }
    // All are looked at, so that a typo is an error also where another annotation wins.
    let handler = match annotations.get(HANDLER).map(String::as_str) {
        None | Some("") => None,
        Some("spin") => Some(Workload::Spin),
        Some("slight") => Some(Workload::Slight),
        Some(name) if WASM_HANDLERS.contains(&name) => Some(Workload::Wasm),
        Some(other) if chosen.is_none() => {
            return Err(AnnotationError::Handler {
                value: other.to_owned(),
                known: WASM_HANDLERS.join(", "),
            });
        }
        Some(_) => None,
    };
    let variant = match annotations.get(VARIANT).map(String::as_str) {
        None | Some("") => None,
        Some("compat") => Some(Workload::Wasm),
        Some("compat-smart" | "wasm-smart") => Some(Workload::DetectByName),
        Some(other) if chosen.or(handler).is_none() => {
            return Err(unknown(VARIANT, other, &["compat", "compat-smart", "wasm-smart"]));
        }
        Some(_) => None,
    };
    if wasm_required {
        let application = handler.filter(|it| matches!(it, Workload::Spin | Workload::Slight));
        return Ok(application.unwrap_or(Workload::Wasm));
    }
    Ok(chosen.or(handler).or(variant).unwrap_or(Workload::Detect))
}

pub(super) fn unknown(key: &'static str, value: &str, known: &[&str]) -> AnnotationError {
    AnnotationError::Unknown {
        key,
        value: value.to_owned(),
        known: known.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(pairs: &[(&str, &str)]) -> Result<Workload, AnnotationError> {
        let annotations = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        workload(&annotations, false)
    }

    #[test]
    fn nothing_means_detection() {
        assert_eq!(decide(&[]).unwrap(), Workload::Detect);
        assert_eq!(decide(&[("other", "value")]).unwrap(), Workload::Detect);
    }

    #[test]
    fn each_value_is_known() {
        assert_eq!(decide(&[(HANDLER, "wasmedge")]).unwrap(), Workload::Wasm);
        assert_eq!(decide(&[(HANDLER, "spin")]).unwrap(), Workload::Spin);
        assert_eq!(decide(&[(HANDLER, "slight")]).unwrap(), Workload::Slight);
        assert_eq!(decide(&[(VARIANT, "compat")]).unwrap(), Workload::Wasm);
        assert_eq!(
            decide(&[(VARIANT, "wasm-smart")]).unwrap(),
            Workload::DetectByName
        );
        assert_eq!(decide(&[(WORKLOAD, "native")]).unwrap(), Workload::Native);
    }

    #[test]
    fn ours_wins_then_the_handler() {
        assert_eq!(
            decide(&[(WORKLOAD, "auto"), (HANDLER, "wasm")]).unwrap(),
            Workload::Detect
        );
        assert_eq!(
            decide(&[(HANDLER, "wasm"), (VARIANT, "compat-smart")]).unwrap(),
            Workload::Wasm
        );
        assert_eq!(
            decide(&[(WORKLOAD, "native"), (HANDLER, "krun")]).unwrap(),
            Workload::Native
        );
    }

    #[test]
    fn the_sandbox_of_a_pod_is_native() {
        for key in CONTAINER_TYPES {
            assert_eq!(
                decide(&[(key, "sandbox"), (HANDLER, "wasm")]).unwrap(),
                Workload::Native
            );
            assert_eq!(
                decide(&[(key, "container"), (HANDLER, "wasm")]).unwrap(),
                Workload::Wasm
            );
        }
        for (key, id) in CONTAINER_TYPES.into_iter().zip(SANDBOX_IDS) {
            let mut annotations = BTreeMap::from([(key.to_owned(), "sandbox".to_owned())]);
            assert_eq!(
                workload(&annotations, true).unwrap(),
                Workload::Wasm,
                "{key} alone"
            );
            annotations.insert(id.to_owned(), "0a1b".to_owned());
            assert_eq!(workload(&annotations, true).unwrap(), Workload::Native);
        }
        assert_eq!(
            decide(&[(CONTAINER_TYPES[0], "sandbox"), (WORKLOAD, "wasm")]).unwrap(),
            Workload::Wasm
        );
    }

    #[test]
    fn unknown_values_are_named() {
        let error = decide(&[(HANDLER, "krun")]).unwrap_err().to_string();
        assert!(error.contains("\"krun\""), "{error}");
        assert!(decide(&[(VARIANT, "compact")]).is_err());
        assert!(decide(&[(WORKLOAD, "")]).is_err());
    }

    #[test]
    fn wrun_wasm_requires_wasm() {
        let annotations = BTreeMap::from([(VARIANT.to_owned(), "compat-smart".to_owned())]);
        assert_eq!(workload(&annotations, true).unwrap(), Workload::Wasm);
        let annotations = BTreeMap::from([(HANDLER.to_owned(), "spin".to_owned())]);
        assert_eq!(workload(&annotations, true).unwrap(), Workload::Spin);
        let annotations = BTreeMap::from([(WORKLOAD.to_owned(), "native".to_owned())]);
        assert_eq!(workload(&annotations, true), Err(AnnotationError::NativeAsWasm));
    }
}
