//! Whether what CRIU has restored is what config.json asks for.
//!
//! Namespaces, ids and confinement of a restored process are those in the images: config.json is about the process that
//! `create` would have made. Where the two say different things, somebody relies on the wrong one, or the images are
//! another's; and what wrun then sets in "the container's" namespaces would be set in the host's.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::plan::namespaces::{IdMap, Kind, Namespaces};
use crate::plan::process::Process;

/// In what a restored process differs from config.json.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    #[error(
        "linux.namespaces: config.json makes a new {0} namespace, but the checkpoint was made of a container without one"
    )]
    NotNew(&'static str),
    #[error(
        "linux.namespaces: the restored container is not in {path}, the {kind} namespace that config.json joins"
    )]
    NotJoined { kind: &'static str, path: PathBuf },
    #[error("linux.{field}: the checkpoint's user namespace has other ids: {found:?}")]
    Ids { field: &'static str, found: Vec<IdMap> },
    #[error("process.noNewPrivileges is true, but the checkpoint's first process may gain privileges")]
    Privileges,
    #[error("linux.seccomp: config.json has a filter, but the checkpoint's first process is under none")]
    Seccomp,
    #[error(
        "process.capabilities: the checkpoint's first process has more in its {set} set than config.json's bounding set: \
         {found:#x}"
    )]
    Capabilities { set: &'static str, found: u64 },
    #[error(
        "process.{field}: config.json has {wanted:?}, but the checkpoint's first process runs under {found:?}; \
         --lsm-profile can say that this is meant"
    )]
    Label {
        field: &'static str,
        wanted: String,
        found: String,
    },
    #[error("cannot read {path}")]
    Proc { path: PathBuf, source: io::Error },
    #[error("{path}: there is no {field} in it")]
    Field { path: PathBuf, field: &'static str },
}

/// Kinds that CRIU has made when it tells of its first step, before anything is restored in them.
const EARLY: [Kind; 5] = [Kind::User, Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts];

/// Compares the namespaces that CRIU makes first. Must come before anything is set in them.
///
/// # Errors
/// A namespace that is the host's.
pub fn early_namespaces(pid: i32, plan: &Namespaces) -> Result<(), Difference> {
    new_ones(pid, plan, &EARLY)?;
    id_maps(pid, plan)
}

/// Compares all namespaces. Must come before anything is set in them.
///
/// # Errors
/// A namespace that is another one.
pub fn namespaces(pid: i32, plan: &Namespaces) -> Result<(), Difference> {
    new_ones(pid, plan, &Kind::ALL)?;
    id_maps(pid, plan)?;
    for (kind, path) in &plan.join {
        if number(&of(&pid.to_string(), *kind))? != number(path)? {
            return Err(Difference::NotJoined {
                kind: kind.link(),
                path: path.clone(),
            });
        }
    }
    Ok(())
}

fn new_ones(pid: i32, plan: &Namespaces, kinds: &[Kind]) -> Result<(), Difference> {
    for kind in kinds.iter().filter(|kind| plan.is_new(**kind)) {
        if number(&of("self", *kind))? == number(&of(&pid.to_string(), *kind))? {
            return Err(Difference::NotNew(kind.link()));
        }
    }
    Ok(())
}

fn of(process: &str, kind: Kind) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/ns/{}", kind.link()))
}

fn number(path: &Path) -> Result<(u64, u64), Difference> {
    let metadata = path.metadata().map_err(proc(path))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn proc(path: &Path) -> impl FnOnce(io::Error) -> Difference {
    let path = path.to_owned();
    move |source| Difference::Proc { path, source }
}

fn read(path: &Path) -> Result<String, Difference> {
    std::fs::read_to_string(path).map_err(proc(path))
}

fn id_maps(pid: i32, plan: &Namespaces) -> Result<(), Difference> {
    if !plan.is_new(Kind::User) {
        return Ok(());
    }
    for (field, file, wanted) in [
        ("uidMappings", "uid_map", &plan.uid_map),
        ("gidMappings", "gid_map", &plan.gid_map),
    ] {
        let found = parse_map(&read(Path::new(&format!("/proc/{pid}/{file}")))?);
        let sorted = |maps: &[IdMap]| {
            let mut maps = maps.to_vec();
            maps.sort_by_key(|map| map.container);
            maps
        };
        if sorted(&found) != sorted(wanted) {
            return Err(Difference::Ids { field, found });
        }
    }
    Ok(())
}

/// The lines of a uid_map or gid_map.
fn parse_map(text: &str) -> Vec<IdMap> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
            Some(IdMap {
                container: numbers.next()?,
                host: numbers.next()?,
                size: numbers.next()?,
            })
        })
        .collect()
}

