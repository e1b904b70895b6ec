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

const FILES: [c_long; 36] = [
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
    libc::SYS_fcntl,
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

/// Address families: IPv4 and IPv6, and netlink, by which the C library learns which of them there are.
const FAMILIES: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Questions about a terminal or a stream.
const IOCTLS: [u64; 4] = [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO];

/// `PR_SET_NAME`, of threads, and `PR_SET_VMA`, of anonymous memory.
const PRCTLS: [u32; 2] = [libc::PR_SET_NAME as u32, 0x5356_4d41];

/// Confines this process, for good. Takes no_new_privileges, which costs a process nothing that never execs.
pub fn install() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    seccomp::set_filter(&program(), 0).map(drop)
}

/// The filter, as an array of `struct sock_filter`.
fn program() -> Vec<u8> {
    let mut program = Program(Vec::with_capacity(300 * seccomp::INSTRUCTION_SIZE));
    program.add(LOAD, 0, 0, ARCHITECTURE);
    program.add(EQUAL, 1, 0, THIS_ARCHITECTURE);
    program.add(RETURN, 0, 0, KILL);
    program.add(LOAD, 0, 0, NUMBER);
    program.add(AT_LEAST, 0, 1, X32_BIT);
    program.add(RETURN, 0, 0, REFUSE);
    let lists: [&[c_long]; 5] = [
        &FILES,
        &FILES_AND_NETWORK,
        &TIME_AND_WAITING,
        &MEMORY_AND_THREADS,
        &OLD,
    ];
    for number in lists.into_iter().flatten() {
        program.add(EQUAL, 0, 1, *number as u32);
        program.add(RETURN, 0, 0, ALLOW);
    }
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        program.unless_any_bit(call, 2, libc::PROT_EXEC as u32);
    }
    program.if_any_bit(libc::SYS_clone, 0, libc::CLONE_THREAD as u32);
    program.if_one_of(libc::SYS_socket, 0, FAMILIES.iter().map(|family| *family as u32));
    program.if_one_of(libc::SYS_ioctl, 1, IOCTLS.iter().map(|request| *request as u32));
    program.if_one_of(libc::SYS_prctl, 0, PRCTLS.into_iter());
    // abort(3) signals itself; any other process is out of reach.
    program.if_one_of(libc::SYS_tgkill, 0, std::iter::once(std::process::id()));
    // Asking, for the size of a thread's stack: no new limits.
    program.if_one_of(libc::SYS_prlimit64, 2, std::iter::once(0));
    program.add(RETURN, 0, 0, REFUSE);
    program.0
}

struct Program(Vec<u8>);

impl Program {
    fn add(&mut self, code: u16, if_true: u8, if_false: u8, operand: u32) {
        self.0.extend(code.to_ne_bytes());
        self.0.extend([if_true, if_false]);
        self.0.extend(operand.to_ne_bytes());
    }

    /// Allows `call` where the low half of the argument is one of `values`; these are `int` or `unsigned int`.
    fn if_one_of(&mut self, call: c_long, index: u32, values: impl ExactSizeIterator<Item = u32>) {
        // A list of more than a hundred values would not fit the jump.
        let skip = 2 + 2 * values.len() as u8;
        self.add(EQUAL, 0, skip, call as u32);
        self.add(LOAD, 0, 0, argument(index));
        for value in values {
            self.add(EQUAL, 0, 1, value);
            self.add(RETURN, 0, 0, ALLOW);
        }
        self.add(RETURN, 0, 0, REFUSE);
    }

    fn if_any_bit(&mut self, call: c_long, index: u32, bits: u32) {
        self.by_bits(call, index, bits, ALLOW, REFUSE);
    }

    fn unless_any_bit(&mut self, call: c_long, index: u32, bits: u32) {
        self.by_bits(call, index, bits, REFUSE, ALLOW);
    }

    fn by_bits(&mut self, call: c_long, index: u32, bits: u32, present: u32, absent: u32) {
        self.add(EQUAL, 0, 4, call as u32);
        self.add(LOAD, 0, 0, argument(index));
        self.add(ANY_BIT, 0, 1, bits);
        self.add(RETURN, 0, 0, present);
        self.add(RETURN, 0, 0, absent);
    }
}
