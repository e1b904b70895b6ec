//! Device rules carried out: the devices controller on v1, a filter program of our own on v2.
//!
//! Both get the same [`DevicePolicy`]. Access that the kernel asks about is to read, to write, both, or to
//! make a node; an exception to a denial must allow all that is asked, an exception to an allowance denies
//! where any of it is denied, as the v1 controller does it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::plan::cgroup::{DeviceException, DevicePolicy, DeviceRule};
use crate::sys::bpf::{self, Instruction};

use super::{CgroupError, file};

const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHARACTER: i32 = 2;

/// v1: `dir` is the container's cgroup in the devices tree.
pub(super) fn apply_v1(
    dir: BorrowedFd<'_>,
    path: &Path,
    rules: &[DeviceRule],
    rootless: bool,
) -> Result<(), CgroupError> {
    let policy = DevicePolicy::new(rules)?;
    let error = |source| CgroupError::Devices {
        path: path.to_owned(),
        source,
    };
    match write_v1(dir, &policy) {
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied && may_skip(rootless)? => Ok(()),
        result => result.map_err(error),
    }
}

/// First everything denied (or allowed), then each exception: one write each, since the kernel takes no
/// more, but one open for all.
fn write_v1(dir: BorrowedFd<'_>, policy: &DevicePolicy) -> io::Result<()> {
    let (start, exceptions) = if policy.default_allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    file::write(dir, start, "a")?;
    if policy.exceptions.is_empty() {
        return Ok(());
    }
    let exceptions_file = file::open_write(dir, exceptions)?;
    for exception in &policy.exceptions {
        file::write_to(exceptions_file.as_fd(), &exception.to_string())?;
    }
    Ok(())
}