/// Compares what confines the first process. Only when CRIU has restored that: it is the last thing that it restores.
/// With `relabeled` the caller has asked for another label than that of the checkpoint.
///
/// # Errors
/// A process that is less confined than config.json says.
pub fn confinement(pid: i32, plan: &Plan, relabeled: bool) -> Result<(), Difference> {
    let Some(process) = &plan.process else {
        return Ok(());
    };
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let status = read(&path)?;
    compare_status(&status, process).map_err(|problem| match problem {
        Problem::Missing(field) => Difference::Field { path, field },
        Problem::Differs(difference) => difference,
    })?;
    if relabeled {
        return Ok(());
    }
    let current = || {
        let of_module = PathBuf::from(format!("/proc/{pid}/attr/apparmor/current"));
        match read(&of_module) {
            Err(Difference::Proc { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                read(Path::new(&format!("/proc/{pid}/attr/current")))
            }
            other => other,
        }
    };
    if let Some(wanted) = &process.apparmor_profile {
        let found = current()?;
        // `docker-default (enforce)`
        let name = found
            .trim_end()
            .rsplit_once(" (")
            .map_or(found.trim_end(), |(name, _)| name);
        same_label("apparmorProfile", wanted, name)?;
    }
    if let Some(wanted) = &process.selinux_label {
        let found = read(Path::new(&format!("/proc/{pid}/attr/current")))?;
        same_label("selinuxLabel", wanted, found.trim_end_matches(['\0', '\n']))?;
    }
    Ok(())
}

fn same_label(field: &'static str, wanted: &str, found: &str) -> Result<(), Difference> {
    if wanted == found {
        return Ok(());
    }
    Err(Difference::Label {
        field,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    })
}

enum Problem {
    Missing(&'static str),
    Differs(Difference),
}

/// Looks at the text of proc_pid_status(5).
fn compare_status(status: &str, process: &Process) -> Result<(), Problem> {
    let field = |name: &'static str| {
        let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
            .ok_or(Problem::Missing(name))
    };
    if process.no_new_privileges && field("NoNewPrivs")? != "1" {
        return Err(Problem::Differs(Difference::Privileges));
    }
    if process.seccomp.is_some() && field("Seccomp")? != "2" {
        return Err(Problem::Differs(Difference::Seccomp));
    }
    for (name, set) in [
        ("CapBnd", "bounding"),
        ("CapPrm", "permitted"),
        ("CapInh", "inheritable"),
        ("CapAmb", "ambient"),
    ] {
        let found = u64::from_str_radix(field(name)?, 16).map_err(|_| Problem::Missing(name))?;
        let allowed = process.capabilities.bounding
            | match name {
                "CapPrm" => process.capabilities.permitted,
                "CapInh" => process.capabilities.inheritable,
                "CapAmb" => process.capabilities.ambient,
                _ => 0,
            };
        if found & !allowed != 0 {
            return Err(Problem::Differs(Difference::Capabilities { set, found }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespaces_are_not_new_ones() {
        let own = std::process::id().cast_signed();
        let mut plan = Namespaces::default();
        namespaces(own, &plan).unwrap();
        plan.join.push((Kind::Uts, PathBuf::from("/proc/self/ns/uts")));
        namespaces(own, &plan).unwrap();
        plan.join[0].1 = PathBuf::from("/proc/self/ns/ipc");
        let error = namespaces(own, &plan).unwrap_err().to_string();
        assert!(error.contains("/proc/self/ns/ipc"), "{error}");
        early_namespaces(own, &plan).unwrap();
        for kind in EARLY {
            plan.new = vec![kind];
            let error = early_namespaces(own, &plan).unwrap_err().to_string();
            assert!(error.contains(kind.link()), "{error}");
        }
    }

    #[test]
    fn maps_are_read_as_the_kernel_writes_them() {
        let map = |container, host, size| IdMap {
            container,
            host,
            size,
        };
        assert_eq!(
            parse_map("         0     100000      65536\n     65536          7          1\n"),
            [map(0, 100_000, 65_536), map(65_536, 7, 1)]
        );
    }
}
