//! Which programs are installed, and the versions of engines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where a program is, by PATH and by the places that PATH often lacks for a normal user.
pub fn find_program(name: &str) -> Option<PathBuf> {
    places(name).next()
}

/// Every file of that name there.
fn places(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = path.split(':').map(str::to_owned).collect();
    dirs.extend(
        [
            "/usr/local/sbin",
            "/usr/sbin",
            "/sbin",
            "/usr/local/bin",
            "/usr/bin",
            "/bin",
        ]
        .map(str::to_owned),
    );
    let files = dirs.into_iter().map(move |dir| Path::new(&dir).join(name));
    files.filter(|file| file.is_file())
}

/// Where a program of PostgreSQL's server is, which distributions keep apart, by version.
pub fn find_postgres(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let kept_apart = versions.map(|version| version.path().join("bin").join(name));
    kept_apart
        .filter(|file| file.is_file())
        .chain(places(name))
        .next()
}

/// Whether a command ends with exit code 0.
pub fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The 20 of `Docker version 20.10.24`.
pub fn docker_version() -> Option<u32> {
    static VERSION: OnceLock<Option<u32>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let program = find_program("dockerd")?;
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.split("version ").nth(1)?.split('.').next()?.parse().ok()
    })
}

/// A client whose `docker build` uses BuildKit: of 18.09 and later by itself, of 23 and later with the plugin buildx. A
/// newer one without the plugin may stand before an older one in PATH.
pub fn client_with_buildkit() -> Option<PathBuf> {
    static CLIENT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let mut clients = places("docker");
        clients.find(|path| {
            let help = Command::new(path)
                .args(["build", "--help"])
                .env("DOCKER_BUILDKIT", "1")
                .output();
            // The other builder has no such flag.
            help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--secret"))
        })
    };
    CLIENT.get_or_init(find).clone()
}

/// Whether Compose is Docker's plugin, which is its second version.
pub fn compose_plugin() -> bool {
    static PLUGIN: OnceLock<bool> = OnceLock::new();
    *PLUGIN.get_or_init(|| succeeds("docker", &["compose", "version"]))
}

/// Whether Compose is a program of its own, which is its first version. It may be here and not work: it is older than some
/// of the Pythons that it is installed with.
pub fn compose_program() -> bool {
    static PROGRAM: OnceLock<bool> = OnceLock::new();
    *PROGRAM.get_or_init(|| succeeds("docker-compose", &["version"]))
}

/// Of `podman version 4.3.1`.
pub fn podman_version() -> Option<(u32, u32)> {
    version_of("podman", |text| text.split_whitespace().last())
}

/// Of `containerd github.com/containerd/containerd 1.6.20 …` or `…/v2 v2.1.9 …`.
pub fn containerd_version() -> Option<(u32, u32)> {
    version_of("containerd", |text| text.split_whitespace().nth(2))
}

/// The first two numbers of what `word` finds in a program's `--version`; nothing where there is no such program.
fn version_of(program: &str, word: fn(&str) -> Option<&str>) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = word(&text)?.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The directory of CNI's plugins.
pub fn network_plugins() -> Option<&'static Path> {
    let mut places = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]
        .into_iter()
        .map(Path::new);
    places.find(|dir| {
        ["loopback", "ptp", "host-local"]
            .iter()
            .all(|name| dir.join(name).is_file())
    })
}
