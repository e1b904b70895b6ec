//! The mounts that `mounts add` and `mounts remove` are given: a JSON list of the form of `mounts` in config.json, checked
//! with the container's own configuration in mind.

use std::path::{Path, PathBuf};

use super::model::Mount;
use super::{Spec, SpecError, deserialize, validate};

/// The container's configuration with these mounts, and no others.
pub fn to_add(bytes: &[u8], file: &Path, container: &Spec) -> Result<Spec, SpecError> {
    let mut spec = Spec {
        file: file.to_owned(),
        config: container.config.clone(),
        warnings: Vec::new(),
    };
    spec.config.mounts = deserialize(bytes, file)?;
    for (index, mount) in spec.config.mounts.iter().enumerate() {
        if let Some((field, problem)) = unfit(mount) {
            return Err(SpecError::Invalid {
                file: file.to_owned(),
                field: format!("mounts[{index}].{field}"),
                problem: problem.to_owned(),
            });
        }
    }
    validate::mounts(&spec.config, &mut spec.warnings).map_err(|problem| problem.in_file(file))?;
    Ok(spec)
}

/// File systems that show what the namespaces of their maker hold: whoever makes mounts in a container that runs has
/// entered none but its user and mount namespaces.
const OF_NAMESPACES: [&str; 7] = [
    "cgroup",
    "cgroup2",
    "mqueue",
    "nfsd",
    "proc",
    "rpc_pipefs",
    "sysfs",
];

/// What cannot come to a container that runs: the property, and why.
fn unfit(mount: &Mount) -> Option<(&'static str, &'static str)> {
    if mount.options.remount {
        return Some((
            "options",
            "a remount would change what the container has, not add to it, and could not be undone",
        ));
    }
    if mount.options.copy_up {
        return Some((
            "options",
            "tmpcopyup cannot be used for a container that runs: its files change while they are copied",
        ));
    }
    let shows_namespaces = !mount.is_bind() && OF_NAMESPACES.contains(&mount.fstype.as_str());
    shows_namespaces.then_some((
        "type",
        "a file system of type proc, sysfs, mqueue, cgroup, cgroup2, nfsd or rpc_pipefs cannot come to a container that runs; put it into config.json",
    ))
}

/// The destinations alone, in order: nothing else of a mount says what is to be removed.
pub fn to_remove(bytes: &[u8], file: &Path) -> Result<Vec<PathBuf>, SpecError> {
    let mounts: Vec<Mount> = deserialize(bytes, file)?;
    let mut destinations = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.into_iter().enumerate() {
        if mount.destination.as_os_str().is_empty() {
            return Err(SpecError::Invalid {
                file: file.to_owned(),
                field: format!("mounts[{index}].destination"),
                problem: "is missing".to_owned(),
            });
        }
        destinations.push(mount.destination);
    }
    Ok(destinations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Spec {
        let config = serde_json::json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs" },
            "linux": { "namespaces": [{ "type": "mount" }] },
            "mounts": [{ "destination": "/proc", "type": "proc" }]
        });
        Spec::parse(config.to_string().as_bytes(), Path::new("config.json")).unwrap()
    }

    fn add(json: &str) -> Result<Spec, String> {
        to_add(json.as_bytes(), Path::new("m.json"), &container()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_to_be_added_is_left() {
        let spec = add(r#"[{"destination": "/a", "source": "/b", "options": ["bind", "ro"]}]"#).unwrap();
        assert_eq!(spec.config.mounts.len(), 1);
        assert_eq!(spec.config.mounts[0].destination, Path::new("/a"));
        assert!(spec.config.mounts[0].options.bind);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, culprit) in [
            ("{}", "m.json is not a valid JSON document"),
            ("[", "m.json"),
            (r#"[{"destination": 1}]"#, "[0].destination"),
            (
                r#"[{"source": "/b", "options": ["bind"]}]"#,
                "mounts[0].destination: is missing",
            ),
            (
                r#"[{"destination": "/a", "options": ["bind"]}]"#,
                "mounts[0].source",
            ),
            (
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "copy-symlink", "src-nofollow"]}]"#,
                "copy-symlink",
            ),
        ] {
            let error = add(json).unwrap_err();
            assert!(error.contains(culprit), "{json}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        for (mount, culprits) in [
            (r#""type": "proc""#, ["mounts[0].type", "proc"]),
            (r#""type": "sysfs""#, ["mounts[0].type", "sysfs"]),
            (r#""type": "mqueue""#, ["mounts[0].type", "mqueue"]),
            (r#""type": "cgroup2""#, ["mounts[0].type", "cgroup"]),
            (
                r#""options": ["bind", "remount", "ro"]"#,
                ["mounts[0].options", "remount"],
            ),
            (
                r#""type": "tmpfs", "options": ["remount"]"#,
                ["mounts[0].options", "remount"],
            ),
            (
                r#""type": "tmpfs", "options": ["tmpcopyup"]"#,
                ["mounts[0].options", "tmpcopyup"],
            ),
        ] {
            let error = add(&format!(r#"[{{"destination": "/a", "source": "x", {mount}}}]"#)).unwrap_err();
            assert!(
                culprits.iter().all(|culprit| error.contains(culprit)),
                "{mount}: {error}"
            );
        }
    }

    #[test]
    fn a_removal_needs_destinations() {
        let remove = |json: &str| to_remove(json.as_bytes(), Path::new("m.json"));
        let found = remove(r#"[{"destination": "/b"}, {"destination": "/a", "options": ["what"]}]"#);
        assert_eq!(found.unwrap(), [Path::new("/b"), Path::new("/a")]);
        let error = remove(r#"[{"source": "/b"}]"#).unwrap_err().to_string();
        assert!(error.contains("mounts[0].destination"), "{error}");
    }
}
