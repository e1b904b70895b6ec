//! Intel RDT: the container's class of service and monitoring group in resctrl (`linux.intelRdt`; the
//! kernel's Documentation/filesystems/resctrl.rst). Made by the parent with the host's rights; nothing of the
//! container's is read here, and the file system is never mounted for the caller.
//!
//! Our own rather than libcontainer's `intel_rdt`, which takes closID `/` for the host's root directory, wants
//! every resource named to accept an existing class, and leaves what it made behind when it fails.

mod stats;
mod update;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::plan::rdt::{Placement, Rdt};

pub use stats::{Stats, stats};
pub use update::{restore, update};

/// Where resctrl is mounted, if the administrator mounted it.
const USUAL_MOUNT: &str = "/sys/fs/resctrl";
/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const RESCTRL_MAGIC: i64 = 0x0765_5821;

#[derive(Debug, thiserror::Error)]
pub enum RdtError {
    #[error("the container has no class of Intel RDT to change: config.json has no linux.intelRdt")]
    NoPlacement,
    #[error("{option}: this host has no schemata of {feature} in resctrl")]
    NoFeature {
        option: &'static str,
        feature: &'static str,
    },
    #[error(
        "linux.intelRdt: no resctrl file system is mounted (`mount -t resctrl resctrl /sys/fs/resctrl`, on a CPU that has RDT)"
    )]
    NotMounted,
    #[error("linux.intelRdt.closID: there is no class {0}, and no schema to make it with")]
    NoClass(PathBuf),
    #[error("linux.intelRdt: class {class} exists, with {found:?} instead of {wanted:?}")]
    OtherSchema {
        class: PathBuf,
        wanted: String,
        found: String,
    },
    #[error("linux.intelRdt: cannot {action} {path}{status}")]
    Io {
        action: &'static str,
        path: PathBuf,
        /// What resctrl says of the last command, in brackets, or nothing.
        status: String,
        source: io::Error,
    },
}

/// A container's groups while they are made.
#[derive(Debug)]
pub struct Group {
    mount: PathBuf,
    placement: Placement,
    /// Directories that we made, for [`Group::discard`].
    made: Vec<PathBuf>,
}

impl Group {
    /// Finds out where the groups are or will be, without making anything.
    pub fn locate(plan: &Rdt, id: &str) -> Result<Self, RdtError> {
        Self::locate_below(find_mount()?, plan, id)
    }

    fn locate_below(mount: PathBuf, plan: &Rdt, id: &str) -> Result<Self, RdtError> {
        let (class, own_class) = match plan.class.as_deref() {
            Some("/") => (mount.clone(), false),
            // Without a slash, which the spec room checks.
            Some(name) => (mount.join(name), false),
            // One that is there already is not ours to remove.
            None => (mount.join(id), !mount.join(id).is_dir()),
        };
        let monitoring = plan.monitoring.then(|| class.join("mon_groups").join(id));
        if let Some(taken) = monitoring.as_ref().filter(|path| path.is_dir()) {
            let source = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(failed(&mount, "make", taken)(source));
        }
        Ok(Self {
            mount,
            placement: Placement {
                class,
                own_class,
                monitoring,
            },
            made: Vec::new(),
        })
    }

    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Makes what is not there, and sets or compares the schemata.
    pub fn make(&mut self, plan: &Rdt) -> Result<(), RdtError> {
        let class = self.placement.class.clone();
        let there = class.is_dir();
        if !there && plan.class.is_some() && plan.schemata.is_empty() {
            return Err(RdtError::NoClass(class));
        }
        if !there {
            self.make_directory(&class)?;
        }
        let schemata = class.join("schemata");
        if there && plan.class.is_some() {
            // Others are in it too: its schemata are not ours to change.
            let text = fs::read_to_string(&schemata).map_err(failed(&self.mount, "read", &schemata))?;
            compare(&class, &plan.schemata, &text)?;
        } else {
            for line in &plan.schemata {
                write(&self.mount, &schemata, &format!("{line}\n"))?;
            }
        }
        match self.placement.monitoring.clone() {
            Some(monitoring) => self.make_directory(&monitoring),
            None => Ok(()),
        }
    }

