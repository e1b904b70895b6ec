//! `wrun install`.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Invocation, log::Log, write_stdout};
use crate::host::Host;
use crate::install::{self, Change, Part};
use crate::trial::{self, Guest, engine::Outcome};

/// Make wrun known to an engine: edit its configuration, and see that containers run.
///
/// First a native and a Wasm container are run by wrun itself; where they fail, nothing is changed. Then the change
/// is printed as diff(1) would and made, all at once, and what the file was is kept beside it, with .wrun-backup
/// behind its name. A file that says all already is left alone. Last, containers are run through the engine, if it
/// is there, answers and knows wrun by now; what was not tried is said. Nothing is fetched from a network.
///
/// The files are /etc/docker/daemon.json, /etc/containerd/config.toml,
/// /etc/containers/containers.conf.d/wrun.conf and /etc/crio/crio.conf.d/10-wrun.conf; for a user other than root those
/// of Docker and Podman in his ~/.config. containerd 1 takes the runtimes in its file for all there are, so runc is
/// named beside wrun where the file names none. Pods may set the annotations of wrun-wasm(7) under containerd and
/// CRI-O (from 1.30 on). Podman, from 4.4 on, runs images of a Wasm platform by wrun.
///
/// Docker forgets wrun only when it is started anew after --undo; a reload is not enough. Its containers go on over that
/// where its live-restore is on, and end where not.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// The engine.
    #[arg(value_name = "ENGINE", value_enum)]
    engine: Engine,

    /// Print what would change, and change nothing; no container is run either.
    #[arg(long)]
    dry_run: bool,

    /// Make wrun the engine's default runtime, by which containers run that name none.
    #[arg(long, conflicts_with = "undo")]
    default: bool,

    /// Take wrun out of the configuration.
    ///
    /// What the file was before comes back, with its owner, mode and time. Where it was changed by others since then,
    /// or what it was names wrun too, only wrun's part is taken out, and this is said.
    #[arg(long)]
    undo: bool,

    /// Another configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Path of wrun's executable for the engine to call; by default the one that is running.
    #[arg(long, value_name = "PATH", conflicts_with = "undo")]
    program: Option<PathBuf>,

    /// Run no containers.
    #[arg(long)]
    no_check: bool,

    /// Have systemd make the engine read its configuration anew: reload Docker, with --undo restart it; restart
    /// containerd or CRI-O.
    ///
    /// By default the command to do so is only printed. Containers of Docker go on over a reload, those of containerd
    /// over a restart.
    #[arg(long)]
    restart: bool,
}

/// The engines by the names on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Engine {
    Docker,
    Containerd,
    Podman,
    #[value(name = "cri-o", alias = "crio")]
    Crio,
}

impl Engine {
    const fn known(self) -> install::Engine {
        match self {
            Self::Docker => install::Engine::Docker,
            Self::Containerd => install::Engine::Containerd,
            Self::Podman => install::Engine::Podman,
            Self::Crio => install::Engine::Crio,
        }
    }
}

