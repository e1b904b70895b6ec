//! Moves network devices of the host into the container's network namespace (`linux.netDevices`), with their
//! addresses, and brings them up. Done by the parent, which has rights over both namespaces.
//!
//! The netlink messages are libcontainer's. A device that was moved is not moved back when what follows fails:
//! with the namespace a virtual device ends, and the kernel gives a physical one back (network_namespaces(7)).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libcontainer::network::NetworkError;
use libcontainer::network::address::AddressClient;
use libcontainer::network::cidr::CidrAddress;
use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::sched::{CloneFlags, setns};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::plan::net_devices::NetDevice;

/// Flags and scope of linux/if_addr.h and linux/rtnetlink.h.
const IFA_F_PERMANENT: u8 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;
/// How many numbers are tried for `eth%d`; the kernel has room for as many.
const NUMBERS: u32 = 32768;

#[derive(Debug, thiserror::Error)]
pub enum NetDeviceError {
    #[error("linux.netDevices: cannot reach the container's network")]
    Namespace(#[source] io::Error),
    #[error("linux.netDevices.{device}: cannot {action}")]
    Device {
        device: String,
        action: &'static str,
        source: io::Error,
    },
    #[error("linux.netDevices.{device}: the container's network already has a device {name}")]
    Taken { device: String, name: String },
}

/// Moves all devices into a network namespace, which must be another one than ours.
pub fn move_all(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<(), NetDeviceError> {
    let host = Network::here().map_err(NetDeviceError::Namespace)?;
    let inside = Network::of(namespace).map_err(NetDeviceError::Namespace)?;
    let mut route = Route {
        host,
        inside,
        namespace,
    };
    devices.iter().try_for_each(|device| route.take(device))
}

/// Sockets that reach into one network namespace.
struct Network {
    names: OwnedFd,
    links: LinkClient,
    addresses: AddressClient,
}

impl Network {
    fn here() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Self {
            names: rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?,
            links: LinkClient::new(create_network_client()).map_err(cause)?,
            addresses: AddressClient::new(create_network_client()).map_err(cause)?,
        })
    }

    /// A socket belongs to the namespace in which it was made; there is one thread, so that nobody else goes
    /// there with us.
    fn of(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let home = File::open("/proc/self/ns/net")?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let network = Self::here();
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        network
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.names, name)?)
    }

    fn has(&self, name: &str) -> Result<bool, NetDeviceError> {
        match name_to_index(&self.names, name) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NODEV) => Ok(false),
            Err(error) => Err(NetDeviceError::Namespace(error.into())),
        }
    }

    /// The permanent addresses of global scope, which the runtime spec wants kept.
    fn lasting_addresses(&mut self, index: u32) -> io::Result<Vec<CidrAddress>> {
        let all = self.addresses.get_by_index(index).map_err(cause)?;
        let lasting = all.iter().filter(|address| {
            let header = &address.header;
            header.flags.bits() & IFA_F_PERMANENT != 0 && u8::from(header.scope) == RT_SCOPE_UNIVERSE
        });
        Ok(lasting.map(CidrAddress::from).collect())
    }
}

/// From the host into the container.
struct Route<'a> {
    host: Network,
    inside: Network,
    namespace: BorrowedFd<'a>,
}

impl Route<'_> {
    fn take(&mut self, device: &NetDevice) -> Result<(), NetDeviceError> {
        let step = |action: &'static str| {
            move |source: io::Error| NetDeviceError::Device {
                device: device.host.clone(),
                action,
                source,
            }
        };
        let index = self
            .host
            .index(&device.host)
            .map_err(step("find it on the host"))?;
        let name = self.name_inside(device)?;
        // Before it is taken down, with which its IPv6 addresses go.
        let addresses = self
            .host
            .lasting_addresses(index)
            .map_err(step("read its addresses"))?;
        self.change_namespace(device, index, &name)?;
        let index = self
            .inside
            .index(&name)
            .map_err(step("find it where it was moved"))?;
        for CidrAddress { address, prefix_len } in addresses {
            let added = self.inside.addresses.add(index, address, prefix_len);
            added
                .map_err(cause)
                .map_err(step("give it its addresses again"))?;
        }
        let up = self.inside.links.set_up(index);
        up.map_err(cause).map_err(step("bring it up"))
    }

    /// The name that the device gets: for `eth%d` with the first number that is free, as the kernel counts.
    fn name_inside(&self, device: &NetDevice) -> Result<String, NetDeviceError> {
        let taken = || NetDeviceError::Taken {
            device: device.host.clone(),
            name: device.name.clone(),
        };
        if !device.name.contains("%d") {
            // Asked before anything is changed.
            return if self.inside.has(&device.name)? {
                Err(taken())
            } else {
                Ok(device.name.clone())
            };
        }
        for number in 0..NUMBERS {
            let name = device.name.replace("%d", &number.to_string());
            if name.len() < libc::IFNAMSIZ && !self.inside.has(&name)? {
                return Ok(name);
            }
        }
        Err(taken())
    }

    /// Moves and renames in one step. It is down meanwhile, so that nothing on the host uses it under a name
    /// that changes; where the kernel refuses the move, it is brought up again.
    fn change_namespace(&mut self, device: &NetDevice, index: u32, name: &str) -> Result<(), NetDeviceError> {
        let step = |action| {
            move |error| NetDeviceError::Device {
                device: device.host.clone(),
                action,
                source: cause(error),
            }
        };
        let links = &mut self.host.links;
        let link = links.get_by_name(&device.host).map_err(step("look at it"))?;
        let was_up = link.header.flags.bits() & libc::IFF_UP.cast_unsigned() != 0;
        links.set_down(index).map_err(step("take it down"))?;
        let Err(refused) = links.set_ns_fd(index, name, self.namespace.as_raw_fd()) else {
            return Ok(());
        };
        if was_up {
            links
                .set_up(index)
                .map_err(step("move it, nor bring it up again on the host"))?;
        }
        Err(step("move it into the container")(refused))
    }
}

/// libcontainer gives the kernel's error number in words only (`Netlink error: -17`).
fn cause(error: NetworkError) -> io::Error {
    match error {
        NetworkError::Nix(errno) => io::Error::from_raw_os_error(errno as i32),
        NetworkError::IO(error) if error.raw_os_error().is_some() => error,
        other => {
            let text = other.to_string();
            let number = text
                .rsplit(['-', ' '])
                .next()
                .and_then(|number| number.parse().ok());
            match number {
                Some(number) if text.contains('-') => io::Error::from_raw_os_error(number),
                _ => io::Error::other(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_found_in_the_words_of_libcontainer() {
        let io = |text: &str| cause(NetworkError::IO(io::Error::other(text.to_owned()))).raw_os_error();
        assert_eq!(io("Netlink error: -17"), Some(libc::EEXIST));
        assert_eq!(io("Netlink error: code=-1"), Some(libc::EPERM));
        assert_eq!(io("Unexpected done message"), None);
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(cause(NetworkError::IO(denied)).raw_os_error(), Some(libc::EACCES));
        assert!(
            cause(NetworkError::ClientInitializeError)
                .to_string()
                .contains("initialize")
        );
    }
}