    fn make_directory(&mut self, path: &Path) -> Result<(), RdtError> {
        fs::create_dir(path).map_err(failed(&self.mount, "make", path))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Takes away what was made for a container that did not come to be.
    pub fn discard(&mut self) -> Result<(), RdtError> {
        while let Some(path) = self.made.pop() {
            remove_directory(&path)?;
        }
        Ok(())
    }
}

/// Moves a process, by its pid as we see it, into the container's groups; what it starts from then on is
/// born there. Only for a process with one thread, since resctrl knows threads.
pub fn add(placement: &Placement, pid: i32) -> Result<(), RdtError> {
    // The class first: a monitoring group takes members of its class only.
    for group in [Some(&placement.class), placement.monitoring.as_ref()]
        .into_iter()
        .flatten()
    {
        let mount = placement.class.parent().unwrap_or(&placement.class);
        write(mount, &group.join("tasks"), &pid.to_string())?;
    }
    Ok(())
}

/// Removes the container's own groups. Processes that are left fall back to the class, or to the default one.
pub fn remove(placement: &Placement) -> Result<(), RdtError> {
    if let Some(monitoring) = &placement.monitoring {
        remove_directory(monitoring)?;
    }
    if placement.own_class {
        remove_directory(&placement.class)?;
    }
    Ok(())
}

fn remove_directory(path: &Path) -> Result<(), RdtError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "remove", path)(error)),
        _ => Ok(()),
    }
}

/// One command for the kernel, in one write; never makes a file.
fn write(mount: &Path, path: &Path, text: &str) -> Result<(), RdtError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed(mount, "write to", path))
}

