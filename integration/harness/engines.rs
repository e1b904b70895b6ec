//! What the engines that are installed are, and how the tests have them set up.

use std::path::Path;
use std::process::Command;

use super::facts::Need;

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

/// The first number of containerd's version, out of `containerd github.com/containerd/containerd 1.6.20 …` or `…/v2
/// v2.1.9 …`; 0 where there is none.
pub fn containerd_version() -> u32 {
    let output = Command::new("containerd").arg("--version").output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    let number = version.trim_start_matches('v').split('.').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether engines are to have systemd make the cgroups of containers: where it can, unless `WRUN_TEST_CGROUPFS` is set.
pub fn systemd_makes_cgroups() -> bool {
    Need::Systemd.missing().is_none() && std::env::var_os("WRUN_TEST_CGROUPFS").is_none()
}
