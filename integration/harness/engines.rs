//! How the tests have engines set up.

use super::facts::Need;

/// Whether engines are to have systemd make the cgroups of containers: where it can, unless `WRUN_TEST_CGROUPFS` is set.
pub fn systemd_makes_cgroups() -> bool {
    Need::Systemd.missing().is_none() && std::env::var_os("WRUN_TEST_CGROUPFS").is_none()
}
