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

/// How many exceptions share the instruction that ends the program for them: a jump reaches 32,767 instructions.
const EXCEPTIONS_TOGETHER: usize = 1000;

/// Registers of the program; 0 is the verdict.
const SCRATCH: bpf::Register = 1;
const KIND: bpf::Register = 2;
const ACCESS: bpf::Register = 3;
const MAJOR: bpf::Register = 4;
const MINOR: bpf::Register = 5;

/// The filter: the exceptions by type and major number, then the default. The fewer instructions, and the fewer ways
/// through them, the sooner has the kernel verified it, at each start of a container. The context is `struct
/// bpf_cgroup_dev_ctx`: access and type in one word, major, minor.
fn program(policy: &DevicePolicy) -> Vec<Instruction> {
    let mut program = vec![
        Instruction::load_word(KIND, 1, 0),
        Instruction::and(KIND, 0xffff),
        Instruction::load_word(ACCESS, 1, 0),
        Instruction::shift_right(ACCESS, 16),
        Instruction::load_word(MAJOR, 1, 4),
        Instruction::load_word(MINOR, 1, 8), // 1 is free from here on
        Instruction::set(0, i32::from(!policy.default_allow)),
    ];
    for block in [false, true] {
        let mut exceptions: Vec<DeviceException> = policy.exceptions.clone();
        exceptions.retain(|exception| exception.block == block);
        exceptions.sort_by_key(|exception| exception.major);
        for some in exceptions.chunks(EXCEPTIONS_TOGETHER) {
            let together = Together::of(some, block, !policy.default_allow);
            program.extend(together.0);
        }
    }
    program.push(Instruction::set(0, i32::from(policy.default_allow)));
    program.push(Instruction::exit());
    program
}

/// The instructions for some exceptions of one type, in the order of their major numbers: the program ends in them where
/// one matches.
struct Together(Vec<Instruction>);

impl Together {
    fn of(exceptions: &[DeviceException], block: bool, allow: bool) -> Self {
        let kind = if block { DEVICE_BLOCK } else { DEVICE_CHARACTER };
        let mut body = Self(Vec::new());
        // Jumps to the end.
        let mut matches = Vec::new();
        for same in exceptions.chunk_by(|one, other| one.major == other.major) {
            let mut items = Self(Vec::new());
            // Numbers past i32 belong to no device (12 bits of major, 20 of minor), and match none here.
            let major = same[0].major.map(u32::cast_signed);
            let always = major.map_or((KIND, kind), |major| (MAJOR, major));
            let begin = body.0.len() + usize::from(major.is_some());
            for exception in same {
                items.exception(exception, allow, always);
                matches.push(begin + items.0.len() - 1);
            }
            if let Some(major) = major {
                let over = distance(items.0.len());
                body.0.push(Instruction::skip_if_not_equal(MAJOR, major, over));
            }
            body.0.extend(items.0);
        }
        for at in matches {
            body.0[at].offset = distance(body.0.len() - at);
        }
        body.0.extend([Instruction::skip(1), Instruction::exit()]);
        let over = Instruction::skip_if_not_equal(KIND, kind, distance(body.0.len()));
        body.0.insert(0, over);
        body
    }

    /// Type and major number are the exception's. The last instruction is the one that jumps where all else is too.
    fn exception(&mut self, exception: &DeviceException, allow: bool, always: (bpf::Register, i32)) {
        let bit = |set: bool, bit: i32| if set { bit } else { 0 };
        let access = bit(exception.read, ACCESS_READ)
            | bit(exception.write, ACCESS_WRITE)
            | bit(exception.mknod, ACCESS_MKNOD);
        let minor = exception.minor.map(u32::cast_signed);
        if access != ACCESS_ALL {
            self.0.push(Instruction::copy(SCRATCH, ACCESS));
            self.0.push(Instruction::and(SCRATCH, access));
            self.0.push(match (allow, minor) {
                // No access is asked for but this.
                (true, None) => Instruction::skip_if_same(SCRATCH, ACCESS, 0),
                (true, Some(_)) => Instruction::skip_if_differ(SCRATCH, ACCESS, 1),
                // Some of this access is asked for.
                (false, None) => Instruction::skip_if_not_equal(SCRATCH, 0, 0),
                (false, Some(_)) => Instruction::skip_if_equal(SCRATCH, 0, 1),
            });
        }
        match minor {
            Some(minor) => self.0.push(Instruction::skip_if_equal(MINOR, minor, 0)),
            // The kernel refuses instructions that nothing leads to, so this jump has a condition too.
            None if access == ACCESS_ALL => self.0.push(Instruction::skip_if_equal(always.0, always.1, 0)),
            None => {}
        }
    }
}

/// Of a jump over so many instructions.
fn distance(instructions: usize) -> i16 {
    i16::try_from(instructions).expect("there are five at most for each of a thousand exceptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, on the few opcodes that we use.
    fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        for _ in 0..100_000 {
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
                0x05 => jump = true,
                0x15 => jump = registers[to] == immediate,
                0x1d => jump = registers[to] == registers[from],
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

    /// Of random exceptions, among them such as lie within others.
    #[test]
    fn the_program_says_what_the_exceptions_say() {
        let mut seed = 1_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
            (seed >> 16) % below
        };
        let accesses = ["r", "w", "m", "rw", "rm", "wm", "rwm"];
        for round in 0..300 {
            let mut number = |below: u32| Some(random(below)).filter(|number| *number > 0);
            let exceptions: Vec<DeviceException> = (0..round % 12)
                .map(|_| {
                    let kind = number(3).map_or('b', |_| 'c');
                    let access = accesses[number(7).unwrap_or_default() as usize];
                    exception(kind, number(4), number(4), access)
                })
                .collect();
            let default_allow = round % 2 == 0;
            let program = program(&DevicePolicy {
                default_allow,
                exceptions: exceptions.clone(),
            });
            for (kind, block) in [('b', true), ('c', false)] {
                for (major, minor) in (0..5).flat_map(|major| (0..5).map(move |minor| (major, minor))) {
                    for access in accesses {
                        let excepted = exceptions.iter().any(|one| {
                            let has = |letter| match letter {
                                'r' => one.read,
                                'w' => one.write,
                                _ => one.mknod,
                            };
                            let access = if default_allow {
                                access.chars().any(has)
                            } else {
                                access.chars().all(has)
                            };
                            let is = |own: Option<u32>, asked| own.is_none_or(|own| own == asked);
                            one.block == block && is(one.major, major) && is(one.minor, minor) && access
                        });
                        assert_eq!(
                            asks(&program, kind, major, minor, access),
                            excepted != default_allow,
                            "{kind} {major}:{minor} {access} of {default_allow} but {exceptions:?}"
                        );
                    }
                }
            }
        }
    }

    /// The kernel takes jumps of so many instructions alone.
    #[test]
    fn many_exceptions_are_in_reach() {
        let minors = 0..20_000;
        let exceptions = minors
            .map(|minor| exception('c', Some(7), Some(minor), "r"))
            .collect();
        let program = program(&DevicePolicy {
            default_allow: false,
            exceptions,
        });
        assert!(asks(&program, 'c', 7, 0, "r") && !asks(&program, 'c', 7, 0, "w"));
        assert!(asks(&program, 'c', 7, 999, "r") && !asks(&program, 'c', 7, 20_000, "r"));
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
