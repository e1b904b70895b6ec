//! What wrun works with: its own files, the engines that call it, and the programs that it calls.

use std::path::Path;

use super::{Check, Surroundings, Verdict, check};
use crate::criu::{Feature, Program};
use crate::install::{self, Engine};
use crate::trial::find_program;
use crate::workload::wasm::{self, Cache};

const AREA: &str = "surroundings";

pub(super) const CHECKS: &[Check] = &[
    check(AREA, "cache of compiled code", cache),
    check(AREA, "wrun-wasm", link),
    check(AREA, "CRIU", criu),
    check(AREA, "Docker", |here| engine(here, Engine::Docker)),
    check(AREA, "containerd", |here| engine(here, Engine::Containerd)),
    check(AREA, "Podman", |here| engine(here, Engine::Podman)),
    check(AREA, "CRI-O", |here| engine(here, Engine::Crio)),
];

/// Room, in bytes, below which little can be kept: large modules compile to tens of megabytes.
const ROOM: u64 = 128 << 20;

fn cache(here: &Surroundings) -> Option<Verdict> {
    let cost = "Wasm is compiled anew at each start, and so are seccomp filters";
    let mend = "see WRUN_CACHE_DIR in wrun-wasm(7)";
    let path = match wasm::default_dir(here.host.rootless()) {
        Ok(path) => path,
        Err(error) => return Some(Verdict::limited(error.to_string(), cost, mend)),
    };
    if let Err(error) = Cache::open(&path) {
        return Some(Verdict::limited(crate::process::chain(&error), cost, mend));
    }
    let room = rustix::fs::statvfs(&path).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let found = format!("{}, room for {} MiB", path.display(), room >> 20);
    Some(if room < ROOM {
        Verdict::limited(
            found,
            "what does not fit is compiled anew at each start",
            format!("free {} MiB there", ROOM >> 20),
        )
    } else {
        Verdict::ok(found)
    })
}

/// The second name, under which every container must be Wasm.
fn link(here: &Surroundings) -> Option<Verdict> {
    let own = here.program.canonicalize().ok()?;
    Some(match find_program("wrun-wasm") {
        None => Verdict::ok("not installed; only an engine that is told of a runtime of this name needs it"),
        Some(path) if path.canonicalize().is_ok_and(|path| path == own) => {
            Verdict::ok(path.display().to_string())
        }
        Some(path) => Verdict::limited(
            format!("{} is not this wrun ({})", path.display(), own.display()),
            "Wasm images that an engine gives to wrun-wasm run by another version",
            format!("ln -sf {} {}", own.display(), path.display()),
        ),
    })
}

/// What dumps and restores processes; it is asked itself what it can do on this kernel.
fn criu(_: &Surroundings) -> Option<Verdict> {
    let program = match Program::find() {
        Ok(program) => program,
        Err(error) => {
            let cost = "checkpoint and restore do not work";
            return Some(Verdict::limited(
                crate::process::chain(&error),
                cost,
                "the package criu",
            ));
        }
    };
    Some(match program.require(Feature::MemoryTracking) {
        Ok(()) => Verdict::ok("answers"),
        Err(error) => Verdict::limited(
            crate::process::chain(&error),
            "checkpoint --pre-dump does not work",
            "a kernel with CONFIG_MEM_SOFT_DIRTY, or a newer CRIU",
        ),
    })
}

fn engine(here: &Surroundings, engine: Engine) -> Option<Verdict> {
    find_program(engine.program())?;
    // A user cannot read all of root's, and has Docker's and Podman's of his own.
    let path = engine.config(install::config_home().as_deref())?;
    let (title, name) = (engine.title(), engine.name());
    let cost = format!("{title} does not run containers by this wrun");
    let install = format!("wrun install {name}");
    Some(match install::look(engine, &path) {
        Err(error) => Verdict::limited(
            crate::process::chain(&error),
            format!("{title} may not start"),
            "mend the file",
        ),
        Ok(None) => Verdict::limited(format!("{} does not name wrun", path.display()), cost, install),
        Ok(Some(part)) if !Path::new(&part.program).exists() => Verdict::limited(
            format!("{} names {}, which is not there", path.display(), part.program),
            format!("{title} cannot run containers by wrun"),
            format!("{install}, or {install} --undo"),
        ),
        Ok(Some(part))
            if Path::new(&part.program).canonicalize().ok() != here.program.canonicalize().ok() =>
        {
            Verdict::limited(
                format!("{} names {}", path.display(), part.program),
                cost,
                install,
            )
        }
        Ok(Some(part)) if part.default => {
            Verdict::ok(format!("{} names wrun as the default", path.display()))
        }
        Ok(Some(_)) => Verdict::ok(format!("{} names wrun", path.display())),
    })
}
