//! Words of the command line that are CRIU's, and the options that a dump and a restore have in common.

use std::os::fd::AsRawFd;
use std::str::FromStr;

use super::{Config, Images, rpc};

/// CRIU's `log_level` for everything but debugging output, as runc sets it.
const LOG_LEVEL: i32 = 4;

/// `--manage-cgroups-mode`: what CRIU does about the cgroups of the processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    /// CRIU's own default, which is soft.
    #[default]
    Default,
    /// Restores those properties of cgroups that it makes anew.
    Soft,
    /// Restores the properties of all.
    Full,
    /// Makes all anew, and fails where one exists.
    Strict,
    /// Leaves cgroups alone: the processes are where the runtime puts them.
    Ignore,
}

impl FromStr for CgroupsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Default),
            "soft" => Ok(Self::Soft),
            "full" => Ok(Self::Full),
            "strict" => Ok(Self::Strict),
            "ignore" => Ok(Self::Ignore),
            _ => Err("it must be soft, full, strict or ignore".to_owned()),
        }
    }
}

impl CgroupsMode {
    const fn message(self) -> rpc::Criu_cg_mode {
        match self {
            Self::Default => rpc::Criu_cg_mode::DEFAULT,
            Self::Soft => rpc::Criu_cg_mode::SOFT,
            Self::Full => rpc::Criu_cg_mode::FULL,
            Self::Strict => rpc::Criu_cg_mode::STRICT,
            Self::Ignore => rpc::Criu_cg_mode::IGNORE,
        }
    }
}

/// `--empty-ns`. There is one kind that can be left empty, and it always is, as with runc: whoever made the
/// container's network makes it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyNamespace;

impl FromStr for EmptyNamespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "network" => Ok(Self),
            _ => Err("this namespace is not supported, only network".to_owned()),
        }
    }
}

/// `--page-server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    pub address: String,
    pub port: u16,
}

impl FromStr for PageServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "it must be ADDRESS:PORT, with an address of IPv6 in brackets".to_owned();
        let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let inner = address
            .strip_prefix('[')
            .and_then(|address| address.strip_suffix(']'));
        if address.is_empty() || (inner.is_none() && address.contains(':')) {
            return Err(wrong());
        }
        Ok(Self {
            address: inner.unwrap_or(address).to_owned(),
            port: port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        })
    }
}

/// What a restore may change about Linux security modules.
#[derive(Debug, Clone, Default)]
pub struct Lsm {
    /// `TYPE:NAME`.
    pub profile: Option<String>,
    pub mount_context: Option<String>,
}

/// Options of both commands.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    pub cgroups_mode: CgroupsMode,
}

impl Shared {
    /// The message that a dump or a restore begins with.
    pub fn message(&self, images: &Images, log: &str, config: &Config) -> rpc::Criu_opts {
        let mut opts = rpc::Criu_opts::new();
        opts.set_images_dir_fd(images.directory.as_raw_fd());
        if let Some((_, work)) = &images.work {
            opts.set_work_dir_fd(work.as_raw_fd());
        }
        opts.set_log_level(LOG_LEVEL);
        opts.set_notify_scripts(true);
        // The older of two options for the same; CRIU wants both.
        opts.set_manage_cgroups(true);
        opts.set_manage_cgroups_mode(self.cgroups_mode.message());
        opts.set_tcp_established(self.tcp_established);
        opts.set_ext_unix_sk(self.ext_unix_sk);
        opts.set_shell_job(self.shell_job);
        opts.set_file_locks(self.file_locks);
        opts.set_auto_dedup(self.auto_dedup);
        opts.set_lazy_pages(self.lazy_pages);
        opts.set_orphan_pts_master(true);
        opts.set_empty_ns(crate::plan::namespaces::Kind::Network.flag() as u32);
        config.add_to(&mut opts, log);
        opts
    }
}

/// Adds mounts that come from outside of the container.
pub(super) fn mount(key: &str, value: &str) -> rpc::Ext_mount_map {
    let mut map = rpc::Ext_mount_map::new();
    map.set_key(key.to_owned());
    map.set_val(value.to_owned());
    map
}

/// Says under which number CRIU has a descriptor that the images know by a name.
pub(super) fn inherited(key: &str, number: i32) -> rpc::Inherit_fd {
    let mut inherited = rpc::Inherit_fd::new();
    inherited.set_key(key.to_owned());
    inherited.set_fd(number);
    inherited
}

impl Lsm {
    pub fn add_to(&self, opts: &mut rpc::Criu_opts) {
        opts.lsm_profile.clone_from(&self.profile);
        opts.lsm_mount_context.clone_from(&self.mount_context);
    }
}

impl PageServer {
    pub fn add_to(&self, opts: &mut rpc::Criu_opts) {
        let mut server = rpc::Criu_page_server_info::new();
        server.set_address(self.address.clone());
        server.set_port(self.port.into());
        opts.ps = protobuf::MessageField::some(server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runcs() {
        assert_eq!("ignore".parse(), Ok(CgroupsMode::Ignore));
        assert_eq!("".parse(), Ok(CgroupsMode::Default));
        assert!("hard".parse::<CgroupsMode>().is_err());
        assert!("network".parse::<EmptyNamespace>().is_ok());
        assert!("pid".parse::<EmptyNamespace>().is_err());
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let server = |text: &str| {
            text.parse::<PageServer>()
                .map(|server| (server.address, server.port))
        };
        assert_eq!(server("0.0.0.0:27277"), Ok(("0.0.0.0".to_owned(), 27277)));
        assert_eq!(server("[::1]:80"), Ok(("::1".to_owned(), 80)));
        for wrong in [
            "",
            "host",
            ":80",
            "host:",
            "host:0",
            "host:x",
            "::1:80",
            "host:70000",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
