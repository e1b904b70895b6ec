//! User namespaces: writing the id maps of one that was just made, and making one for an id-mapped mount.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions};

use crate::plan::mounts::MountIdMap;
use crate::plan::namespaces::{IdMap, Kind, Namespaces};
use crate::sys::clone::{Cloned, clone3};

/// Why ids could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("cannot write {path} ({map})")]
    Write {
        path: PathBuf,
        map: String,
        source: io::Error,
    },
    #[error(
        "cannot run {tool} (package uidmap), which an unprivileged user needs to map more than his own id"
    )]
    Tool { tool: &'static str, source: io::Error },
    #[error("{tool} refused the map {map}: {output}")]
    Refused {
        tool: &'static str,
        map: String,
        output: String,
    },
}

/// Writes both maps of the user namespace of `pid`, a child of ours that waits.
///
/// Root writes them itself; others do so for a single id of their own, and through newuidmap(1) and
/// newgidmap(1) otherwise.
pub fn write_maps(pid: Pid, uids: &[IdMap], gids: &[IdMap], privileged: bool) -> Result<(), MapError> {
    if privileged {
        write(pid, "uid_map", &lines(uids))?;
        return write(pid, "gid_map", &lines(gids));
    }
    let own = |maps: &[IdMap], id: u32| matches!(maps, [map] if map.size == 1 && map.host == id);
    if own(uids, rustix::process::geteuid().as_raw()) {
        write(pid, "uid_map", &lines(uids))?;
    } else {
        run("newuidmap", pid, uids)?;
    }
    if own(gids, rustix::process::getegid().as_raw()) {
        // Without this an unprivileged process may not map a group at all (user_namespaces(7)).
        write(pid, "setgroups", "deny")?;
        write(pid, "gid_map", &lines(gids))
    } else {
        run("newgidmap", pid, gids)
    }
}

fn lines(maps: &[IdMap]) -> String {
    let mut text = String::new();
    for map in maps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", map.container, map.host, map.size);
    }
    text
}

fn write(pid: Pid, file: &str, text: &str) -> Result<(), MapError> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    std::fs::write(&path, text).map_err(|source| MapError::Write {
        path,
        map: text.trim_end().replace('\n', ", "),
        source,
    })
}

fn run(tool: &'static str, pid: Pid, maps: &[IdMap]) -> Result<(), MapError> {
    let mut command = Command::new(tool);
    command.arg(pid.to_string());
    for map in maps {
        command.args([map.container, map.host, map.size].map(|number| number.to_string()));
    }
    let output = command
        .output()
        .map_err(|source| MapError::Tool { tool, source })?;
    if output.status.success() {
        return Ok(());
    }
    let map = lines(maps).trim_end().replace('\n', ", ");
    Err(MapError::Refused {
        tool,
        map,
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Makes a user namespace with the maps of an id-mapped mount and gives its descriptor.
///
/// It needs a process to be born in; that one waits, is looked up once, and ends.
///
/// A mount without maps of its own gets those of the container's user namespace.
pub fn for_mount(idmap: &MountIdMap, namespaces: &Namespaces) -> io::Result<OwnedFd> {
    let (mut uids, mut gids) = (&idmap.uid_map, &idmap.gid_map);
    if uids.is_empty() && gids.is_empty() {
        if let Some(path) = namespaces.joins(Kind::User) {
            return Ok(OwnedFd::from(File::open(path)?));
        }
        (uids, gids) = (&namespaces.uid_map, &namespaces.gid_map);
    }
    let (mut reader, writer) = std::io::pipe()?;
    match clone3(Kind::User.flag(), None)? {
        Cloned::Child => {
            drop(writer);
            // Its end, by the parent's death too, is all that is waited for.
            let _ = reader.read(&mut [0u8; 1]);
            std::process::exit(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let made = write_maps(pid, uids, gids, true)
                .map_err(io::Error::other)
                .and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
            drop(writer);
            rustix::process::waitid(
                WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
                WaitIdOptions::EXITED,
            )?;
            Ok(OwnedFd::from(made?))
        }
    }
}

/// A user namespace with the ids of the container's own, or that itself where it is joined.
///
/// # Errors
/// As `for_mount`.
pub fn own_map(namespaces: &Namespaces) -> io::Result<OwnedFd> {
    let own = MountIdMap {
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        recursive: false,
    };
    for_mount(&own, namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_line_by_line() {
        let maps = [
            IdMap {
                container: 0,
                host: 1000,
                size: 1,
            },
            IdMap {
                container: 1,
                host: 100_000,
                size: 65_536,
            },
        ];
        assert_eq!(lines(&maps), "0 1000 1\n1 100000 65536\n");
    }
}
