//! Addresses as guests write them: `{pointer, length}` of a buffer, and the port beside it.
//!
//! V1 tells the family by the buffer's length, 4 or 16 bytes. V2 also knows a buffer of 128 bytes: the family as
//! u16, then an IP address or the path of a unix socket.

use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketAddrV4, SocketAddrV6};

use super::errno::{Errno, Result};
use super::memory::Memory;

/// Bytes of V2's large buffer, and of a path in it.
const STORAGE: u32 = 128;
const IN_STORAGE: usize = 126;

/// Bytes of `sun_path` of unix(7).
const MOST_OF_A_PATH: usize = 108;

/// Families as numbered by the extension.
pub const UNSPECIFIED: u8 = 0;
pub const INET4: u8 = 1;
pub const INET6: u8 = 2;
pub const UNIX: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Where a guest wants to bind, connect or send to.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// No peer any more, for datagrams.
    Unspecified,
    Internet(SocketAddr),
    /// A path in the guest's root, without its NUL.
    Unix(Vec<u8>),
}

impl Target {
    /// Reads the address at `pointer`. Of `port` the low half counts, as guests pass it sign-extended, too.
    pub fn read(memory: &Memory<'_>, pointer: u32, port: u32, version: Version) -> Result<Self> {
        let buffer = Buffer::read(memory, pointer)?;
        let bytes = memory.bytes(buffer.pointer, buffer.length)?;
        let port = port as u16;
        match (bytes.len(), version) {
            (4 | 16, _) => Ok(Self::internet(bytes, port)),
            (128, Version::V2) => {
                let (family, address) = bytes.split_at(2);
                match (family[0], family[1]) {
                    (UNSPECIFIED, 0) => Ok(Self::Unspecified),
                    (INET4, 0) => Ok(Self::internet(&address[..4], port)),
                    (INET6, 0) => Ok(Self::internet(&address[..16], port)),
                    (UNIX, 0) => path(address).map(Self::Unix),
                    _ => Err(Errno::INVAL),
                }
            }
            _ => Err(Errno::INVAL),
        }
    }

    /// Of 4 or 16 bytes.
    fn internet(bytes: &[u8], port: u16) -> Self {
        let address: IpAddr = match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => bytes.into(),
            Err(_) => std::array::from_fn::<u8, 16, _>(|index| bytes[index]).into(),
        };
        Self::Internet(SocketAddr::new(address, port))
    }
}

/// A path up to its NUL. An empty one would ask for an abstract socket, which the guest's file system knows
/// nothing of and so cannot grant.
fn path(bytes: &[u8]) -> Result<Vec<u8>> {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match length {
        0 => Err(Errno::ACCES),
        MOST_OF_A_PATH.. => Err(Errno::NAMETOOLONG),
        _ => Ok(bytes[..length].to_vec()),
    }
}

/// What the host says an address is.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    Internet(SocketAddr),
    /// Empty where the socket has no path.
    Unix(Vec<u8>),
}

impl Known {
    pub fn of(address: &SocketAddrAny) -> Option<Self> {
        match address.address_family() {
            AddressFamily::INET => SocketAddrV4::try_from(address.clone())
                .ok()
                .map(|address| Self::Internet(address.into())),
            AddressFamily::INET6 => SocketAddrV6::try_from(address.clone())
                .ok()
                .map(|address| Self::Internet(address.into())),
            AddressFamily::UNIX => {
                let address = SocketAddrUnix::try_from(address.clone()).ok()?;
                Some(Self::Unix(address.path_bytes().unwrap_or_default().to_vec()))
            }
            _ => None,
        }
    }

    pub fn family(&self) -> u8 {
        match self {
            Self::Internet(SocketAddr::V4(_)) => INET4,
            Self::Internet(SocketAddr::V6(_)) => INET6,
            Self::Unix(_) => UNIX,
        }
    }

