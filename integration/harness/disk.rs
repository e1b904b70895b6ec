//! Disks, for what is limited per device.

use std::process::Command;

use super::Case;

/// A disk made of a file, for one test.
pub struct Disk {
    pub path: String,
    pub minor: u32,
}

impl Disk {
    /// The number of the driver `loop`.
    pub const MAJOR: u32 = 7;

    /// Makes one in the test's directory.
    pub fn new(case: &Case) -> Self {
        let file = case.path("disk");
        std::fs::write(&file, vec![0; 1 << 20]).expect("a file");
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", &file]);
        let path = case.finish(losetup).ok().stdout.trim().to_owned();
        let minor = path.trim_start_matches("/dev/loop").parse().expect("a number");
        Self { path, minor }
    }

    /// Chooses its I/O scheduler.
    pub fn set_scheduler(&self, name: &str) {
        let file = format!("/sys/block/loop{}/queue/scheduler", self.minor);
        std::fs::write(file, name).expect("the kernel has it");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.path]).status();
    }
}
