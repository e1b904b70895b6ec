//! What the containers of a trial consist of: a program of the machine's code and a module of Wasm, each of which says
//! [`MESSAGE`] and ends; as a root file system, and as the archive that engines import as an image.
//!
//! The native program is put together here byte by byte: so it needs no file of the host, and is the same whatever
//! this machine has installed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Guest;
use super::directory::open;

/// What both programs write.
pub(super) const MESSAGE: &str = "a container of wrun ran\n";

/// On which every container has something mounted.
const PLACES: [&str; 3] = ["dev", "proc", "sys"];

/// Where the native program is loaded, and where in its file its code begins.
const BASE: u64 = 0x40_0000;
const CODE: usize = 64 + 2 * 56;

/// Writes the root file system.
pub(super) fn write(rootfs: &Path) -> io::Result<()> {
    fs::create_dir(rootfs)?;
    open(rootfs)?;
    // A container with other ids cannot make the places of its mounts in a directory of ours.
    for name in PLACES {
        fs::create_dir(rootfs.join(name))?;
        open(&rootfs.join(name))?;
    }
    for guest in Guest::ALL {
        let path = rootfs.join(&guest.entry()[1..]);
        fs::write(&path, program(guest)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The same as an archive (tar(5), the ustar form).
pub(super) fn archive() -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for guest in Guest::ALL {
        let content = program(guest)?;
        archive.extend(header(&guest.entry()[1..], content.len()));
        archive.extend(&content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    Ok(archive)
}

/// What precedes a plain file of mode 0755 in an archive.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The sum is made with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

fn program(guest: Guest) -> io::Result<Vec<u8>> {
    match guest {
        Guest::Native => native().ok_or_else(|| io::Error::other("no native program for this architecture")),
        Guest::Wasm => wat::parse_str(module()).map_err(io::Error::other),
    }
}

/// `write(1, MESSAGE)` and `exit(0)` in the machine's code, followed by the message.
fn code() -> Option<Vec<u8>> {
    let length = u32::try_from(MESSAGE.len()).ok()?;
    let mut code = Vec::new();
    if cfg!(target_arch = "x86_64") {
        code.extend(b"\xb8\x01\0\0\0\xbf\x01\0\0\0"); // mov eax, 1; mov edi, 1
        code.extend(b"\x48\x8d\x35\x10\0\0\0\xba"); // lea rsi, [rip + 16]; mov edx, length
        code.extend(length.to_le_bytes());
        code.extend(b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05"); // syscall; mov eax, 60; xor edi, edi; syscall
    } else if cfg!(target_arch = "aarch64") {
        let words = [
            0xd280_0020,                 // mov x0, 1
            0x1000_00e1,                 // adr x1, 28 bytes on
            0xd280_0002 | (length << 5), // mov x2, length
            0xd280_0808,                 // mov x8, 64
            0xd400_0001,                 // svc 0
            0xd280_0000,                 // mov x0, 0
            0xd280_0ba8,                 // mov x8, 93
            0xd400_0001,                 // svc 0
        ];
        code.extend(words.into_iter().flat_map(u32::to_le_bytes));
    } else {
        return None;
    }
    code.extend(MESSAGE.as_bytes());
    Some(code)
}

/// A static executable (elf(5)) of one segment, and the wish for a stack that is not executable.
fn native() -> Option<Vec<u8>> {
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let code = code()?;
    let size = (CODE + code.len()) as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [BASE + CODE as u64, 64, 0] {
        file.extend(word.to_le_bytes()); // Entry, program headers, no section headers.
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD to read and execute, and PT_GNU_STACK to read and write: type, flags, offset, addresses, sizes, alignment.
    let segments = [
        (1_u32, 5_u32, [0, BASE, BASE, size, size, 0x1_0000]),
        (0x6474_e551, 6, [0, 0, 0, 0, 0, 16]),
    ];
    for (kind, flags, words) in segments {
        file.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
        file.extend(words.into_iter().flat_map(u64::to_le_bytes));
    }
    file.extend(code);
    Some(file)
}

/// The same as a module for WASI preview 1.
fn module() -> String {
    let length = MESSAGE.len();
    let message = MESSAGE.trim_end();
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{message}\n")
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 16))
                (i32.store (i32.const 4) (i32.const {length}))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_native_program_runs() {
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        write(&rootfs).unwrap();
        let output = Command::new(rootfs.join("check")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), MESSAGE);
        assert!(output.status.success());
    }

    #[test]
    fn the_archive_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        fs::write(&path, archive().unwrap()).unwrap();
        let list = Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains("-rwxr-xr-x") && text.contains("check.wasm"),
            "{text}"
        );
    }
}
