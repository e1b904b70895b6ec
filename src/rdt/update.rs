//! New schemata for the class of a container that lives.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Placement, RdtError, failed, find_mount, parse, write};

/// The options of `update`, and the directory below `info` that a host with the feature has.
const FEATURES: [(&str, &str); 2] = [("--l3-cache-schema", "L3"), ("--mem-bw-schema", "MB")];

/// Changes the class: `schemata` in the order of `--l3-cache-schema`, `--mem-bw-schema`; empty leaves one as it
/// is. A class that others are in changes for them as well, as with runc: here it was asked for. Gives the
/// lines of before, for [`restore`].
///
/// # Errors
/// A container without a class, a host without the feature, or what the kernel says to a schema.
pub fn update(placement: Option<&Placement>, schemata: [&str; 2]) -> Result<Vec<String>, RdtError> {
    if schemata.iter().all(|schema| schema.is_empty()) {
        return Ok(Vec::new());
    }
    let mount = find_mount();
    for ((option, feature), schema) in FEATURES.into_iter().zip(schemata) {
        let has = |mount: &PathBuf| mount.join("info").join(feature).is_dir();
        if !schema.is_empty() && !mount.as_ref().is_ok_and(has) {
            return Err(RdtError::NoFeature { option, feature });
        }
    }
    change(&mount?, placement.ok_or(RdtError::NoPlacement)?, schemata)
}

fn change(mount: &Path, placement: &Placement, schemata: [&str; 2]) -> Result<Vec<String>, RdtError> {
    let file = placement.class.join("schemata");
    let before = fs::read_to_string(&file).map_err(failed(mount, "read", &file))?;
    let lines: Vec<&str> = schemata.iter().flat_map(|schema| schema.lines()).collect();
    let old: Vec<String> = before
        .lines()
        .filter(|old| lines.iter().any(|line| parse(line).0 == parse(old).0))
        .map(|line| line.trim().to_owned())
        .collect();
    for line in lines {
        if let Err(error) = write(mount, &file, &format!("{line}\n")) {
            // The first error is the one to report.
            let _ = write_lines(mount, placement, &old);
            return Err(error);
        }
    }
    Ok(old)
}

/// Puts back what [`update`] has found.
///
/// # Errors
/// What the kernel says to a line.
pub fn restore(placement: &Placement, old: &[String]) -> Result<(), RdtError> {
    write_lines(&find_mount()?, placement, old)
}

fn write_lines(mount: &Path, placement: &Placement, lines: &[String]) -> Result<(), RdtError> {
    let file = placement.class.join("schemata");
    lines
        .iter()
        .try_for_each(|line| write(mount, &file, &format!("{line}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemata_are_changed_and_the_old_ones_given_back() {
        let mount = tempfile::tempdir().unwrap();
        let class = mount.path().join("c1");
        let file = class.join("schemata");
        fs::create_dir_all(&class).unwrap();
        fs::write(&file, "    MB:0=100\n    L3:0=00f\n").unwrap();
        let placement = Placement {
            class,
            own_class: true,
            monitoring: None,
        };
        // No kernel reads line by line here: what is written lies over what was there.
        let old = change(mount.path(), &placement, ["L3:0=3", ""]).unwrap();
        assert_eq!(old, ["L3:0=00f"]);
        assert!(fs::read_to_string(&file).unwrap().starts_with("L3:0=3\n"));
        write_lines(mount.path(), &placement, &old).unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with("L3:0=00f\n"));
    }

    #[test]
    fn nothing_asked_for_needs_nothing_and_a_missing_feature_is_named() {
        assert!(update(None, ["", ""]).unwrap().is_empty());
        if find_mount().is_ok() {
            return; // A host with resctrl may have what is asked for.
        }
        let error = update(None, ["", "MB:0=20"]).unwrap_err().to_string();
        assert!(error.starts_with("--mem-bw-schema: "), "{error}");
    }
}
