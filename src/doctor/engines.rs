//! What wrun works with: its own files, the engines that call it, and the programs that it calls.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Check, Surroundings, Verdict, check};
use crate::criu::{Feature, Program};
use crate::install::{self, Engine, Known};
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
    let (root, user) = (engine.config(None)?, user_s(engine));
    let read = |path: &PathBuf| install::look(engine, path);
    // Podman looks into both files, and Docker is root's or the user's own.
    let looked: Vec<_> = [Some(root), user.clone()]
        .into_iter()
        .flatten()
        .map(|path| (read(&path), path))
        .collect();
    let knows = looked
        .iter()
        .rev()
        .find(|(known, _)| matches!(known, Ok(Some(_))));
    let (known, path) = knows
        .or_else(|| looked.iter().find(|(known, _)| known.is_err()))
        .or(looked.first())?;
    Some(match known {
        Err(error) => unreadable(engine, error),
        Ok(None) => {
            let cost = format!("{} does not run containers by this wrun", engine.title());
            let names: Vec<_> = looked
                .iter()
                .map(|(_, path)| path.display().to_string())
                .collect();
            let without = match &names[..] {
                [one] => format!("{one} does not name wrun"),
                all => format!("neither {} names wrun", all.join(" nor ")),
            };
            Verdict::limited(without, cost, install_command(engine, user.is_some()))
        }
        Ok(Some(known)) => named(here, engine, path, known, user.as_ref() == Some(path)),
    })
}

/// The file that the calling user has for an engine of his own; of Docker only where he runs one himself.
fn user_s(engine: Engine) -> Option<PathBuf> {
    let path = engine.config(Some(&install::config_home().ok()??))?;
    let socket = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("docker.sock"));
    let own = engine != Engine::Docker || path.exists() || socket.is_some_and(|socket| socket.exists());
    own.then_some(path)
}

/// What makes the engine know us: of the user himself, or of root.
fn install_command(engine: Engine, own: bool) -> String {
    let sudo = if own || rustix::process::geteuid().is_root() {
        ""
    } else {
        "sudo "
    };
    format!("{sudo}wrun install {}", engine.name())
}

fn unreadable(engine: Engine, error: &install::InstallError) -> Verdict {
    let found = crate::process::chain(error);
    let title = engine.title();
    match error {
        install::InstallError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Verdict::limited(
                found,
                format!("it is not known whether {title} runs containers by this wrun"),
                "sudo wrun doctor",
            )
        }
        _ => Verdict::limited(found, format!("{title} may not start"), "mend the file"),
    }
}

/// What follows from a configuration that names us.
fn named(here: &Surroundings, engine: Engine, path: &Path, known: &Known, own: bool) -> Verdict {
    let install = install_command(engine, own);
    let program = Path::new(&known.part.program);
    let names = format!("{} names {}", path.display(), program.display());
    let broken = |what: &str| {
        Verdict::limited(
            format!("{names}, which {what}"),
            format!("{} cannot run containers by wrun", engine.title()),
            format!("{install}, or {install} --undo"),
        )
    };
    if !program.exists() {
        return broken("is not there");
    }
    if !program.is_file() || rustix::fs::access(program, Access::EXEC_OK).is_err() {
        return broken("is no program that can be executed");
    }
    if program.canonicalize().ok() != here.program.canonicalize().ok() {
        let cost = format!("{} does not run containers by this wrun", engine.title());
        return Verdict::limited(names, cost, install);
    }
    if let Some(obstacle) = known.obstacle {
        return Verdict::limited(
            format!("{} names wrun, but: {obstacle}", path.display()),
            format!("{} does not run pods by wrun", engine.title()),
            format!("mend {}", path.display()),
        );
    }
    let default = if known.part.default { " as the default" } else { "" };
    Verdict::ok(format!("{} names wrun{default}", path.display()))
}