fn failed(mount: &Path, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RdtError {
    move |source| RdtError::Io {
        action,
        path: path.to_owned(),
        // A hint more; without it the error number has to do.
        status: fs::read_to_string(mount.join("info/last_cmd_status"))
            .ok()
            .map(|status| status.trim().to_owned())
            .filter(|status| !status.is_empty() && status != "ok")
            .map(|status| format!(" ({status})"))
            .unwrap_or_default(),
        source,
    }
}

fn find_mount() -> Result<PathBuf, RdtError> {
    if rustix::fs::statfs(USUAL_MOUNT).is_ok_and(|found| found.f_type == RESCTRL_MAGIC) {
        return Ok(PathBuf::from(USUAL_MOUNT));
    }
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(failed(path, "read", path))?;
    resctrl_in(&text).ok_or(RdtError::NotMounted)
}

/// The mount point of resctrl in a mountinfo (proc_pid_mountinfo(5)).
fn resctrl_in(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|line| line.contains(" - resctrl "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Whether a class has each domain of each wanted line as wanted; what is not asked for may be as it is.
fn compare(class: &Path, wanted: &[String], found: &str) -> Result<(), RdtError> {
    for line in wanted {
        let (resource, domains) = parse(line);
        let of_class = found.lines().find(|found| parse(found).0 == resource);
        let same = of_class.is_some_and(|found| {
            let found = parse(found).1;
            domains
                .iter()
                .all(|(domain, value)| found.get(domain) == Some(value))
        });
        if !same {
            return Err(RdtError::OtherSchema {
                class: class.to_owned(),
                wanted: line.clone(),
                found: of_class.unwrap_or_default().trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// `L3:0=0f;1=f0`, with values in lower case and without leading zeros, as two spellings of one mask differ.
fn parse(line: &str) -> (&str, BTreeMap<&str, String>) {
    let (resource, domains) = line.split_once(':').unwrap_or((line, ""));
    let domains = domains.split(';').filter_map(|domain| {
        let (domain, value) = domain.split_once('=')?;
        let value = value.trim();
        let digits = value.trim_start_matches('0');
        let digits = if digits.is_empty() { value } else { digits };
        Some((domain.trim(), digits.to_lowercase()))
    });
    (resource.trim(), domains.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(class: Option<&str>, schemata: &[&str], monitoring: bool) -> Rdt {
        Rdt {
            class: class.map(str::to_owned),
            schemata: schemata.iter().map(|line| (*line).to_owned()).collect(),
            monitoring,
        }
    }

    /// A directory that looks like resctrl with one class, `gold`.
    fn resctrl() -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for class in ["", "gold"] {
            let class = mount.path().join(class);
            fs::create_dir_all(class.join("mon_groups")).unwrap();
            fs::write(class.join("schemata"), "    MB:0=100;1=100\n    L3:0=00f;1=ff\n").unwrap();
            fs::write(class.join("tasks"), "").unwrap();
        }
        mount
    }

    #[test]
    fn a_class_that_exists_is_compared_and_kept() {
        let mount = resctrl();
        let gold = mount.path().join("gold");
        let wanted = plan(Some("gold"), &["L3:0=F"], false);
        let mut group = Group::locate_below(mount.path().into(), &wanted, "c1").unwrap();
        group.make(&wanted).unwrap();
        add(group.placement(), 42).unwrap();
        assert_eq!(fs::read_to_string(gold.join("tasks")).unwrap(), "42");
        group.discard().unwrap();
        remove(group.placement()).unwrap();
        assert!(gold.is_dir());
        let other = plan(Some("gold"), &["MB:0=100", "L3:0=f;1=f"], false);
        let error = group.make(&other).unwrap_err().to_string();
        assert!(
            error.contains("\"L3:0=00f;1=ff\" instead of \"L3:0=f;1=f\""),
            "{error}"
        );
        let error = group.make(&plan(Some("gold"), &["L2:0=f"], false)).unwrap_err();
        assert!(
            error.to_string().contains("\"\" instead of \"L2:0=f\""),
            "{error}"
        );
    }

    #[test]
    fn the_default_class_is_the_mount_itself() {
        let mount = resctrl();
        let wanted = plan(Some("/"), &[], false);
        let mut group = Group::locate_below(mount.path().into(), &wanted, "c1").unwrap();
        group.make(&wanted).unwrap();
        assert_eq!(group.placement().class, mount.path());
        remove(group.placement()).unwrap();
        assert!(mount.path().is_dir());
    }

    #[test]
    fn what_was_made_goes_on_failure() {
        // No kernel fills our directories, so that the write of the schemata fails.
        let mount = resctrl();
        let wanted = plan(None, &["L3:0=f"], true);
        let mut group = Group::locate_below(mount.path().into(), &wanted, "c1").unwrap();
        let class = mount.path().join("c1");
        assert_eq!(
            *group.placement(),
            Placement {
                class: class.clone(),
                own_class: true,
                monitoring: Some(class.join("mon_groups/c1")),
            }
        );
        fs::create_dir(mount.path().join("info")).unwrap();
        fs::write(mount.path().join("info/last_cmd_status"), "no such thing\n").unwrap();
        let error = group.make(&wanted).unwrap_err().to_string();
        assert!(
            error.ends_with("/c1/schemata (no such thing)") && error.contains("linux.intelRdt: cannot write"),
            "{error}"
        );
        assert!(class.is_dir());
        group.discard().unwrap();
        assert!(!class.exists());
        remove(group.placement()).unwrap();
    }

    #[test]
    fn monitoring_groups_are_the_container_s_own() {
        let mount = resctrl();
        let wanted = plan(Some("gold"), &[], true);
        let mut group = Group::locate_below(mount.path().into(), &wanted, "c1").unwrap();
        group.make(&wanted).unwrap();
        let monitoring = mount.path().join("gold/mon_groups/c1");
        assert!(monitoring.is_dir());
        assert!(Group::locate_below(mount.path().into(), &wanted, "c1").is_err());
        remove(group.placement()).unwrap();
        assert!(!monitoring.exists() && mount.path().join("gold").is_dir());
        let missing = plan(Some("silver"), &[], false);
        let mut group = Group::locate_below(mount.path().into(), &missing, "c1").unwrap();
        assert!(matches!(group.make(&missing), Err(RdtError::NoClass(_))));
    }

    #[test]
    fn the_mount_is_found_in_mountinfo() {
        let text = "30 1 0:26 / /sys rw - sysfs sysfs rw\n\
                    31 30 0:27 / /mnt/rdt rw,nosuid shared:9 - resctrl resctrl rw\n";
        assert_eq!(resctrl_in(text), Some("/mnt/rdt".into()));
        assert_eq!(resctrl_in("30 1 0:26 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
