//! Finding the entry point in the container and telling by its content what runs it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};

use crate::plan::Workload;
use crate::plan::process::Process;
use crate::workload::detect::{self, Choice};

/// What will run.
#[derive(Debug)]
pub enum Program {
    /// By execve(2) of this path.
    Native(PathBuf),
    /// By the engine, from this file.
    Wasm {
        file: OwnedFd,
        name: String,
        export: Option<String>,
    },
}

/// Why there is nothing to run. The texts are Go's, since engines look for them to choose between the exit
/// codes 126 and 127.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {name:?}: stat {path}: {reason}")]
    Stat {
        name: String,
        path: PathBuf,
        reason: &'static str,
    },
    #[error("exec: {name:?}: {reason}")]
    NotExecutable { name: String, reason: &'static str },
    #[error("exec: {name:?}: cannot read {path}")]
    Read {
        name: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Workload(#[from] crate::workload::WorkloadError),
}

/// Finds `args[0]` as execvp(3) would, from the current directory and with the process's own PATH and rights.
///
/// A Wasm file needs no execute permission: it is read, not executed by the kernel.
pub fn find(process: &Process, workload: Workload) -> Result<Program, ProgramError> {
    let name = process.args[0].as_str();
    if !name.contains('/') {
        return search(process, name, workload);
    }
    match examine(name, Path::new(name), workload) {
        // `module.wasm#function` picks an export, unless that is the file's own name.
        Err(ProgramError::Stat { .. }) if name.contains('#') => {
            let (path, export) = detect::split_entry(name);
            with_export(examine(name, Path::new(path), workload)?, export, name)
        }
        result => result,
    }
}

fn with_export(program: Program, chosen: Option<&str>, argument: &str) -> Result<Program, ProgramError> {
    match program {
        Program::Wasm { file, name, .. } => Ok(Program::Wasm {
            file,
            name,
            export: chosen.map(str::to_owned),
        }),
        Program::Native(_) => Err(ProgramError::Stat {
            name: argument.to_owned(),
            path: argument.into(),
            reason: "no such file or directory",
        }),
    }
}

fn search(process: &Process, name: &str, workload: Workload) -> Result<Program, ProgramError> {
    let mut denied = None;
    let path = process
        .env
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default();
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        match examine(name, &Path::new(directory).join(name), workload) {
            Err(ProgramError::Stat { .. }) => {}
            Err(error @ ProgramError::NotExecutable { .. }) => denied = Some(error),
            result => return result,
        }
    }
    Err(denied.unwrap_or_else(|| ProgramError::NotInPath(name.to_owned())))
}

/// Looks at one candidate.
fn examine(name: &str, path: &Path, workload: Workload) -> Result<Program, ProgramError> {
    let stat = rustix::fs::stat(path).map_err(|error| ProgramError::Stat {
        name: name.to_owned(),
        path: path.to_owned(),
        reason: match error {
            rustix::io::Errno::NOENT => "no such file or directory",
            rustix::io::Errno::NOTDIR => "not a directory",
            rustix::io::Errno::LOOP => "too many levels of symbolic links",
            rustix::io::Errno::NAMETOOLONG => "file name too long",
            _ => "permission denied",
        },
    })?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => {
            return Err(ProgramError::NotExecutable {
                name: name.to_owned(),
                reason: "is a directory",
            });
        }
        _ => {
            return Err(ProgramError::NotExecutable {
                name: name.to_owned(),
                reason: "permission denied",
            });
        }
    }
    if let Some(file) = open(path, name, workload)? {
        let (head, file) = read_head(file).map_err(|source| ProgramError::Read {
            name: name.to_owned(),
            path: path.to_owned(),
            source,
        })?;
        let shown = path.to_string_lossy();
        let format = detect::detect(&head, &shown);
        if let Choice::Wasm = detect::choose(workload, format, &shown)? {
            return Ok(Program::Wasm {
                file,
                name: name.to_owned(),
                export: None,
            });
        }
    }
    if rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Err(ProgramError::NotExecutable {
            name: name.to_owned(),
            reason: "permission denied",
        });
    }
    Ok(Program::Native(path.to_owned()))
}

/// Opens the file to look inside. One that may be executed but not read is native, unless it must be Wasm.
fn open(path: &Path, name: &str, workload: Workload) -> Result<Option<OwnedFd>, ProgramError> {
    if workload == Workload::Native {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) if workload != Workload::Wasm => Ok(None),
        Err(error) => Err(ProgramError::Read {
            name: name.to_owned(),
            path: path.to_owned(),
            source: error.into(),
        }),
    }
}

fn read_head(file: OwnedFd) -> io::Result<(Vec<u8>, OwnedFd)> {
    let mut head = vec![0u8; detect::HEAD];
    let length = rustix::io::pread(&file, &mut head, 0)?;
    head.truncate(length);
    Ok((head, file))
}

/// The home directory of a user by the image's /etc/passwd (passwd(5)), or `/`.
pub fn home_of(uid: u32) -> String {
    // A missing or broken passwd is the image's choice; then the root is as good a home as any.
    let Ok(passwd) = std::fs::read_to_string("/etc/passwd") else {
        return "/".to_owned();
    };
    find_home(&passwd, uid).unwrap_or_else(|| "/".to_owned())
}

fn find_home(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (id, home) = (fields.get(2)?, fields.get(5)?);
        (id.parse() == Ok(uid) && !home.is_empty()).then(|| (*home).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_by_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nyou:x:1000:1000::/home/you:/bin/sh\n";
        assert_eq!(find_home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(find_home(passwd, 1000).as_deref(), Some("/home/you"));
        assert_eq!(find_home(passwd, 7), None);
    }
}
