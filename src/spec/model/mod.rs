//! The types of config.json, as the runtime spec 1.3 has them and as far as we carry them out. Parsing only:
//! what belongs together is checked in `validate`. `null` stands for a missing property, as in Go.
//!
//! Unknown properties are passed over, which the runtime spec demands (config.md, "Extensibility"); known
//! ones that we do not carry out are parsed as [`Present`], so that they can be refused by name.

mod linux;
mod number_list;
mod process;
mod seccomp;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, IgnoredAny};

pub use linux::*;
pub use number_list::NumberList;
pub use process::*;
pub use seccomp::*;

use super::idmap_option::{self, Maps};
use super::mount_options::MountOptions;

/// A property that is there, whatever it holds.
pub type Present = Option<IgnoredAny>;

/// config.json (config.md).
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    pub oci_version: Option<String>,
    pub root: Option<Root>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub mounts: Vec<Mount>,
    pub process: Option<Process>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub hostname: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub domainname: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub hooks: Hooks,
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub linux: Linux,
    pub solaris: Present,
    pub windows: Present,
    pub vm: Present,
    pub zos: Present,
    pub freebsd: Present,
}

impl Config {
    /// The second number of `ociVersion`, whose form `validate` has checked.
    pub fn minor_version(&self) -> u64 {
        minor_version(self.oci_version.as_deref().unwrap_or_default())
    }
}

/// The second number of a version of the runtime spec; 0 where there is none.
pub fn minor_version(version: &str) -> u64 {
    let minor = version.split('.').nth(1);
    minor.and_then(|minor| minor.parse().ok()).unwrap_or_default()
}

/// `root` (config.md, "Root").
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Root {
    #[serde(default, deserialize_with = "null_as_default")]
    pub path: PathBuf,
    #[serde(default, deserialize_with = "null_as_default")]
    pub readonly: bool,
}

/// One of `mounts` (config.md, "Mounts").
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    #[serde(default, deserialize_with = "null_as_default")]
    pub destination: PathBuf,
    #[serde(default, rename = "type", deserialize_with = "null_as_default")]
    pub fstype: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub source: String,
    #[serde(default)]
    pub options: MountOptions,
    pub uid_mappings: Option<Vec<IdMapping>>,
    pub gid_mappings: Option<Vec<IdMapping>>,
}

impl Mount {
    /// Whether it shows what is already somewhere else. `type: bind` alone means it too, as crun and users
    /// read it; a bind mount's type is otherwise meaningless.
    pub fn is_bind(&self) -> bool {
        self.options.bind || self.fstype == "bind"
    }

    /// Whether the mount is id-mapped: by its option or by maps of its own.
    pub fn is_idmapped(&self) -> bool {
        self.options.idmap_recursive.is_some() || self.uid_mappings.is_some() || self.gid_mappings.is_some()
    }

    /// The maps of an id-mapped mount; empty where those of the container's user namespace are meant.
    ///
    /// # Errors
    /// What is wrong with those of its option.
    pub fn id_maps(&self, linux: &Linux) -> Result<Maps, String> {
        let uids = self.uid_mappings.clone().unwrap_or_default();
        let gids = self.gid_mappings.clone().unwrap_or_default();
        match &self.options.idmap_ranges {
            None => Ok((uids, gids)),
            Some(_) if !uids.is_empty() || !gids.is_empty() => {
                Err("has ranges beside uidMappings and gidMappings".to_owned())
            }
            Some(ranges) => idmap_option::parse(ranges, linux),
        }
    }
}

/// `hooks` (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    #[serde(default, deserialize_with = "null_as_default")]
    pub prestart: Vec<Hook>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub create_runtime: Vec<Hook>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub create_container: Vec<Hook>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub start_container: Vec<Hook>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub poststart: Vec<Hook>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// The six lists with their names in config.json.
    pub fn lists(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
pub struct Hook {
    #[serde(default, deserialize_with = "null_as_default")]
    pub path: PathBuf,
    #[serde(default, deserialize_with = "null_as_default")]
    pub args: Vec<String>,
    pub env: Option<Vec<String>>,
    /// Seconds.
    pub timeout: Option<i64>,
}

/// Reads `null` as if the property were missing.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