    /// 0 for what has none.
    pub fn port(&self) -> u16 {
        match self {
            Self::Internet(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Internet(SocketAddr::V4(address)) => address.ip().octets().to_vec(),
            Self::Internet(SocketAddr::V6(address)) => address.ip().octets().to_vec(),
            Self::Unix(path) => path.clone(),
        }
    }
}

/// A guest's buffer for an address.
#[derive(Clone, Copy)]
pub struct Buffer {
    pointer: u32,
    pub length: u32,
}

impl Buffer {
    /// Reads where the buffer is, and sees that it is in the guest's memory.
    pub fn read(memory: &Memory<'_>, pointer: u32) -> Result<Self> {
        let words: [u8; 8] = memory.array(pointer)?;
        let [p0, p1, p2, p3, l0, l1, l2, l3] = words;
        let buffer = Self {
            pointer: u32::from_le_bytes([p0, p1, p2, p3]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        };
        memory.check(buffer.pointer, buffer.length)?;
        Ok(buffer)
    }

    pub fn is_storage(self) -> bool {
        self.length == STORAGE
    }

    /// Writes the address alone; whether it fits.
    pub fn put_address(self, memory: &mut Memory<'_>, known: &Known) -> Result<bool> {
        let mut bytes = known.bytes();
        if known.family() == UNIX {
            bytes.resize(MOST_OF_A_PATH, 0);
        }
        if bytes.len() > self.length as usize {
            return Ok(false);
        }
        memory.put(self.pointer, &bytes)?;
        Ok(true)
    }

    /// Writes family and address into a buffer of 128 bytes, and nothing of what was there is left.
    pub fn put_storage(self, memory: &mut Memory<'_>, known: Option<&Known>) -> Result<()> {
        let mut storage = vec![known.map_or(UNSPECIFIED, Known::family), 0];
        storage.extend(known.map(Known::bytes).unwrap_or_default());
        storage.truncate(2 + IN_STORAGE);
        storage.resize(STORAGE as usize, 0);
        memory.put(self.pointer, &storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory with an address struct at 0 for a buffer at 64.
    fn with(buffer: &[u8]) -> [u8; 256] {
        let mut bytes = [0xff; 256];
        bytes[..4].copy_from_slice(&64u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&(buffer.len() as u32).to_le_bytes());
        bytes[64..64 + buffer.len()].copy_from_slice(buffer);
        bytes
    }

    fn read(buffer: &[u8], port: u32, version: Version) -> Result<Target> {
        Target::read(&Memory::new(&mut with(buffer)), 0, port, version)
    }

    fn storage(family: u16, address: &[u8]) -> Vec<u8> {
        let mut bytes = family.to_le_bytes().to_vec();
        bytes.extend(address);
        bytes.resize(128, 0);
        bytes
    }

    #[test]
    fn the_length_tells_the_family() {
        let internet = |text: &str| Ok(Target::Internet(text.parse().expect("an address")));
        for version in [Version::V1, Version::V2] {
            assert_eq!(read(&[127, 0, 0, 1], 80, version), internet("127.0.0.1:80"));
            let one = std::net::Ipv6Addr::LOCALHOST.octets();
            assert_eq!(read(&one, 0xffff_ffff, version), internet("[::1]:65535"));
            for length in [0, 1, 3, 5, 15, 17, 127, 129] {
                assert_eq!(read(&vec![0; length], 80, version), Err(Errno::INVAL), "{length}");
            }
        }
    }

    #[test]
    fn large_buffers_are_for_v2_alone() {
        let four = storage(1, &[10, 0, 0, 1]);
        assert_eq!(read(&four, 80, Version::V1), Err(Errno::INVAL));
        let ten = Target::Internet("10.0.0.1:80".parse().expect("an address"));
        assert_eq!(read(&four, 80, Version::V2), Ok(ten));
        assert_eq!(read(&storage(0, &[]), 80, Version::V2), Ok(Target::Unspecified));
        for family in [4, 0x101, 0x301] {
            assert_eq!(read(&storage(family, &[]), 80, Version::V2), Err(Errno::INVAL));
        }
    }

    #[test]
    fn unix_sockets_have_a_path() {
        let unix = |path: &[u8]| read(&storage(3, path), 0, Version::V2);
        assert_eq!(
            unix(b"/run/a.sock\0rest"),
            Ok(Target::Unix(b"/run/a.sock".to_vec()))
        );
        assert_eq!(unix(&[b'x'; 107]), Ok(Target::Unix(vec![b'x'; 107])));
        assert_eq!(unix(&[b'x'; 108]), Err(Errno::NAMETOOLONG));
        assert_eq!(unix(&[b'x'; 126]), Err(Errno::NAMETOOLONG));
        assert_eq!(unix(b"\0abstract"), Err(Errno::ACCES));
        assert_eq!(unix(b""), Err(Errno::ACCES));
    }

    #[test]
    fn buffers_outside_are_refused() {
        let mut bytes = with(&[127, 0, 0, 1]);
        bytes[..4].copy_from_slice(&253u32.to_le_bytes());
        let memory = Memory::new(&mut bytes);
        assert_eq!(Target::read(&memory, 0, 80, Version::V1), Err(Errno::FAULT));
        assert_eq!(Target::read(&memory, 250, 80, Version::V1), Err(Errno::FAULT));
    }

    #[test]
    fn addresses_are_written_as_far_as_they_fit() {
        let six = Known::Internet("[::1]:80".parse().expect("an address"));
        let mut bytes = with(&[7; 4]);
        let mut memory = Memory::new(&mut bytes);
        let buffer = Buffer::read(&memory, 0).expect("a buffer");
        assert_eq!(buffer.put_address(&mut memory, &six), Ok(false));
        assert_eq!(memory.bytes(64, 4), Ok(&[7; 4][..]));
        let four = Known::Internet("1.2.3.4:80".parse().expect("an address"));
        assert_eq!(buffer.put_address(&mut memory, &four), Ok(true));
        assert_eq!(memory.bytes(64, 5), Ok(&[1, 2, 3, 4, 0xff][..]));
    }

    #[test]
    fn storage_is_written_whole() {
        let mut bytes = with(&[7; 128]);
        let mut memory = Memory::new(&mut bytes);
        let buffer = Buffer::read(&memory, 0).expect("a buffer");
        let known = Known::Unix(b"/a".to_vec());
        buffer.put_storage(&mut memory, Some(&known)).expect("it fits");
        assert_eq!(memory.bytes(64, 128), Ok(&storage(3, b"/a")[..]));
        buffer.put_storage(&mut memory, None).expect("it fits");
        assert_eq!(memory.bytes(64, 129), Ok(&[&[0; 128][..], &[0xff]].concat()[..]));
    }
}