/// v2: `dir` is the container's cgroup.
pub(super) fn apply_v2(
    dir: BorrowedFd<'_>,
    path: &Path,
    rules: &[DeviceRule],
    rootless: bool,
) -> Result<(), CgroupError> {
    let policy = DevicePolicy::new(rules)?;
    if policy.default_allow && policy.exceptions.is_empty() {
        return Ok(());
    }
    let attached = bpf::load_device_filter(&program(&policy))
        .and_then(|program| bpf::attach_device_filter(dir, program.as_fd()));
    match attached {
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied && may_skip(rootless)? => Ok(()),
        result => result.map_err(|source| CgroupError::Devices {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Whether a kernel's refusal may be passed over: by design no one but root on the host may filter devices,
/// and no one else can make device nodes or open what he could not open before.
fn may_skip(rootless: bool) -> Result<bool, CgroupError> {
    if rootless {
        return Ok(true);
    }
    let map = super::mounts::read_proc("/proc/self/uid_map")?;
    Ok(!is_initial_user_namespace(&map))
}

/// The initial user namespace maps all ids to themselves, in one line (user_namespaces(7)).
pub(super) fn is_initial_user_namespace(uid_map: &str) -> bool {
    let numbers: Vec<&str> = uid_map.split_whitespace().collect();
    numbers == ["0", "0", "4294967295"]
}

/// The filter: for each exception a block that falls through to the next where it does not match, then the
/// default. The context is `struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor.
fn program(policy: &DevicePolicy) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load_word(2, 1, 0),
        Instruction::and(2, 0xffff), // 2: type
        Instruction::load_word(3, 1, 0),
        Instruction::shift_right(3, 16), // 3: access
        Instruction::load_word(4, 1, 4), // 4: major
        Instruction::load_word(5, 1, 8), // 5: minor; 1 is free from here on
    ];
    for exception in &policy.exceptions {
        push_exception(&mut program, exception, !policy.default_allow);
    }
    program.push(Instruction::set(0, i32::from(policy.default_allow)));
    program.push(Instruction::exit());
    program
}

fn push_exception(program: &mut Vec<Instruction>, exception: &DeviceException, allow: bool) {
    let bit = |set: bool, bit: i32| if set { bit } else { 0 };
    let access = bit(exception.read, ACCESS_READ)
        | bit(exception.write, ACCESS_WRITE)
        | bit(exception.mknod, ACCESS_MKNOD);
    let kind = if exception.block {
        DEVICE_BLOCK
    } else {
        DEVICE_CHARACTER
    };
    // Conditions are collected first, since each skips to the end of a block whose length they make up.
    let mut conditions: Vec<Condition> = vec![Condition::Is(2, kind)];
    if access != ACCESS_ALL {
        conditions.push(if allow {
            Condition::Within(access)
        } else {
            Condition::Meets(access)
        });
    }
    // Numbers past i32 belong to no device (12 bits of major, 20 of minor), and match none here.
    conditions.extend(exception.major.map(|major| Condition::Is(4, major.cast_signed())));
    conditions.extend(exception.minor.map(|minor| Condition::Is(5, minor.cast_signed())));
    let verdict = [Instruction::set(0, i32::from(allow)), Instruction::exit()];
    let mut left = conditions.iter().map(Condition::length).sum::<i16>() + 2;
    for condition in conditions {
        left -= condition.length();
        condition.push(program, left);
    }
    program.extend(verdict);
}

/// What must hold for an exception; where it does not, the rest of the block is skipped.
enum Condition {
    /// The register has the value.
    Is(bpf::Register, i32),
    /// No access is asked for but this.
    Within(i32),
    /// Some of this access is asked for.
    Meets(i32),
}

impl Condition {
    const fn length(&self) -> i16 {
        match self {
            Self::Is(..) => 1,
            Self::Within(_) | Self::Meets(_) => 3,
        }
    }

    /// `skip`: how many instructions of the block follow this condition.
    fn push(&self, program: &mut Vec<Instruction>, skip: i16) {
        match *self {
            Self::Is(register, value) => {
                program.push(Instruction::skip_if_not_equal(register, value, skip));
            }
            Self::Within(access) => program.extend([
                Instruction::copy(1, 3),
                Instruction::and(1, access),
                Instruction::skip_if_differ(1, 3, skip),
            ]),
            Self::Meets(access) => program.extend([
                Instruction::copy(1, 3),
                Instruction::and(1, access),
                Instruction::skip_if_equal(1, 0, skip),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, on the few opcodes that we use.
    fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        for _ in 0..10_000 {
            let instruction = program[at];
            let (to, from) = (
                usize::from(instruction.destination()),
                usize::from(instruction.source()),
            );
            let immediate = i64::from(instruction.immediate).cast_unsigned();
            let word = u64::from(instruction.immediate.cast_unsigned());
            let mut jump = false;
            match instruction.code {
                0x61 => {
                    assert_eq!(from, 1, "loads come from the context");
                    registers[to] = u64::from(context[usize::try_from(instruction.offset).unwrap() / 4]);
                }
                0x54 => registers[to] = registers[to] & word & 0xffff_ffff,
                0x74 => registers[to] = (registers[to] & 0xffff_ffff) >> word,
                0xb4 => registers[to] = word,
                0xbc => registers[to] = registers[from] & 0xffff_ffff,
                0x15 => jump = registers[to] == immediate,
                0x55 => jump = registers[to] != immediate,
                0x5d => jump = registers[to] != registers[from],
                0x95 => return registers[0],
                code => panic!("opcode {code:#x}"),
            }
            at += 1;
            if jump {
                at += usize::try_from(instruction.offset).expect("only forward jumps");
            }
        }
        panic!("the program does not end");
    }

    fn asks(program: &[Instruction], kind: char, major: u32, minor: u32, access: &str) -> bool {
        let kind = if kind == 'b' {
            DEVICE_BLOCK
        } else {
            DEVICE_CHARACTER
        };
        let bits = access.chars().fold(0, |bits, letter| {
            bits | match letter {
                'r' => ACCESS_READ,
                'w' => ACCESS_WRITE,
                _ => ACCESS_MKNOD,
            }
        });
        run(program, [(bits << 16 | kind).cast_unsigned(), major, minor]) == 1
    }

    fn exception(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceException {
        DeviceException {
            block: kind == 'b',
            major,
            minor,
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    #[test]
    fn exceptions_to_a_denial_allow_what_they_name_and_no_more() {
        let program = program(&DevicePolicy {
            default_allow: false,
            exceptions: vec![
                exception('c', None, None, "m"),
                exception('c', Some(1), Some(3), "rwm"),
                exception('c', Some(136), None, "rwm"),
                exception('b', Some(8), Some(0), "r"),
            ],
        });
        assert!(asks(&program, 'c', 1, 3, "rw"));
        assert!(asks(&program, 'c', 1, 3, "m"));
        assert!(asks(&program, 'c', 7, 7, "m"));
        assert!(!asks(&program, 'c', 7, 7, "r"));
        assert!(!asks(&program, 'c', 1, 4, "r"));
        assert!(asks(&program, 'c', 136, 12, "rw"));
        assert!(asks(&program, 'b', 8, 0, "r"));
        assert!(!asks(&program, 'b', 8, 0, "rw"));
        assert!(!asks(&program, 'b', 8, 0, "m"));
        assert!(!asks(&program, 'b', 1, 3, "r"));
    }

    #[test]
    fn exceptions_to_an_allowance_deny_any_part_of_what_they_name() {
        let program = program(&DevicePolicy {
            default_allow: true,
            exceptions: vec![
                exception('b', Some(8), None, "w"),
                exception('c', Some(1), Some(1), "rwm"),
            ],
        });
        assert!(asks(&program, 'b', 8, 3, "r"));
        assert!(!asks(&program, 'b', 8, 3, "w"));
        assert!(!asks(&program, 'b', 8, 3, "rw"));
        assert!(!asks(&program, 'c', 1, 1, "r"));
        assert!(asks(&program, 'c', 1, 2, "rw"));
    }

    #[test]
    fn a_policy_without_exceptions_is_its_default() {
        for default_allow in [false, true] {
            let program = program(&DevicePolicy {
                default_allow,
                exceptions: Vec::new(),
            });
            assert_eq!(asks(&program, 'c', 1, 3, "r"), default_allow);
        }
    }

    #[test]
    fn the_initial_user_namespace_maps_everything() {
        assert!(is_initial_user_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace(
            "         0       1000          1\n         1     100000      65536\n"
        ));
    }
}
