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
    validate::mounts(&spec.config, &mut spec.warnings).map_err(|problem| problem.in_file(file))?;
    Ok(spec)
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
                r#"[{"destination": "/a", "source": "/b", "options": ["bind", "src-nofollow"]}]"#,
                "src-nofollow",
            ),
        ] {
            let error = add(json).unwrap_err();
            assert!(error.contains(culprit), "{json}: {error}");
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
