//! What annotations of crun's ask of the runtime, for native programs and guests alike. Each key that crun knows is
//! either carried out or refused by name; others of its name space are warned of.
//!
//! Engines may take annotations over from images (Podman does), so what stands here is in the hands of whoever
//! made the image, unless the engine keeps it from him: see wrun-annotations(7), which says of each what it is worth
//! to him.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::annotations::{self, AnnotationError};

/// Anything but `0`: the program keeps the additional groups of wrun's caller, in place of those of config.json.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// Absolute path on the host of a file to which hooks' standard output is appended.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// The same for their standard error.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// Path below the container's cgroup (v2) in which the first process runs, and which it may divide. Limits are those of
/// the container's cgroup, and hold below it.
pub const DELEGATE_CGROUP: &str = "run.oci.delegate-cgroup";
/// Absolute path on the host of the unix socket that gets the descriptor of a notifying filter, where
/// `linux.seccomp.listenerPath` names none.
pub const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
/// Anything but `0`: a syscall in the filter that is unknown here is an error.
pub const SECCOMP_FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";
/// Absolute path on the host of the unix socket that gets a pidfd of the first process.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// Which mount option `linux.mountLabel` becomes: context, fscontext, defcontext or rootcontext (mount(8)).
pub const MOUNT_CONTEXT_TYPE: &str = "run.oci.mount_context_type";
/// The name of the cgroup below a systemd scope. Only empty: wrun makes none.
pub const SYSTEMD_SUBGROUP: &str = "run.oci.systemd.subgroup";

/// Each key above.
pub const ALL: [&str; 9] = [
    KEEP_GROUPS,
    HOOKS_STDOUT,
    HOOKS_STDERR,
    DELEGATE_CGROUP,
    SECCOMP_RECEIVER,
    SECCOMP_FAIL_UNKNOWN,
    PIDFD_RECEIVER,
    MOUNT_CONTEXT_TYPE,
    SYSTEMD_SUBGROUP,
];

/// Keys of crun's that are refused, and what to do instead.
pub const REFUSED: [(&str, &str); 4] = [
    (
        "run.oci.seccomp.plugins",
        "wrun loads no plugins; set linux.seccomp.listenerPath to an agent's socket",
    ),
    (
        "run.oci.seccomp_bpf_data",
        "a filter in binary form would replace the one that the engine has chosen; say it in linux.seccomp",
    ),
    (
        "run.oci.systemd.force_cgroup_v1",
        "wrun mounts no hierarchy of cgroup v1 on hosts of cgroup v2",
    ),
    (
        "run.oci.timens_offset",
        "it is of old versions of crun; say it in linux.timeOffsets, with a namespace of type time",
    ),
];

/// crun's name space. Keys in it that nobody knows are most likely misspelt.
const NAMESPACE: &str = "run.oci.";

/// What the annotations say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    pub keep_groups: bool,
    pub hook_output: HookOutput,
    pub delegate_cgroup: Option<PathBuf>,
    /// Below the scope, where systemd makes one.
    pub systemd_subgroup: Option<PathBuf>,
    pub seccomp_receiver: Option<PathBuf>,
    pub seccomp_fail_unknown: bool,
    pub pidfd_receiver: Option<PathBuf>,
    pub mount_context: MountContext,
}

/// Where hooks write, on the host, where not into errors alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HookOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<PathBuf>,
}

