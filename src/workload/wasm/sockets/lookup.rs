//! `sock_getaddrinfo`: names to addresses, by the container's own /etc/hosts, /etc/services and
//! /etc/resolv.conf. The guest allocates the list of results, and it is filled in.

use std::ffi::{CStr, CString};
use std::net::SocketAddr;

use super::address::{INET4, INET6, UNSPECIFIED};
use super::errno::{Errno, Result};
use super::memory::Memory;
use super::{Arguments, Call};
use crate::sys::name_lookup::{self, Found, Hints};

/// Longest name and service with their NULs, as of <netdb.h> (NI_MAXHOST, NI_MAXSERV).
const LONGEST_NODE: u32 = 1025;
const LONGEST_SERVICE: u32 = 32;

/// The host's flags in the order of the extension's bits.
const FLAGS: [i32; 7] = [
    libc::AI_PASSIVE,
    libc::AI_CANONNAME,
    libc::AI_NUMERICHOST,
    libc::AI_NUMERICSERV,
    libc::AI_V4MAPPED,
    libc::AI_ALL,
    libc::AI_ADDRCONFIG,
];
const CANONNAME: u16 = 1 << 1;

/// Offsets in an entry of the list, an `addrinfo`.
const FLAGS_AT: u32 = 0;
const FAMILY_AT: u32 = 2;
const KIND_AT: u32 = 3;
const PROTOCOL_AT: u32 = 4;
const ADDRESS_LENGTH_AT: u32 = 8;
const ADDRESS_AT: u32 = 12;
const NAME_AT: u32 = 16;
const NAME_LENGTH_AT: u32 = 20;
const NEXT_AT: u32 = 24;
const ENTRY: u32 = 28;

/// Room for a name where the guest does not say how much there is: guest libraries allocate 30 bytes and leave
/// the length at 0.
const USUAL_ROOM: u32 = 30;

/// Services that are known without /etc/services, which a root filesystem with nothing but a guest lacks, and
/// by which guest libraries ask for a port that they then ignore.
const KNOWN_SERVICES: [(&CStr, &CStr); 3] = [(c"http", c"80"), (c"https", c"443"), (c"domain", c"53")];

pub fn get_addrinfo(
    call: &mut Call<'_>,
    [
        node,
        node_length,
        service,
        service_length,
        hints,
        list,
        most,
        count,
    ]: Arguments,
) -> Result<()> {
    let node = text(&call.memory, node, node_length, LONGEST_NODE)?;
    let service = text(&call.memory, service, service_length, LONGEST_SERVICE)?;
    let hint: [u8; ENTRY as usize] = call.memory.array(hints)?;
    let first = call.memory.u32(list)?;
    call.memory.check(count, 4)?;
    if node.is_none() && service.is_none() {
        return Err(Errno::AI_NONAME);
    }
    if most == 0 {
        return Err(Errno::AI_MEMORY);
    }
    let flags = u16::from_le_bytes([hint[FLAGS_AT as usize], hint[FLAGS_AT as usize + 1]]);
    let hints = self::hints(&hint, flags)?;
    if flags & CANONNAME != 0 && node.is_none() {
        return Err(Errno::AI_BADFLAG);
    }
    let mut found = look_up(node.as_deref(), service.as_deref(), hints)?;
    // Raw sockets, which a guest cannot have.
    found.retain(|found| [libc::SOCK_STREAM, libc::SOCK_DGRAM].contains(&found.kind));
    let mut entry = first;
    let mut written = 0;
    for found in found.iter().take(most as usize) {
        if entry == 0 {
            break;
        }
        put(&mut call.memory, entry, flags, found)?;
        written += 1;
        entry = call.memory.u32(entry.checked_add(NEXT_AT).ok_or(Errno::FAULT)?)?;
    }
    call.memory.put_u32(count, written)
}

/// A text up to its NUL, which guests may count as part of it; none where it is empty.
fn text(memory: &Memory<'_>, pointer: u32, length: u32, longest: u32) -> Result<Option<CString>> {
    if length > longest {
        memory.check(pointer, length)?;
        return Err(Errno::AI_NONAME);
    }
    let mut bytes = memory.bytes(pointer, length)?.to_vec();
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    Ok(CString::new(bytes).ok().filter(|text| !text.is_empty()))
}

