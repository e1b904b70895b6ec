//! bpf(2), as far as a device filter needs it: instructions, loading and attaching a program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE`. What the program says is the cgroup room's.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction, in the kernel's layout (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// Register numbers: 0 is the verdict, 1 the context at entry.
pub type Register = u8;

// Opcodes of linux/bpf_common.h and linux/bpf.h, composed as there: class, source, operation.
const LDX_MEM_W: u8 = 0x61;
const ALU_AND_K: u8 = 0x54;
const ALU_RSH_K: u8 = 0x74;
const ALU_MOV_K: u8 = 0xb4;
const ALU_MOV_X: u8 = 0xbc;
const JMP_JA: u8 = 0x05;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JEQ_X: u8 = 0x1d;
const JMP_JNE_K: u8 = 0x55;
const JMP_JNE_X: u8 = 0x5d;
const JMP_EXIT: u8 = 0x95;

impl Instruction {
    const fn new(code: u8, destination: Register, source: Register, offset: i16, immediate: i32) -> Self {
        // A bit field of two nibbles, whose order follows the byte order.
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }

    pub const fn destination(self) -> Register {
        if cfg!(target_endian = "little") {
            self.registers & 0xf
        } else {
            self.registers >> 4
        }
    }

    pub const fn source(self) -> Register {
        if cfg!(target_endian = "little") {
            self.registers >> 4
        } else {
            self.registers & 0xf
        }
    }

    /// `destination = *(u32 *)(source + offset)`
    pub const fn load_word(destination: Register, source: Register, offset: i16) -> Self {
        Self::new(LDX_MEM_W, destination, source, offset, 0)
    }

    /// `destination &= immediate`, on 32 bits.
    pub const fn and(destination: Register, immediate: i32) -> Self {
        Self::new(ALU_AND_K, destination, 0, 0, immediate)
    }

    /// `destination >>= immediate`, on 32 bits.
    pub const fn shift_right(destination: Register, immediate: i32) -> Self {
        Self::new(ALU_RSH_K, destination, 0, 0, immediate)
    }

    /// `destination = immediate`, on 32 bits.
    pub const fn set(destination: Register, immediate: i32) -> Self {
        Self::new(ALU_MOV_K, destination, 0, 0, immediate)
    }

    /// `destination = source`, on 32 bits.
    pub const fn copy(destination: Register, source: Register) -> Self {
        Self::new(ALU_MOV_X, destination, source, 0, 0)
    }

    /// Skips `offset` instructions.
    pub const fn skip(offset: i16) -> Self {
        Self::new(JMP_JA, 0, 0, offset, 0)
    }

    /// Skips `offset` instructions where the register (64 bits) is the immediate, which is sign-extended.
    pub const fn skip_if_equal(register: Register, immediate: i32, offset: i16) -> Self {
        Self::new(JMP_JEQ_K, register, 0, offset, immediate)
    }

    /// Skips `offset` instructions where the register (64 bits) is not the immediate, which is sign-extended.
    pub const fn skip_if_not_equal(register: Register, immediate: i32, offset: i16) -> Self {
        Self::new(JMP_JNE_K, register, 0, offset, immediate)
    }

    /// Skips `offset` instructions where two registers are the same.
    pub const fn skip_if_same(register: Register, other: Register, offset: i16) -> Self {
        Self::new(JMP_JEQ_X, register, other, offset, 0)
    }

    /// Skips `offset` instructions where two registers differ.
    pub const fn skip_if_differ(register: Register, other: Register, offset: i16) -> Self {
        Self::new(JMP_JNE_X, register, other, offset, 0)
    }

    /// Ends the program with what register 0 holds.
    pub const fn exit() -> Self {
        Self::new(JMP_EXIT, 0, 0, 0, 0)
    }
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// The verifier gives up with EAGAIN when a signal is pending.
const LOAD_RETRIES: usize = 30;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is missing as zero.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a device filter. It lives as long as a descriptor or a cgroup holds it.
///
/// # Errors
/// What bpf(2) says; `PermissionDenied` without CAP_BPF or CAP_SYS_ADMIN in the initial user namespace.
pub fn load_device_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let count = u32::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: count,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    let mut tries = 0;
    loop {
        match bpf(BPF_PROG_LOAD, &attributes) {
            Ok(fd) => {
                // SAFETY: bpf(BPF_PROG_LOAD) returned a new descriptor, which nobody else has.
                return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < LOAD_RETRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Attaches a device filter to a cgroup of v2, beside those that are there: all of them must allow.
///
/// # Errors
/// What bpf(2) says.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(|_| ())
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: both callers pass a `#[repr(C)]` head of `union bpf_attr` and its size; the pointers in it are
    // to borrowed memory that outlives the call, and the kernel only reads both commands' attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_the_kernels_size_and_layout() {
        assert_eq!(size_of::<Instruction>(), 8);
        let load = Instruction::load_word(2, 1, 4);
        assert_eq!(
            (load.code, load.destination(), load.source(), load.offset),
            (0x61, 2, 1, 4)
        );
    }
}
