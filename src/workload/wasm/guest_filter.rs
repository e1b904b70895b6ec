//! The syscalls that our own engine makes for a guest, and no others: a wall behind the engine's own, should
//! a guest ever break out of that. On top of the container's profile, which stays in force.
//!
//! The engine is ours, so the list is known; above all no new code can be made executable any more, nothing
//! can be executed, and no other process can be touched.

use std::io;

use libc::c_long;

use crate::sys::seccomp;

/// Bits of `struct sock_filter` of <linux/filter.h>.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
/// What libraries take for an old kernel, and fall back from.
const REFUSE: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Offsets in `struct seccomp_data` of <linux/seccomp.h>; arguments are little-endian u64.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

/// Syscalls of the x32 ABI, which share the architecture's number.
const X32_BIT: u32 = 0x4000_0000;

const MEMORY_AND_THREADS: [c_long; 23] = [
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

const TIME_AND_WAITING: [c_long; 11] = [
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
];

const FILES: [c_long; 35] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
];

const FILES_AND_NETWORK: [c_long; 19] = [
    libc::SYS_fdatasync,
    libc::SYS_uname,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

/// Names of old calls that the C library still makes on this architecture.
#[cfg(target_arch = "x86_64")]
const OLD: [c_long; 12] = [
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_rename,
];
#[cfg(target_arch = "aarch64")]
const OLD: [c_long; 0] = [];

/// Address families that any guest may have sockets of: IPv4 and IPv6, and netlink, by which the C library
/// learns which of them there are.
pub const INTERNET: &[i32] = &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Those of a guest that can ask for a unix socket.
pub const INTERNET_AND_UNIX: &[i32] = &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX];

/// Questions about a terminal or a stream.
const IOCTLS: [u64; 4] = [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO];

/// Of a descriptor itself: none of those that have another process signalled (`F_SETOWN`) or told (leases).
const FCNTLS: [i32; 6] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
];

/// Locks on ranges of a file, without waiting for one, by which several processes share a database.
#[cfg(any(test, feature = "spin"))]
const RECORD_LOCKS: [i32; 2] = [libc::F_GETLK, libc::F_SETLK];

/// `PR_SET_NAME`, of threads, and `PR_SET_VMA`, of anonymous memory.
const PRCTLS: [u32; 2] = [libc::PR_SET_NAME as u32, 0x5356_4d41];

/// Confines this process, for good. Takes no_new_privileges, which costs a process nothing that never execs.
/// `families` are those of the sockets that it may open.
pub fn install(families: &[i32]) -> io::Result<()> {
    set(&program(families, &FCNTLS))
}

/// [`install`] for guests that databases are kept for: those lock their files.
#[cfg(feature = "spin")]
pub fn install_for_databases(families: &[i32]) -> io::Result<()> {
    set(&program(families, &[&FCNTLS[..], &RECORD_LOCKS].concat()))
}

fn set(program: &[u8]) -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    seccomp::set_filter(program, 0).map(drop)
}

/// The filter, as an array of `struct sock_filter`.
fn program(families: &[i32], fcntls: &[i32]) -> Vec<u8> {
    let mut program = Program(Vec::with_capacity(300 * seccomp::INSTRUCTION_SIZE));
    program.add(LOAD, 0, 0, ARCHITECTURE);
    program.add(EQUAL, 1, 0, THIS_ARCHITECTURE);
    program.add(RETURN, 0, 0, KILL);
    program.add(LOAD, 0, 0, NUMBER);
    program.add(AT_LEAST, 0, 1, X32_BIT);
    program.add(RETURN, 0, 0, REFUSE);
    program.0.extend(search(&leaves(families, fcntls)).0);
    program.0
}

/// What is done with the calls from a number on, up to the next leaf's; ascending.
fn leaves(families: &[i32], fcntls: &[i32]) -> Vec<(u32, Program)> {
    let mut leaves: Vec<(u32, Program)> = ranges().into_iter().map(Program::for_range).collect();
    let no_new_code = libc::PROT_EXEC as u32;
    let families: Vec<u32> = families.iter().map(|family| *family as u32).collect();
    let fcntls: Vec<u32> = fcntls.iter().map(|command| *command as u32).collect();
    leaves.extend([
        Program::by_bits(libc::SYS_mmap, 2, no_new_code, REFUSE, ALLOW),
        Program::by_bits(libc::SYS_mprotect, 2, no_new_code, REFUSE, ALLOW),
        Program::by_bits(libc::SYS_clone, 0, libc::CLONE_THREAD as u32, ALLOW, REFUSE),
        Program::if_one_of(libc::SYS_socket, 0, &families),
        Program::if_one_of(libc::SYS_ioctl, 1, &IOCTLS.map(|request| request as u32)),
        Program::if_one_of(libc::SYS_fcntl, 1, &fcntls),
        Program::if_one_of(libc::SYS_prctl, 0, &PRCTLS),
        // abort(3) signals itself; any other process is out of reach.
        Program::if_one_of(libc::SYS_tgkill, 0, &[std::process::id()]),
        // Asking, for the size of a thread's stack: no new limits.
        Program::if_one_of(libc::SYS_prlimit64, 2, &[0]),
    ]);
    leaves.sort_by_key(|(first, _)| *first);
    leaves
}