/// The hints in the C library's numbers.
fn hints(hint: &[u8; ENTRY as usize], flags: u16) -> Result<Hints> {
    if u32::from(flags) >> FLAGS.len() != 0 {
        return Err(Errno::AI_BADFLAG);
    }
    let set = FLAGS.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 != 0);
    Ok(Hints {
        flags: set.fold(0, |all, (_, flag)| all | flag),
        family: match hint[FAMILY_AT as usize] {
            UNSPECIFIED => libc::AF_UNSPEC,
            INET4 => libc::AF_INET,
            INET6 => libc::AF_INET6,
            _ => return Err(Errno::AI_FAMILY),
        },
        kind: match hint[KIND_AT as usize] {
            0 => 0,
            1 => libc::SOCK_DGRAM,
            2 => libc::SOCK_STREAM,
            _ => return Err(Errno::NOSYS),
        },
        protocol: match hint[PROTOCOL_AT as usize] {
            0 => 0,
            1 => libc::IPPROTO_TCP,
            2 => libc::IPPROTO_UDP,
            _ => return Err(Errno::NOSYS),
        },
    })
}

fn look_up(node: Option<&CStr>, service: Option<&CStr>, hints: Hints) -> Result<Vec<Found>> {
    let outcome = name_lookup::look_up(node, service, hints).or_else(|code| {
        let known = KNOWN_SERVICES.iter().find(|(name, _)| service == Some(name));
        match known {
            Some((_, port)) if code == libc::EAI_SERVICE => name_lookup::look_up(node, Some(port), hints),
            _ => Err(code),
        }
    });
    outcome.map_err(Errno::of_lookup)
}

