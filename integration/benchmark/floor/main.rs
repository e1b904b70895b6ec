//! The floor: what the kernel itself charges for a container, without a runtime. One small static process makes the
//! container of fixtures/docker.json by the same calls that a runtime cannot do without, each of them once, and does
//! nothing else: it reads no configuration, checks nothing, keeps no state, and talks to nobody.
//!
//! ```text
//! floor launch ROOTFS FILTER GROUP… -- PROGRAM ARGUMENTS…
//!   mkdir of each GROUP, a directory of a cgroup hierarchy that is not there yet
//!   clone3 with the five namespaces; into the cgroup where it is one of v2 ──> child
//!                                                   join the cgroups of v1
//!                                                   host name, private mounts, the mounts of config.json
//!                                                   device nodes and links, pivot_root, sysctls
//!                                                   read-only and masked paths
//!                                                   capabilities, FILTER (seccomp's instructions, raw)
//!                                                   execve of PROGRAM
//!   wait, rmdir of each GROUP                  <──  ends
//! floor hello                  writes a line: the least that a static command costs
//! floor measure COMMAND…       runs it and writes kB at the peak, page faults: of it and of whom it waited for
//! ```
//!
//! What a runtime adds to that (parsing, validation, protection against hostile images, state, error handling) is the
//! distance between its `run` and this program. `measure` is here since the image of who starts a command counts in the
//! peak memory that the kernel tells of it, and this one is small.

#[allow(dead_code, reason = "the runtime uses more of it")]
#[path = "../../../src/sys/clone.rs"]
mod clone;
mod container;
#[allow(dead_code, reason = "the runtime uses more of it")]
#[path = "../../../src/sys/seccomp.rs"]
mod seccomp;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sched::CloneFlags;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{WaitId, WaitIdOptions};

use clone::{Cloned, clone3};
use container::Container;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &words[..] {
        ["hello"] => io::stdout().write_all(b"hello\n").map(|()| 0),
        ["measure", program, rest @ ..] => measure(program, rest),
        ["launch", rootfs, filter, rest @ ..] => match rest.iter().position(|word| *word == "--") {
            Some(at) if at + 1 < rest.len() => launch(rootfs, filter, &rest[..at], &rest[at + 1..]),
            _ => Err(io::Error::other("no program after --")),
        },
        _ => Err(io::Error::other(
            "the ways to call it are at the head of its source",
        )),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::from(125)
        }
    }
}

/// A step of ours failed: `what` it was.
fn failed(what: &str) -> impl FnOnce(io::Error) -> io::Error + use<'_> {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn launch(rootfs: &str, filter: &str, groups: &[&str], program: &[&str]) -> io::Result<u8> {
    let groups: Vec<PathBuf> = groups.iter().map(PathBuf::from).collect();
    for group in &groups {
        std::fs::create_dir(group).map_err(failed("make a cgroup"))?;
    }
    let code = in_groups(Path::new(rootfs), filter, &groups, program);
    for group in &groups {
        std::fs::remove_dir(group).map_err(failed("remove a cgroup"))?;
    }
    code
}

fn in_groups(rootfs: &Path, filter: &str, groups: &[PathBuf], program: &[&str]) -> io::Result<u8> {
    let filter = std::fs::read(filter).map_err(failed("read the filter"))?;
    // cgroup.controllers is in directories of v2 alone.
    let unified = groups
        .iter()
        .find(|group| group.join("cgroup.controllers").exists());
    let entry = unified.map(File::open).transpose()?;
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let flags = u64::from(flags.bits().cast_unsigned());
    match clone3(flags, entry.as_ref().map(File::as_fd)).map_err(failed("clone3"))? {
        Cloned::Child => {
            let container = Container {
                rootfs,
                filter: &filter,
                groups,
                program,
            };
            let error = container.become_program();
            eprintln!("floor: in the container: {error}");
            std::process::exit(125)
        }
        Cloned::Parent { pidfd, .. } => {
            let ended = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            let status = ended.and_then(|status| status.exit_status());
            Ok(status.and_then(|code| u8::try_from(code).ok()).unwrap_or(125))
        }
    }
}

/// Runs a command, and writes its figures to descriptor 2 behind whatever it wrote there.
fn measure(program: &str, arguments: &[&str]) -> io::Result<u8> {
    let status = Command::new(program).args(arguments).status()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    eprintln!("\nmeasured {} {}", usage.max_rss(), usage.minor_page_faults());
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(125))
}
