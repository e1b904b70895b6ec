//! The options before the command, which all commands share, and what they come to: the state directory, the
//! log and how cgroups are made.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::log::{Format, Level, Log};
use crate::container::CgroupManager;
use crate::host::{Host, Rootless};

/// Where the state of containers is kept by default.
const DEFAULT_ROOT: &str = "/run/wrun";

// The doc comments below are the manual: they become --help and man/wrun.8.
#[derive(Debug, Default, clap::Args)]
pub struct Global {
    /// Write debug lines to the log, as --log-level debug.
    #[arg(long)]
    pub debug: bool,

    /// Where log lines go: a file to which they are appended, journald:NAME or syslog:NAME; standard error by default.
    ///
    /// The file, which file: may stand before, is made with mode 0644 where it does not exist. NAME is what the
    /// lines are marked with in the journal or system log. The error that ends a command is written to the log and,
    /// as plain text, to standard error.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Which lines are written to the log: error, warning (the default) or debug, each with those before.
    #[arg(long, value_name = "LEVEL", value_enum, hide_possible_values = true)]
    pub log_level: Option<Level>,

    /// Format of log lines.
    ///
    /// `text` is `time="..." level=... msg="..."`; `json` is one object a line with the keys level, msg and time,
    /// which is what engines read.
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        hide_possible_values = false
    )]
    pub log_format: Format,

    /// Directory in which the state of containers is kept.
    ///
    /// It should be on a tmpfs. The default is /run/wrun; for a user other than root, and for root in a user
    /// namespace, it is $XDG_RUNTIME_DIR/wrun where that variable is set.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Have systemd make the cgroups.
    ///
    /// `linux.cgroupsPath` of config.json is then of the form slice:prefix:name, for example
    /// system.slice:wrun:434234.
    #[arg(long, overrides_with = "cgroup_manager")]
    pub systemd_cgroup: bool,

    /// Who makes the cgroups: cgroupfs (wrun itself, the default), systemd (as --systemd-cgroup) or disabled.
    ///
    /// Where it is disabled, containers stay in the caller's cgroup: limits in config.json are refused, its device
    /// rules have no effect, and pause is not possible. Of this option and --systemd-cgroup the last one counts.
    #[arg(
        long,
        value_name = "MANAGER",
        value_enum,
        hide_possible_values = true,
        overrides_with_all = ["systemd_cgroup", "cgroup_manager"]
    )]
    pub cgroup_manager: Option<Manager>,

    /// Whether errors for lack of permission on cgroups are ignored: true, false or auto.
    ///
    /// auto means true for a user other than root and for root in a user namespace.
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    pub rootless: Rootless,

    /// Path of the criu program; accepted and unused, since old callers pass it.
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,

    /// Print the version, and the versions of what wrun is built from.
    #[arg(long, short = 'v', short_alias = 'V')]
    pub version: bool,
}

/// `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Manager {
    Cgroupfs,
    Systemd,
    Disabled,
}

impl Global {
    /// Opens the log that the options name.
    pub fn open_log(&self) -> anyhow::Result<Log> {
        Log::open(self.log.as_deref(), self.log_format, self.level())
    }

    fn level(&self) -> Level {
        match self.log_level {
            _ if self.debug => Level::Debug,
            level => level.unwrap_or_default(),
        }
    }

    /// Who makes the cgroups.
    pub(super) fn cgroup_manager(&self) -> CgroupManager {
        match self.cgroup_manager {
            Some(Manager::Cgroupfs) => CgroupManager::Cgroupfs,
            Some(Manager::Systemd) => CgroupManager::Systemd,
            Some(Manager::Disabled) => CgroupManager::Disabled,
            None if self.systemd_cgroup => CgroupManager::Systemd,
            None => CgroupManager::Cgroupfs,
        }
    }

    /// The state directory, absolute. The default one of a user is made here; others need not exist.
    pub(super) fn state_root(&self) -> anyhow::Result<PathBuf> {
        match &self.root {
            Some(root) => given_root(root),
            None => match self.user_root() {
                Some(root) => make_user_root(&root).map(|()| root),
                None => Ok(PathBuf::from(DEFAULT_ROOT)),
            },
        }
    }

    /// `$XDG_RUNTIME_DIR/wrun`, for those whom /run/wrun does not belong to.
    fn user_root(&self) -> Option<PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
        let host = Host::probe(self.rootless);
        // Root of the host keeps /run/wrun, also where its session has set the variable; so does who calls
        // himself root in a user namespace, as with runc.
        let foreign = host.euid != 0
            || host.in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root");
        foreign.then(|| Path::new(&runtime).join("wrun"))
    }
}

/// The sticky bit keeps those away who clean up XDG_RUNTIME_DIR (XDG Base Directory Specification).
fn make_user_root(root: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o1700)
        .create(root)
        .with_context(|| {
            format!(
                "cannot make the state directory {}: XDG_RUNTIME_DIR must be writable",
                root.display()
            )
        })
}

/// `--root`, made absolute and without `..`.
fn given_root(root: &Path) -> anyhow::Result<PathBuf> {
    let mut absolute = PathBuf::new();
    for component in std::path::absolute(root)
        .context("--root must not be empty")?
        .components()
    {
        match component {
            std::path::Component::ParentDir => {
                absolute.pop();
            }
            component => absolute.push(component),
        }
    }
    if absolute == Path::new("/") {
        bail!("--root must not be /");
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_root_is_absolute_and_never_the_file_system_root() {
        assert_eq!(
            given_root(Path::new("/run/x/../y/")).unwrap(),
            Path::new("/run/y")
        );
        assert!(given_root(Path::new("x")).unwrap().is_absolute());
        for bad in ["", "/", "/run/..", "/../.."] {
            assert!(given_root(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