/// Fills an entry of the guest's list in, with the address and the name that it points to.
fn put(memory: &mut Memory<'_>, entry: u32, flags: u16, found: &Found) -> Result<()> {
    let old: [u8; ENTRY as usize] = memory.array(entry)?;
    let word = |at: u32| u32::from_le_bytes(std::array::from_fn(|index| old[at as usize + index]));
    let (family, length, data) = address(&found.address);
    put_address(memory, word(ADDRESS_AT), family, &data)?;
    let name = match &found.canonical_name {
        Some(name) => put_name(memory, word(NAME_AT), word(NAME_LENGTH_AT), name)?,
        None => 0,
    };
    let mut new = old;
    let mut set = |at: u32, bytes: &[u8]| new[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    set(FLAGS_AT, &flags.to_le_bytes());
    set(FAMILY_AT, &[family]);
    set(KIND_AT, &[if found.kind == libc::SOCK_DGRAM { 1 } else { 2 }]);
    let protocol = match found.protocol {
        libc::IPPROTO_TCP => 1,
        libc::IPPROTO_UDP => 2,
        _ => 0,
    };
    set(PROTOCOL_AT, &[protocol]);
    set(ADDRESS_LENGTH_AT, &length.to_le_bytes());
    set(NAME_LENGTH_AT, &name.to_le_bytes());
    memory.put(entry, &new)
}

/// Family, length of the host's `sockaddr`, and its bytes after the family.
fn address(address: &SocketAddr) -> (u8, u32, Vec<u8>) {
    let mut data = address.port().to_be_bytes().to_vec();
    match address {
        SocketAddr::V4(address) => {
            data.extend(address.ip().octets());
            data.extend([0; 8]);
            (INET4, 16, data)
        }
        SocketAddr::V6(address) => {
            data.extend(address.flowinfo().to_be_bytes());
            data.extend(address.ip().octets());
            data.extend(address.scope_id().to_le_bytes());
            (INET6, 28, data)
        }
    }
}

/// A `sockaddr`: family at 0, length of the data at 4, pointer to it at 8. The length that is there says nothing:
/// guest libraries leave it at 0 or 14 and have room for both families.
fn put_address(memory: &mut Memory<'_>, pointer: u32, family: u8, data: &[u8]) -> Result<()> {
    let mut sockaddr: [u8; 12] = memory.array(pointer)?;
    let place = u32::from_le_bytes([sockaddr[8], sockaddr[9], sockaddr[10], sockaddr[11]]);
    memory.put(place, data)?;
    sockaddr[0] = family;
    sockaddr[4..8].copy_from_slice(&(data.len() as u32).to_le_bytes());
    memory.put(pointer, &sockaddr)
}

/// The name with its NUL as far as there is room; gives its length without.
fn put_name(memory: &mut Memory<'_>, pointer: u32, room: u32, name: &CStr) -> Result<u32> {
    let room = if room == 0 { USUAL_ROOM } else { room };
    let length = name.to_bytes().len().min(room as usize - 1);
    let mut bytes = name.to_bytes()[..length].to_vec();
    bytes.push(0);
    memory.put(pointer, &bytes)?;
    Ok(length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(flags: u16, family: u8, kind: u8, protocol: u8) -> [u8; ENTRY as usize] {
        let mut bytes = [0; ENTRY as usize];
        bytes[..2].copy_from_slice(&flags.to_le_bytes());
        bytes[2..5].copy_from_slice(&[family, kind, protocol]);
        bytes
    }

    #[test]
    fn hints_are_checked_and_translated() {
        let of = |flags, family, kind, protocol| hints(&hint(flags, family, kind, protocol), flags);
        let good = of(0b100_0011, 2, 1, 2).expect("good hints");
        assert_eq!(
            good.flags,
            libc::AI_PASSIVE | libc::AI_CANONNAME | libc::AI_ADDRCONFIG
        );
        assert_eq!(
            (good.family, good.kind, good.protocol),
            (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP)
        );
        assert_eq!(of(0x80, 0, 0, 0).expect_err("a bad flag"), Errno::AI_BADFLAG);
        assert_eq!(of(0, 3, 0, 0).expect_err("a bad family"), Errno::AI_FAMILY);
        assert_eq!(of(0, 0, 3, 0).expect_err("a bad kind"), Errno::NOSYS);
        assert_eq!(of(0, 0, 0, 3).expect_err("a bad protocol"), Errno::NOSYS);
    }

    #[test]
    fn addresses_have_the_layout_of_the_host() {
        let (family, length, data) = address(&"1.2.3.4:80".parse().expect("an address"));
        assert_eq!((family, length, data.len()), (1, 16, 14));
        assert_eq!(data[..6], [0, 80, 1, 2, 3, 4]);
        let (family, length, data) = address(&"[::1]:443".parse().expect("an address"));
        assert_eq!((family, length, data.len()), (2, 28, 26));
        assert_eq!((&data[..2], data[21]), (&[1, 187][..], 1));
    }

    #[test]
    fn names_are_cut_to_their_room() {
        let mut bytes = [7; 64];
        let mut memory = Memory::new(&mut bytes);
        assert_eq!(put_name(&mut memory, 0, 4, c"example"), Ok(3));
        assert_eq!(memory.bytes(0, 5), Ok(&b"exa\0\x07"[..]));
        assert_eq!(put_name(&mut memory, 0, 0, c"example"), Ok(7));
        assert_eq!(put_name(&mut memory, 60, 0, c"example"), Err(Errno::FAULT));
        assert_eq!(put_name(&mut memory, 8, 1, c"example"), Ok(0));
    }

    #[test]
    fn texts_end_where_they_end() {
        let mut bytes = *b"host\0more";
        let memory = Memory::new(&mut bytes);
        assert_eq!(text(&memory, 0, 9, 100), Ok(Some(c"host".to_owned())));
        assert_eq!(text(&memory, 0, 3, 100), Ok(Some(c"hos".to_owned())));
        assert_eq!(text(&memory, 4, 3, 100), Ok(None));
        assert_eq!(text(&memory, 0, 0, 100), Ok(None));
        assert_eq!(text(&memory, 0, 9, 8), Err(Errno::AI_NONAME));
        assert_eq!(text(&memory, 0, 99, 8), Err(Errno::FAULT));
    }
}
