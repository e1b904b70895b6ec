//! The properties at the top of config.json.

use super::{Check, Problem};
use crate::spec::model::{Config, NamespaceKind};
use crate::spec::runtime_options;

pub(super) const CHECKS: &[Check<Config>] = &[version, other_platforms, root, names, annotations];

/// The newest minor version of the runtime spec that we know.
const NEWEST_MINOR: u64 = 3;

/// Versions are semantic ones (config.md, "Specification version"): another major one may mean anything,
/// a newer minor one only adds.
fn version(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    let Some(version) = config
        .oci_version
        .as_deref()
        .filter(|version| !version.is_empty())
    else {
        return Err(Problem::new("ociVersion", "is missing"));
    };
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1, minor, _]) => {
            if *minor > NEWEST_MINOR {
                warnings.push(format!(
                    "ociVersion {version} is newer than 1.{NEWEST_MINOR}, which wrun knows"
                ));
            }
            Ok(())
        }
        Some([_, _, _]) => Err(Problem::new(
            "ociVersion",
            format!("version {version:?} is unknown, wrun knows 1.x.y"),
        )),
        _ => Err(Problem::new(
            "ociVersion",
            format!("{version:?} is not a version like 1.2.0"),
        )),
    }
}

fn other_platforms(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    const WHY: &str = "wrun makes Linux containers";
    for (name, property) in [
        ("solaris", &config.solaris),
        ("windows", &config.windows),
        ("vm", &config.vm),
        ("zos", &config.zos),
        ("freebsd", &config.freebsd),
    ] {
        if property.is_some() {
            return Err(Problem::unsupported(name, WHY));
        }
    }
    Ok(())
}

fn root(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    match &config.root {
        None => Err(Problem::new("root", "is missing")),
        Some(root) if root.path.as_os_str().is_empty() => Err(Problem::new("root.path", "is missing")),
        Some(_) => Ok(()),
    }
}

/// HOST_NAME_MAX and its like for the domain name (sethostname(2), setdomainname(2)).
const NAME_MAX: usize = 64;

fn names(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    for (field, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        if name.is_empty() {
            continue;
        }
        if config.linux.namespace(NamespaceKind::Uts).is_none() {
            return Err(Problem::new(
                field,
                format!("{name:?} cannot be set without a uts namespace"),
            ));
        }
        if name.len() > NAME_MAX {
            return Err(Problem::new(
                field,
                format!("{name:?} is longer than {NAME_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

fn annotations(config: &Config, warnings: &mut Vec<String>) -> Result<(), Problem> {
    if config.annotations.contains_key("") {
        return Err(Problem::new("annotations", "a key is empty"));
    }
    for key in runtime_options::unknown(&config.annotations) {
        warnings.push(format!("annotation {key} is unknown and has no effect"));
    }
    Ok(())
}