impl HookOutput {
    /// Reads the two annotations alone: all that `start` and `delete` need to know.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, AnnotationError> {
        Ok(Self {
            stdout: host_path(annotations, HOOKS_STDOUT)?,
            stderr: host_path(annotations, HOOKS_STDERR)?,
        })
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The mount option by which a file system gets an SELinux context (mount(8)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountContext {
    #[default]
    Context,
    Fscontext,
    Defcontext,
    Rootcontext,
}

impl MountContext {
    const ALL: [Self; 4] = [
        Self::Context,
        Self::Fscontext,
        Self::Defcontext,
        Self::Rootcontext,
    ];

    /// Its name as a mount option.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Fscontext => "fscontext",
            Self::Defcontext => "defcontext",
            Self::Rootcontext => "rootcontext",
        }
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl RuntimeOptions {
    /// Reads the annotations; one that is refused, or has another value than it may, is an error.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, AnnotationError> {
        if let Some((key, why)) = REFUSED.iter().find(|(key, _)| annotations.contains_key(*key)) {
            return Err(AnnotationError::Refused { key, why });
        }
        Ok(Self {
            keep_groups: flag(annotations, KEEP_GROUPS),
            hook_output: HookOutput::parse(annotations)?,
            delegate_cgroup: below(annotations, DELEGATE_CGROUP)?,
            systemd_subgroup: below(annotations, SYSTEMD_SUBGROUP)?,
            seccomp_receiver: host_path(annotations, SECCOMP_RECEIVER)?,
            seccomp_fail_unknown: flag(annotations, SECCOMP_FAIL_UNKNOWN),
            pidfd_receiver: host_path(annotations, PIDFD_RECEIVER)?,
            mount_context: mount_context(annotations)?,
        })
    }
}

/// Keys in crun's name space that mean nothing to us.
pub fn unknown(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let known = |key: &str| {
        ALL.contains(&key)
            || annotations::ALL.contains(&key)
            || REFUSED.iter().any(|(refused, _)| *refused == key)
    };
    annotations
        .keys()
        .map(String::as_str)
        .filter(move |key| key.starts_with(NAMESPACE) && !known(key))
}

/// Present and not 0, as crun reads it.
fn flag(annotations: &BTreeMap<String, String>, key: &str) -> bool {
    annotations.get(key).is_some_and(|value| value != "0")
}

/// A path of the host. A relative one would depend on where the engine calls us.
fn host_path(
    annotations: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Option<PathBuf>, AnnotationError> {
    let check = |value: &String| {
        if value.starts_with('/') && !value.contains('\0') {
            return Ok(PathBuf::from(value));
        }
        Err(AnnotationError::Invalid {
            key,
            value: value.clone(),
            expected: "an absolute path on the host",
        })
    };
    annotations.get(key).map(check).transpose()
}

/// A path that leads downwards only; an empty one asks for nothing, as in crun.
fn below(
    annotations: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Option<PathBuf>, AnnotationError> {
    let Some(value) = annotations.get(key).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = Path::new(value);
    let normal = |component| matches!(component, Component::Normal(_));
    if path.components().all(normal) && !value.contains('\0') {
        return Ok(Some(path.to_owned()));
    }
    Err(AnnotationError::Invalid {
        key,
        value: value.clone(),
        expected: "a relative path without . and ..",
    })
}

fn mount_context(annotations: &BTreeMap<String, String>) -> Result<MountContext, AnnotationError> {
    let Some(value) = annotations.get(MOUNT_CONTEXT_TYPE) else {
        return Ok(MountContext::default());
    };
    MountContext::ALL
        .into_iter()
        .find(|context| context.name() == value)
        .ok_or_else(|| {
            annotations::unknown(
                MOUNT_CONTEXT_TYPE,
                value,
                &MountContext::ALL.map(MountContext::name),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        pairs.collect()
    }

    #[test]
    fn each_key_is_read() {
        let options = RuntimeOptions::parse(&map(&[
            (KEEP_GROUPS, "1"),
            (HOOKS_STDOUT, "/log/out"),
            (HOOKS_STDERR, "/log/err"),
            (DELEGATE_CGROUP, "a/b"),
            (SECCOMP_RECEIVER, "/run/agent"),
            (SECCOMP_FAIL_UNKNOWN, ""),
            (PIDFD_RECEIVER, "/run/pidfd"),
            (MOUNT_CONTEXT_TYPE, "rootcontext"),
            (SYSTEMD_SUBGROUP, "sub"),
        ]));
        let expected = RuntimeOptions {
            keep_groups: true,
            hook_output: HookOutput {
                stdout: Some("/log/out".into()),
                stderr: Some("/log/err".into()),
            },
            delegate_cgroup: Some("a/b".into()),
            systemd_subgroup: Some("sub".into()),
            seccomp_receiver: Some("/run/agent".into()),
            seccomp_fail_unknown: true,
            pidfd_receiver: Some("/run/pidfd".into()),
            mount_context: MountContext::Rootcontext,
        };
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn nothing_and_nought_ask_for_nothing() {
        let nothing = map(&[
            ("other", "x"),
            (KEEP_GROUPS, "0"),
            (SECCOMP_FAIL_UNKNOWN, "0"),
            (DELEGATE_CGROUP, ""),
        ]);
        assert_eq!(
            RuntimeOptions::parse(&nothing).unwrap(),
            RuntimeOptions::default()
        );
        assert!(HookOutput::parse(&nothing).unwrap().is_default());
    }

    #[test]
    fn wrong_values_are_named() {
        for (key, value) in [
            (HOOKS_STDOUT, "log"),
            (HOOKS_STDERR, ""),
            (DELEGATE_CGROUP, "/a"),
            (DELEGATE_CGROUP, "../a"),
            (DELEGATE_CGROUP, "a/../b"),
            (SECCOMP_RECEIVER, "agent"),
            (PIDFD_RECEIVER, ""),
            (MOUNT_CONTEXT_TYPE, "nocontext"),
            (SYSTEMD_SUBGROUP, "/container"),
        ] {
            let error = RuntimeOptions::parse(&map(&[(key, value)]))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(key) && error.contains(&format!("{value:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_refused_is_told_with_the_way_out() {
        for (key, why) in REFUSED {
            let error = RuntimeOptions::parse(&map(&[(key, "1")]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(key) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_found() {
        let annotations = map(&[
            (KEEP_GROUPS, "1"),
            (annotations::HANDLER, "wasm"),
            ("run.oci.seccomp.plugins", "x"),
            ("run.oci.hooks.stdin", "x"),
            ("run.ocix", "x"),
        ]);
        assert_eq!(unknown(&annotations).collect::<Vec<_>>(), ["run.oci.hooks.stdin"]);
    }
}