/// The calls that are allowed whatever their arguments, as ascending ranges of numbers, both ends included.
fn ranges() -> Vec<(u32, u32)> {
    let lists: [&[c_long]; 5] = [
        &FILES,
        &FILES_AND_NETWORK,
        &TIME_AND_WAITING,
        &MEMORY_AND_THREADS,
        &OLD,
    ];
    let mut numbers: Vec<u32> = lists.into_iter().flatten().map(|number| *number as u32).collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 >= number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Finds the leaf of the number that is loaded, by halving: on loading a filter the kernel runs it for every
/// syscall there is, which takes 3 µs for each step that an average call goes through.
fn search(leaves: &[(u32, Program)]) -> Program {
    let mut program = Program(Vec::new());
    let (left, right) = leaves.split_at(leaves.len() / 2);
    match (left, right) {
        ([], [(_, leaf)]) => program.0.extend(&leaf.0),
        (left, [(middle, _), ..]) => {
            let (left, right) = (search(left), search(right));
            program.add(AT_LEAST, left.length(), 0, *middle);
            program.0.extend(left.0);
            program.0.extend(right.0);
        }
        (_, []) => {}
    }
    program
}

/// A part of a filter that always ends in an action.
struct Program(Vec<u8>);

impl Program {
    fn add(&mut self, code: u16, if_true: u8, if_false: u8, operand: u32) {
        self.0.extend(code.to_ne_bytes());
        self.0.extend([if_true, if_false]);
        self.0.extend(operand.to_ne_bytes());
    }

    /// Instructions, for a jump over them; a test holds the longest to what a jump can do.
    fn length(&self) -> u8 {
        u8::try_from(self.0.len() / seccomp::INSTRUCTION_SIZE).unwrap_or(u8::MAX)
    }

    fn for_range((first, last): (u32, u32)) -> (u32, Self) {
        let mut program = Self(Vec::new());
        program.add(AT_LEAST, 0, 2, first);
        program.add(AT_LEAST, 1, 0, last + 1);
        program.add(RETURN, 0, 0, ALLOW);
        program.add(RETURN, 0, 0, REFUSE);
        (first, program)
    }

    /// Allows `call` where the low half of the argument is one of `values`; these are `int` or `unsigned int`.
    fn if_one_of(call: c_long, index: u32, values: &[u32]) -> (u32, Self) {
        let mut program = Self(Vec::new());
        program.add(EQUAL, 1, 0, call as u32);
        program.add(RETURN, 0, 0, REFUSE);
        program.add(LOAD, 0, 0, argument(index));
        for value in values {
            program.add(EQUAL, 0, 1, *value);
            program.add(RETURN, 0, 0, ALLOW);
        }
        program.add(RETURN, 0, 0, REFUSE);
        (call as u32, program)
    }

    /// Decides `call` by whether the argument has any of `bits`.
    fn by_bits(call: c_long, index: u32, bits: u32, present: u32, absent: u32) -> (u32, Self) {
        let mut program = Self(Vec::new());
        program.add(EQUAL, 1, 0, call as u32);
        program.add(RETURN, 0, 0, REFUSE);
        program.add(LOAD, 0, 0, argument(index));
        program.add(ANY_BIT, 0, 1, bits);
        program.add(RETURN, 0, 0, present);
        program.add(RETURN, 0, 0, absent);
        (call as u32, program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program on a call as the kernel would, and gives the action.
    fn evaluate(program: &[u8], number: u32, arguments: [u32; 3]) -> u32 {
        let instruction = |at: usize| {
            let i = &program[at * 8..at * 8 + 8];
            let operand = u32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
            (
                u16::from_ne_bytes([i[0], i[1]]),
                usize::from(i[2]),
                usize::from(i[3]),
                operand,
            )
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let (code, if_true, if_false, operand) = instruction(at);
            let jump = |condition: bool| 1 + if condition { if_true } else { if_false };
            at += match code {
                LOAD => {
                    accumulator = match operand {
                        NUMBER => number,
                        ARCHITECTURE => THIS_ARCHITECTURE,
                        offset => arguments[(offset as usize - 16) / 8],
                    };
                    1
                }
                EQUAL => jump(accumulator == operand),
                AT_LEAST => jump(accumulator >= operand),
                ANY_BIT => jump(accumulator & operand != 0),
                RETURN => return operand,
                other => panic!("unknown instruction {other:#x}"),
            };
        }
    }

    #[test]
    fn exactly_the_listed_calls_are_allowed() {
        let program = program(INTERNET_AND_UNIX, &FCNTLS);
        let ranges = ranges();
        let leaves = leaves(INTERNET_AND_UNIX, &FCNTLS);
        let (left, _) = leaves.split_at(leaves.len() / 2);
        assert!(search(left).length() < u8::MAX, "the longest jump gets too long");
        let conditional = [
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_clone,
            libc::SYS_socket,
            libc::SYS_ioctl,
            libc::SYS_fcntl,
            libc::SYS_prctl,
            libc::SYS_tgkill,
            libc::SYS_prlimit64,
        ];
        for number in 0..1024 {
            if conditional.contains(&c_long::from(number)) {
                continue;
            }
            let number = number as u32;
            let listed = ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&number));
            let expected = if listed { ALLOW } else { REFUSE };
            assert_eq!(evaluate(&program, number, [0; 3]), expected, "syscall {number}");
        }
        for number in [
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_clone3,
            libc::SYS_bpf,
        ] {
            assert_eq!(evaluate(&program, number as u32, [0; 3]), REFUSE);
        }
        assert_eq!(
            evaluate(&program, X32_BIT | libc::SYS_read as u32, [0; 3]),
            REFUSE
        );
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let program = program(INTERNET, &FCNTLS);
        let check = |call: c_long, arguments| evaluate(&program, call as u32, arguments);
        let executable = (libc::PROT_READ | libc::PROT_EXEC) as u32;
        assert_eq!(check(libc::SYS_mprotect, [0, 0, executable]), REFUSE);
        assert_eq!(check(libc::SYS_mmap, [0, 0, executable]), REFUSE);
        assert_eq!(
            check(
                libc::SYS_mmap,
                [0, 0, (libc::PROT_READ | libc::PROT_WRITE) as u32]
            ),
            ALLOW
        );
        assert_eq!(
            check(
                libc::SYS_clone,
                [libc::CLONE_THREAD as u32 | libc::CLONE_VM as u32, 0, 0]
            ),
            ALLOW
        );
        assert_eq!(check(libc::SYS_clone, [libc::SIGCHLD as u32, 0, 0]), REFUSE);
        assert_eq!(check(libc::SYS_socket, [libc::AF_INET6 as u32, 1, 0]), ALLOW);
        assert_eq!(check(libc::SYS_socket, [libc::AF_PACKET as u32, 1, 0]), REFUSE);
        let unix = [libc::AF_UNIX as u32, 1, 0];
        assert_eq!(check(libc::SYS_socket, unix), REFUSE);
        let with_unix = super::program(INTERNET_AND_UNIX, &FCNTLS);
        assert_eq!(evaluate(&with_unix, libc::SYS_socket as u32, unix), ALLOW);
        assert_eq!(check(libc::SYS_ioctl, [0, libc::TCGETS as u32, 0]), ALLOW);
        assert_eq!(check(libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0]), REFUSE);
        assert_eq!(check(libc::SYS_fcntl, [0, libc::F_SETFL as u32, 0]), ALLOW);
        assert_eq!(check(libc::SYS_fcntl, [0, libc::F_SETOWN as u32, 1]), REFUSE);
        let databases = super::program(INTERNET, &[&FCNTLS[..], &RECORD_LOCKS].concat());
        for (command, with_databases) in [
            (libc::F_SETFL, ALLOW),
            (libc::F_SETLK, ALLOW),
            (libc::F_GETLK, ALLOW),
            (libc::F_SETLKW, REFUSE),
            (libc::F_SETOWN, REFUSE),
            (libc::F_SETLEASE, REFUSE),
        ] {
            let call = libc::SYS_fcntl as u32;
            assert_eq!(
                evaluate(&databases, call, [0, command as u32, 0]),
                with_databases,
                "{command}"
            );
        }
        assert_eq!(check(libc::SYS_fcntl, [0, libc::F_SETLK as u32, 0]), REFUSE);
        assert_eq!(check(libc::SYS_prlimit64, [0, 7, 0]), ALLOW);
        assert_eq!(check(libc::SYS_prlimit64, [0, 7, 0x1000]), REFUSE);
        assert_eq!(check(libc::SYS_tgkill, [std::process::id() + 1, 0, 9]), REFUSE);
    }
}
