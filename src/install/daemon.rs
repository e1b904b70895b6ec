//! What only an engine's own program can tell of a configuration: whether it would take it, and what it makes of all
//! that it reads besides. Must change nothing.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::settings::{Keys, version};
use super::{Engine, toml, version_of};

/// Whether `engine` would start with `new` in the place of `config`.
///
/// # Errors
/// What it has against it, in a sentence.
pub(super) fn accepts(engine: Engine, config: &Path, new: &Path, default: bool) -> Result<(), String> {
    if engine != Engine::Docker {
        return Ok(());
    }
    if default && has_default_by_flag(config) {
        return Err(
            "dockerd was started with --default-runtime, and fails where its file has default-runtime too: take the \
             option away (systemctl edit docker), or leave --default out"
                .to_owned(),
        );
    }
    // Another user's dockerd is started by rootlesskit, and would refuse to look at all.
    if !rustix::process::geteuid().is_root() || version_of(engine) < Some((23, 0)) {
        return Ok(());
    }
    let mut command = Command::new(engine.program());
    command.arg("--validate").arg("--config-file").arg(new);
    match command.stdin(Stdio::null()).output() {
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            // It is not yet where it would be.
            let reason = last
                .unwrap_or_default()
                .replace(&*new.to_string_lossy(), &config.to_string_lossy());
            Err(format!("dockerd --validate does not take it: {reason}"))
        }
        _ => Ok(()),
    }
}

/// Whether a dockerd that runs with the file `config` got its default runtime as an option.
fn has_default_by_flag(config: &Path) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| gives_default(&line, config))
}

/// The same of a command line whose words end in NUL.
fn gives_default(line: &[u8], config: &Path) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let program = words[0].rsplit(|byte| *byte == b'/').next();
    if program != Some(Engine::Docker.program().as_bytes()) {
        return false;
    }
    let option = |name: &[u8]| {
        words
            .iter()
            .enumerate()
            .find_map(|(at, word)| match word.strip_prefix(name)? {
                [] => words.get(at + 1).copied(),
                [b'=', value @ ..] => Some(value),
                _ => None,
            })
    };
    let file = option(b"--config-file").unwrap_or(b"/etc/docker/daemon.json");
    let file = Path::new(std::ffi::OsStr::from_bytes(file));
    let same = file == config || file.canonicalize().is_ok_and(|file| file == config);
    same && option(b"--default-runtime").is_some()
}

/// Whether systemd is to make our cgroups under containerd, as it does runc's: by all that containerd reads with
/// `config`, or `host` where there is no such file yet.
pub fn systemd_cgroup(config: &Path, host: bool) -> bool {
    if !config.exists() {
        return host;
    }
    let mut command = Command::new(Engine::Containerd.program());
    command.arg("--config").arg(config).args(["config", "dump"]);
    let output = command.stdin(Stdio::null()).output();
    let dump = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // containerd's own default where it is not there to be asked.
    dump.is_ok_and(|dump| runc_has_systemd(&dump).unwrap_or(false))
}

fn runc_has_systemd(dump: &str) -> Option<bool> {
    let document = toml::parse(dump).ok()?;
    let keys = Keys::of(Engine::Containerd, version(Engine::Containerd, &document).ok()?);
    let flag = [&keys.runtimes[..], &["runc", "options", "SystemdCgroup"]].concat();
    toml::get(&document, &flag)?.as_bool()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_dockerd_counts_for_its_own_file() {
        let (ours, other) = (Path::new("/etc/docker/daemon.json"), Path::new("/x/daemon.json"));
        for (line, config, gives) in [
            ("/usr/sbin/dockerd\0--default-runtime\0crun\0", ours, true),
            ("dockerd\0--default-runtime=crun\0", ours, true),
            ("dockerd\0--default-runtime=crun\0", other, false),
            (
                "dockerd\0--default-runtime=crun\0--config-file\0/x/daemon.json\0",
                other,
                true,
            ),
            ("dockerd\0--config-file=/x/daemon.json\0", other, false),
            ("docker\0--default-runtime=crun\0", ours, false),
            ("", ours, false),
        ] {
            assert_eq!(gives_default(line.as_bytes(), config), gives, "{line:?}");
        }
    }

    #[test]
    fn runc_s_cgroups_are_read_out_of_each_form() {
        for (version, plugin) in [
            (2, "io.containerd.grpc.v1.cri"),
            (3, "io.containerd.cri.v1.runtime"),
        ] {
            let dump = format!(
                "version = {version}\n[plugins.'{plugin}'.containerd.runtimes.runc.options]\nSystemdCgroup = true\n"
            );
            assert_eq!(runc_has_systemd(&dump), Some(true));
        }
        assert_eq!(runc_has_systemd("version = 2\n"), None);
    }
}
