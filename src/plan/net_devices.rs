//! `linux.netDevices`: which of the host's network devices are moved into the container.

use serde::Serialize;

use super::PlanError;
use super::namespaces::{Kind, Namespaces};
use crate::host::Host;
use crate::spec::Spec;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container. With `%d` in it a number is given out (`eth%d`).
    pub name: String,
}

/// Plans the moves.
pub(super) fn build(spec: &Spec, namespaces: &Namespaces, host: &Host) -> Result<Vec<NetDevice>, PlanError> {
    let devices = &spec.config.linux.net_devices;
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let refused = |problem| Err(PlanError::invalid(spec, "linux.netDevices", problem));
    if host.rootless() {
        return refused("moving network devices needs root's rights on the host");
    }
    match namespaces.joins(Kind::Network) {
        Some(path) if host.is_own_namespace(Kind::Network.link(), path) => {
            return refused("the devices would be moved to where they are: the network namespace is our own");
        }
        _ => {}
    }
    let device = |(host, device): (&String, &Option<crate::spec::model::NetDevice>)| NetDevice {
        host: host.clone(),
        name: match device {
            Some(device) if !device.name.is_empty() => device.name.clone(),
            _ => host.clone(),
        },
    };
    Ok(devices.iter().map(device).collect())
}