impl Install {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let engine = self.engine.known();
        let config = self.config(engine)?;
        if self.undo {
            let change = install::undo(engine, &config, self.dry_run)?;
            self.tell(engine, &config, &change)?;
            if !change.diff.is_empty() {
                self.reload(engine)?;
            }
            return Ok(0);
        }
        let host = Host::probe(invocation.global.rootless);
        let program = self.program()?;
        if let Some(stranger) = stranger(&program) {
            log.warn(&format!(
                "{} can be changed by others than root, and {} will run it as root: see {}",
                program.display(),
                engine.title(),
                stranger.display()
            ));
        }
        if !self.no_check && !self.dry_run {
            // What wrun itself cannot do must not be in the way of an engine.
            for guest in Guest::ALL {
                trial::run(&program, guest, &host).context(
                    "nothing is changed; wrun doctor may tell more, and --no-check goes on nevertheless",
                )?;
            }
            write_stdout(b"A native and a Wasm container have run by wrun itself.\n")?;
        }
        let part = part(engine, &program, &config, self.default, &host)?;
        let change = install::install(engine, &config, &part, self.dry_run)?;
        self.tell(engine, &config, &change)?;
        if self.dry_run {
            return Ok(0);
        }
        let reloaded = self.reload(engine)?;
        if !self.no_check {
            check(engine, &program, &config, reloaded)?;
        }
        Ok(0)
    }

    fn config(&self, engine: install::Engine) -> anyhow::Result<PathBuf> {
        match &self.config {
            Some(path) => Ok(std::path::absolute(path).context("--config must not be empty")?),
            None => engine
                .config(install::config_home()?.as_deref())
                .with_context(|| {
                    format!(
                        "{} has no configuration of a user's own: this needs root, or --config",
                        engine.title()
                    )
                }),
        }
    }

    /// Our executable, by a path that will still be right tomorrow.
    fn program(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.program {
            Some(path) => std::path::absolute(path).context("--program must not be empty")?,
            None => {
                std::env::current_exe().context("cannot find out where wrun is; say so with --program")?
            }
        };
        let metadata = path
            .metadata()
            .with_context(|| format!("cannot use {} as wrun", path.display()))?;
        if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
            bail!("{} is no executable file", path.display());
        }
        Ok(path)
    }

    fn tell(&self, engine: install::Engine, config: &Path, change: &Change) -> anyhow::Result<()> {
        let mut text = change.diff.clone();
        let state = match (change.diff.is_empty(), self.dry_run, self.undo) {
            (true, _, false) => format!("{} says all of it already: nothing to do.", config.display()),
            (true, _, true) => format!("{} does not know wrun: nothing to undo.", config.display()),
            (false, true, _) => "This is what would change.".to_owned(),
            (false, false, false) => format!(
                "{} is written; {} is to know wrun.",
                config.display(),
                engine.title()
            ),
            (false, false, true) => format!("wrun is out of {}.", config.display()),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{state}");
        for note in &change.notes {
            let _ = writeln!(text, "{note}");
        }
        write_stdout(text.as_bytes())
    }

    /// Makes the engine read its configuration anew, if that is asked for; whether it has.
    fn reload(&self, engine: install::Engine) -> anyhow::Result<bool> {
        let Some(words) = engine.reload(self.undo) else {
            return Ok(true);
        };
        let mut words = words.to_vec();
        if !rustix::process::geteuid().is_root() {
            words.insert(1, "--user");
        }
        let command = words.join(" ");
        if self.dry_run {
            return Ok(false);
        }
        if !self.restart {
            let title = engine.title();
            let what = if self.undo {
                "forgets wrun"
            } else {
                "reads its configuration"
            };
            write_stdout(format!("{title} {what} after: {command}\n").as_bytes())?;
            return Ok(false);
        }
        let status = Command::new(words[0]).args(&words[1..]).status();
        if !status.with_context(|| format!("cannot run {command}"))?.success() {
            bail!("{command} failed; the configuration is changed all the same");
        }
        write_stdout(format!("Done: {command}\n").as_bytes())?;
        Ok(true)
    }
}

/// What the configuration is to say, as far as that depends on the host and on what is installed.
fn part(
    engine: install::Engine,
    program: &Path,
    config: &Path,
    default: bool,
    host: &Host,
) -> anyhow::Result<Part> {
    let version = install::version_of(engine);
    let at_least = |wanted: (u32, u32)| version.is_some_and(|version| version >= wanted);
    Ok(Part {
        program: program
            .to_str()
            .with_context(|| format!("{} is not UTF-8", program.display()))?
            .to_owned(),
        default,
        systemd_cgroup: engine == install::Engine::Containerd
            && install::systemd_cgroup(config, host.systemd()),
        annotations: at_least((1, 30)),
        file_version: if at_least((2, 0)) { 3 } else { 2 },
    })
}

/// Runs containers through the engine, and says what came of it.
fn check(engine: install::Engine, program: &Path, config: &Path, reloaded: bool) -> anyhow::Result<()> {
    let title = engine.title();
    let outcome = trial::engine::run(engine, program, config, reloaded);
    let outcome = outcome.with_context(|| {
        format!(
            "{} is written; wrun install {} --undo takes it back",
            config.display(),
            engine.name()
        )
    });
    let text = match outcome? {
        Outcome::Ran => format!("A native and a Wasm container have run through {title}.\n"),
        Outcome::RanBut(but) => {
            format!("A native and a Wasm container have run through {title}; not tried: {but}.\n")
        }
        Outcome::NotTried(why) if reloaded && engine.reload(false).is_some() => bail!("{title}: {why}"),
        Outcome::NotTried(why) => format!("Not tried through {title}: {why}.\n"),
    };
    write_stdout(text.as_bytes())
}

/// The file or directory by which somebody else than root can change what root's engine runs: on the path as it is
/// called, and on the one to which its links lead.
fn stranger(program: &Path) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let open = |path: &&Path| {
        path.symlink_metadata().is_ok_and(|metadata| {
            let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
            metadata.uid() != 0 || (metadata.mode() & 0o022 != 0 && !sticky && !metadata.is_symlink())
        })
    };
    let real = program.canonicalize().unwrap_or_default();
    let mut all = program.ancestors().chain(real.ancestors());
    all.find(open).map(Path::to_owned)
}
