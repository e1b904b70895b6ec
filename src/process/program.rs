//! Finding the entry point in the container and telling by its content what runs it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags};

use super::lookup;
use crate::plan::Workload;
use crate::plan::process::Process;
use crate::workload::detect::{self, Application, Choice, Place};

/// Bytes of /etc/passwd that are looked at.
const PASSWD_LIMIT: u64 = 1 << 20;

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
    /// By the engine too, as a manifest of the image's says.
    Application(Application),
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

const NOT_FOUND: &str = "no such file or directory";
const NOT_A_DIRECTORY: &str = "not a directory";
const DIRECTORY: &str = "is a directory";

/// Finds what a container's first process runs: its `args[0]`, or the application that its image holds.
pub fn find_first(process: &Process, workload: Workload) -> Result<Program, ProgramError> {
    let found = find(process, workload);
    let place = match &found {
        Ok(Program::Wasm { .. }) => Place::Wasm,
        Err(ProgramError::NotExecutable { reason, .. }) if *reason == DIRECTORY => Place::Directory,
        Err(ProgramError::Stat { reason, .. }) if [NOT_FOUND, NOT_A_DIRECTORY].contains(reason) => {
            Place::Nothing
        }
        Err(ProgramError::NotInPath(_)) => Place::Nothing,
        _ => Place::Other,
    };
    match detect::application(workload, place, is_file) {
        Some(application) => Ok(Program::Application(application)),
        None => found,
    }
}

fn is_file(path: &str) -> bool {
    let found = lookup::open(Path::new(path), OFlags::PATH).map_err(io::Error::from);
    found
        .and_then(|file| file_type(&file))
        .is_ok_and(|kind| kind == FileType::RegularFile)
}

/// Finds `args[0]` as execvp(3) would, from the current directory and with the process's own PATH and rights.
///
/// A Wasm file needs no execute permission: it is read, not executed by the kernel.
pub fn find(process: &Process, workload: Workload) -> Result<Program, ProgramError> {
    let name = process.args[0].as_str();
    let whole = find_file(process, name, name, workload);
    if !name.contains('#') || !is_missing(&whole) {
        return whole;
    }
    // `module.wasm#function` picks an export, unless that is the file's own name.
    for (file, export) in detect::split_entry(name) {
        let found = find_file(process, name, file, workload);
        if !is_missing(&found) {
            return with_export(found?, export, name);
        }
    }
    whole
}

fn is_missing(found: &Result<Program, ProgramError>) -> bool {
    matches!(found, Err(ProgramError::Stat { .. } | ProgramError::NotInPath(_)))
}

/// Finds `file`, which `name` asks for.
fn find_file(process: &Process, name: &str, file: &str, workload: Workload) -> Result<Program, ProgramError> {
    if file.contains('/') {
        examine(name, Path::new(file), workload)
    } else {
        search(process, name, file, workload)
    }
}

fn with_export(program: Program, chosen: &str, argument: &str) -> Result<Program, ProgramError> {
    match program {
        Program::Wasm { file, name, .. } => Ok(Program::Wasm {
            file,
            name,
            export: Some(chosen.to_owned()),
        }),
        Program::Native(_) | Program::Application(_) => Err(ProgramError::Stat {
            name: argument.to_owned(),
            path: argument.into(),
            reason: NOT_FOUND,
        }),
    }
}

fn search(process: &Process, name: &str, file: &str, workload: Workload) -> Result<Program, ProgramError> {
    let mut denied = None;
    let path = process
        .env
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default();
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        match examine(name, &Path::new(directory).join(file), workload) {
            Err(ProgramError::Stat { .. }) => {}
            Err(error @ ProgramError::NotExecutable { .. }) => denied = Some(error),
            result => return result,
        }
    }
    Err(denied.unwrap_or_else(|| ProgramError::NotInPath(name.to_owned())))
}

/// Looks at one candidate.
fn examine(name: &str, path: &Path, workload: Workload) -> Result<Program, ProgramError> {
    let found = lookup::open(path, OFlags::PATH).map_err(|error| ProgramError::Stat {
        name: name.to_owned(),
        path: path.to_owned(),
        reason: match error {
            rustix::io::Errno::NOENT => NOT_FOUND,
            rustix::io::Errno::NOTDIR => NOT_A_DIRECTORY,
            rustix::io::Errno::LOOP => "too many levels of symbolic links",
            rustix::io::Errno::NAMETOOLONG => "file name too long",
            _ => "permission denied",
        },
    })?;
    let unreadable = |source: io::Error| ProgramError::Read {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    let refuse = |reason| ProgramError::NotExecutable {
        name: name.to_owned(),
        reason,
    };
    match file_type(&found).map_err(unreadable)? {
        FileType::RegularFile => {}
        FileType::Directory => return Err(refuse(DIRECTORY)),
        _ => return Err(refuse("permission denied")),
    }
    if let Some(file) = open(path, workload).map_err(unreadable)? {
        let head = read_head(&file).map_err(unreadable)?;
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
    // By path: rustix knows no faccessat2(2) on a descriptor. It decides the message only; execve(2) decides.
    if rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Err(refuse("permission denied"));
    }
    Ok(Program::Native(path.to_owned()))
}

fn file_type(file: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// Opens the file to look inside. One that may be executed but not read is native, unless it must be Wasm.
fn open(path: &Path, workload: Workload) -> io::Result<Option<OwnedFd>> {
    if workload == Workload::Native {
        return Ok(None);
    }
    match lookup::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        // It may be another file by now, which a look inside must not wait for.
        Ok(file) => Ok((file_type(&file)? == FileType::RegularFile).then_some(file)),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) if !workload.requires_wasm() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_head(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut head = vec![0u8; detect::HEAD];
    let length = rustix::io::pread(file, &mut head, 0)?;
    head.truncate(length);
    Ok(head)
}

/// The home directory of a user by the image's /etc/passwd (passwd(5)), or `/`.
pub fn home_of(uid: u32) -> String {
    // A missing or broken passwd is the image's choice; then the root is as good a home as any.
    read_passwd()
        .ok()
        .and_then(|passwd| find_home(&passwd, uid))
        .unwrap_or_else(|| "/".to_owned())
}

/// The image's file, which may be anything: neither waited for nor read without end.
fn read_passwd() -> io::Result<String> {
    let file = lookup::open(
        Path::new("/etc/passwd"),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    if file_type(&file)? != FileType::RegularFile {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut bytes = Vec::new();
    File::from(file).take(PASSWD_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
