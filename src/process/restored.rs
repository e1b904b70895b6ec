//! What `create` does in a container's own namespaces, for those that CRIU has made.
//!
//! CRIU leaves the network empty, as we ask it to, since engines make it anew; but the loopback interface, sysctls and
//! devices are ours. And the protection of mounts is checked by setting it again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::sched::CloneFlags;

use super::{LaunchError, init, net_devices};
use crate::plan::Plan;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::rootfs;
use crate::sys::fork::run_in_child;

/// Sets up the network namespace of process `pid`, if the plan makes one new. Must come before hooks look at it.
///
/// # Errors
/// A device that cannot be moved, or a setting that cannot be made, which is named.
pub fn renew_network(pid: i32, plan: &Plan) -> Result<(), LaunchError> {
    if !plan.namespaces.is_new(Kind::Network) {
        return Ok(());
    }
    let own = open(pid, Kind::Network)?;
    if !plan.net_devices.is_empty() {
        net_devices::move_all(&plan.net_devices, own.as_fd())?;
    }
    visit(&own, || set_up_network(&plan.namespaces))
}

/// Protects the mounts of process `pid` as the plan says. Must come before the process goes on.
///
/// # Errors
/// A mount that cannot be protected.
pub fn protect_mounts(pid: i32, plan: &Plan) -> Result<(), LaunchError> {
    if !plan.namespaces.is_new(Kind::Mount) {
        return Ok(());
    }
    let own = open(pid, Kind::Mount)?;
    visit(&own, || {
        rootfs::protect_again(&plan.rootfs).map_err(|error| crate::reason::chain(&error))
    })
}

fn open(pid: i32, kind: Kind) -> Result<File, LaunchError> {
    File::open(format!("/proc/{pid}/ns/{}", kind.link()))
        .map_err(|error| LaunchError::Step("open a namespace of the container", error))
}

/// Does `work` in a namespace, in a process of its own, which stays there.
fn visit(own: &File, work: impl FnOnce() -> Result<(), String>) -> Result<(), LaunchError> {
    let step = |action| move |source: io::Error| LaunchError::Step(action, source);
    let (mut reader, mut writer) = io::pipe().map_err(step("make a pipe"))?;
    let child = run_in_child(|| {
        let entered = nix::sched::setns(own, CloneFlags::empty())
            .map_err(|error| format!("cannot enter a namespace of the container: {error}"));
        let text = match entered.and_then(|()| work()) {
            Ok(()) => "done".to_owned(),
            Err(error) => error,
        };
        // The parent waits for it.
        let _ = writer.write_all(text.as_bytes());
        0
    })
    .map_err(step("make a process for a namespace of the container"))?;
    drop(writer);
    let mut said = String::new();
    let heard = reader.read_to_string(&mut said);
    // What it said is all there is to know.
    let _ = nix::sys::wait::waitpid(child, None);
    heard.map_err(step("hear of a namespace of the container"))?;
    match said.as_str() {
        "done" => Ok(()),
        "" => Err(LaunchError::Ended(
            "a helper in a namespace of the container".to_owned(),
        )),
        _ => Err(LaunchError::Said(said)),
    }
}

fn set_up_network(namespaces: &Namespaces) -> Result<(), String> {
    crate::sys::net::loopback_up()
        .map_err(|error| format!("cannot bring the loopback interface up: {error}"))?;
    let sysctl = namespaces
        .sysctl
        .iter()
        .filter(|(key, _)| key.starts_with("net."));
    let of_network = Namespaces {
        sysctl: sysctl.map(|(key, value)| (key.clone(), value.clone())).collect(),
        ..Namespaces::default()
    };
    init::set_sysctls(&of_network).map_err(|error| crate::reason::chain(&error))
}
