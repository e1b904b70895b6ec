//! What a guest could do that has broken out of the engine into native code: tried out, for a test, by that very
//! process at the point where the guest would be entered.
//!
//! Only builds with debug assertions have it, and only where the runtime's own environment asks for it; a
//! release build compiles to nothing here.

/// Tries everything and ends the process, if `WRUN_TEST_ESCAPE` is set: to the path on the host of a file that
/// is not in the container. A line of standard output for each attempt: its name and what became of it, `done`
/// for one that succeeded.
#[cfg(debug_assertions)]
pub fn attempt_if_asked() {
    if let Some(secret) = std::env::var_os("WRUN_TEST_ESCAPE") {
        attempts::all(&secret);
        std::process::exit(0);
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn attempt_if_asked() {}

#[cfg(debug_assertions)]
mod attempts {
    use std::ffi::{CStr, CString, OsStr};
    use std::os::unix::ffi::OsStrExt;
    use std::ptr::null;

    use libc::{c_long, c_void};

    type Attempt = Result<c_long, i32>;

    /// One syscall with up to six arguments; those that are not given are zero.
    fn call<const N: usize>(number: c_long, given: [usize; N]) -> Attempt {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&given);
        let [a, b, c, d, e, f] = all;
        // SAFETY: pointers among the arguments lead to live memory of the caller's that is large enough for
        // what the call may write, or are null; the process does nothing else afterwards but report and end.
        let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if result >= 0 {
            Ok(result)
        } else {
            Err(std::io::Error::last_os_error().raw_os_error().unwrap_or_default())
        }
    }

    fn text(text: &CStr) -> usize {
        text.as_ptr().addr()
    }

    fn pointer<T>(value: *const T) -> usize {
        value.addr()
    }

    const HERE: usize = libc::AT_FDCWD as usize;

    fn open(directory: usize, path: &CStr) -> Attempt {
        call(libc::SYS_openat, [directory, text(path), libc::O_RDONLY as usize])
    }

    fn report(name: &str, attempt: Attempt) {
        match attempt {
            Ok(_) => println!("{name}: done"),
            Err(errno) => println!("{name}: {}", std::io::Error::from_raw_os_error(errno)),
        }
    }

    pub fn all(secret: &OsStr) {
        // The rest may close or change what standard output needs.
        for (name, attempt) in files(secret) {
            report(name, attempt);
        }
        descriptors(secret);
        for (name, attempt) in programs_and_processes()
            .into_iter()
            .chain(memory())
            .chain(sockets())
            .chain(rights_and_namespaces())
            .chain(kernel())
        {
            report(name, attempt);
        }
    }

    /// Ways to a file outside the root.
    fn files(secret: &OsStr) -> Vec<(&'static str, Attempt)> {
        let secret = secret.as_bytes();
        let path = |prefix: &str| {
            CString::new([prefix.as_bytes(), secret].concat()).expect("a path of the test's has no zero byte")
        };
        let (plain, up) = (path(""), path("/../../../../../../../.."));
        let (by_pid, by_self) = (path("/proc/1/root"), path("/proc/self/root"));
        let link = c"/escape-link";
        let made_link = call(libc::SYS_symlinkat, [text(&by_pid), HERE, text(link)]);
        let followed = made_link.and_then(|_| open(HERE, link));
        let mut handle = [0u32; 34];
        handle[0] = 128;
        let mut mount = 0i32;
        let by_name = call(
            libc::SYS_name_to_handle_at,
            [
                HERE,
                text(c"/"),
                handle.as_mut_ptr().addr(),
                (&raw mut mount).addr(),
            ],
        );
        // The root directory's inode of ext4, whatever the guess is worth: the call itself must be refused.
        let root: [u32; 4] = [8, 1, 2, 0];
        vec![
            ("open-path", open(HERE, &plain)),
            ("open-dotdot", open(HERE, &up)),
            ("open-proc-1-root", open(HERE, &by_pid)),
            ("open-proc-self-root", open(HERE, &by_self)),
            ("open-by-link", followed),
            ("open-proc-self-mem", open(HERE, c"/proc/self/mem")),
            ("open-proc-thread-self-mem", open(HERE, c"/proc/thread-self/mem")),
            ("open-proc-self-exe", open(HERE, c"/proc/self/exe")),
            ("open-proc-self-environ", open(HERE, c"/proc/self/environ")),
            ("open-proc-sysrq", open(HERE, c"/proc/sysrq-trigger")),
            ("name-to-handle", by_name),
            (
                "open-by-handle",
                call(libc::SYS_open_by_handle_at, [HERE, root.as_ptr().addr(), 0]),
            ),
            (
                "chroot-out",
                call(libc::SYS_chroot, [text(c"/tmp")]).and_then(|_| open(HERE, &up)),
            ),
            (
                "pivot-root",
                call(libc::SYS_pivot_root, [text(c"/"), text(c"/tmp")]),
            ),
            (
                "make-block-device",
                call(libc::SYS_mknodat, [HERE, text(c"/escape-disk"), 0o60600, 0x801]),
            ),
            (
                "make-char-device",
                call(libc::SYS_mknodat, [HERE, text(c"/escape-mem"), 0o20600, 0x101]),
            ),
            (
                "set-user-id-bit",
                call(libc::SYS_fchmodat, [HERE, text(c"/escape-link"), 0o6755]),
            ),
            (
                "give-file-away",
                call(libc::SYS_fchownat, [HERE, text(c"/escape-link"), 1, 1]),
            ),
            (
                "set-attribute",
                call(
                    libc::SYS_setxattr,
                    [text(c"/tmp"), text(c"trusted.escape"), text(c"x"), 1],
                ),
            ),
        ]
    }

    /// Whatever is open besides the standard streams: a way out, or into another namespace?
    fn descriptors(secret: &OsStr) {
        let below = CString::new([b"../../../../../../..", secret.as_bytes()].concat())
            .expect("a path of the test's has no zero byte");
        for fd in 3..1024 {
            if call(libc::SYS_fcntl, [fd, libc::F_GETFD as usize]).is_err() {
                continue;
            }
            report(&format!("descriptor-{fd}-leads-out"), open(fd, &below));
            report(
                &format!("descriptor-{fd}-is-entered"),
                call(libc::SYS_setns, [fd, 0]),
            );
            report(
                &format!("descriptor-{fd}-tells-of-its-parent"),
                // NS_GET_PARENT of <linux/nsfs.h>
                call(libc::SYS_ioctl, [fd, 0xb702]),
            );
            report(
                &format!("descriptor-{fd}-is-executed"),
                call(
                    libc::SYS_execveat,
                    [fd, text(c""), 0, 0, libc::AT_EMPTY_PATH as usize],
                ),
            );
        }
    }

    fn programs_and_processes() -> Vec<(&'static str, Attempt)> {
        let arguments = [c"/bin/true".as_ptr(), null()];
        let run = [text(c"/bin/true"), arguments.as_ptr().addr(), 0];
        let mut word = 0u64;
        let local = libc::iovec {
            iov_base: (&raw mut word).cast::<c_void>(),
            iov_len: 8,
        };
        let vector = pointer(&raw const local);
        let parent = 2usize;
        let fork = call(libc::SYS_clone, [libc::SIGCHLD as usize]);
        if fork == Ok(0) {
            // SAFETY: _exit takes an integer and does not return: a child that should not be there.
            unsafe { libc::_exit(0) };
        }
        let clone_args = [0u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
        let fork3 = call(libc::SYS_clone3, [clone_args.as_ptr().addr(), 64]);
        if fork3 == Ok(0) {
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        let mut information = [0u8; 128];
        vec![
            ("execve", call(libc::SYS_execve, run)),
            ("execveat", call(libc::SYS_execveat, [HERE, run[0], run[1], 0, 0])),
            ("fork", fork),
            ("clone3", fork3),
            (
                "ptrace-attach",
                call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, parent]),
            ),
            (
                "ptrace-me",
                call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize]),
            ),
            (
                "read-process",
                call(libc::SYS_process_vm_readv, [parent, vector, 1, vector, 1]),
            ),
            (
                "write-process",
                call(libc::SYS_process_vm_writev, [parent, vector, 1, vector, 1]),
            ),
            ("kill-all", call(libc::SYS_kill, [usize::MAX, 0])),
            ("kill-another", call(libc::SYS_kill, [parent, 0])),
            (
                "kill-thread-of-another",
                call(libc::SYS_tgkill, [parent, parent, 0]),
            ),
            (
                "queue-signal",
                call(
                    libc::SYS_rt_sigqueueinfo,
                    [parent, 9, information.as_mut_ptr().addr()],
                ),
            ),
            ("pidfd-of-another", call(libc::SYS_pidfd_open, [parent])),
            (
                "signal-by-owner",
                call(libc::SYS_fcntl, [1, libc::F_SETOWN as usize, parent]),
            ),
            (
                "limit-another",
                call(libc::SYS_prlimit64, [parent, 0, information.as_ptr().addr(), 0]),
            ),
            (
                "schedule",
                call(libc::SYS_sched_setscheduler, [0, 1, information.as_ptr().addr()]),
            ),
            (
                "become-dumpable",
                call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1]),
            ),
        ]
    }

    fn memory() -> Vec<(&'static str, Attempt)> {
        let map = |protection: i32| {
            let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
            call(
                libc::SYS_mmap,
                [0, 4096, protection as usize, flags, usize::MAX, 0],
            )
        };
        let (readable, writable, executable) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        let page = map(readable | writable);
        let change = |number: c_long, extra: usize| {
            let page = page? as usize;
            call(number, [page, 4096, (readable | executable) as usize, extra])
        };
        vec![
            (
                "map-writable-and-executable",
                map(readable | writable | executable),
            ),
            ("map-executable", map(readable | executable)),
            ("make-executable", change(libc::SYS_mprotect, 0)),
            (
                "make-executable-by-key",
                change(libc::SYS_pkey_mprotect, usize::MAX),
            ),
            ("memory-file", call(libc::SYS_memfd_create, [text(c"escape"), 0])),
            ("shared-memory", call(libc::SYS_shmget, [0, 4096, 0o1700])),
            (
                "readable-means-executable",
                call(libc::SYS_personality, [0x0040_0000]),
            ),
        ]
    }

    fn sockets() -> Vec<(&'static str, Attempt)> {
        let socket = |family: i32, kind: i32| call(libc::SYS_socket, [family as usize, kind as usize, 0]);
        vec![
            ("socket-raw", call(libc::SYS_socket, [2, 3, 1])),
            ("socket-raw-6", call(libc::SYS_socket, [10, 3, 58])),
            ("socket-packet", socket(libc::AF_PACKET, libc::SOCK_RAW)),
            ("socket-vsock", socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
            ("socket-alg", socket(libc::AF_ALG, libc::SOCK_SEQPACKET)),
        ]
    }

    fn rights_and_namespaces() -> Vec<(&'static str, Attempt)> {
        let filter = [0u64; 2];
        let capabilities = [0x2008_0522u32, 0];
        let all = [u32::MAX; 6];
        let unshare = |flag: i32| call(libc::SYS_unshare, [flag as usize]);
        vec![
            ("unshare-user", unshare(libc::CLONE_NEWUSER)),
            ("unshare-mount", unshare(libc::CLONE_NEWNS)),
            ("unshare-network", unshare(libc::CLONE_NEWNET)),
            (
                "mount",
                call(
                    libc::SYS_mount,
                    [text(c"proc"), text(c"/tmp"), text(c"proc"), 0, 0],
                ),
            ),
            (
                "mount-writable",
                call(
                    libc::SYS_mount,
                    [0, text(c"/"), 0, (libc::MS_REMOUNT | libc::MS_BIND) as usize, 0],
                ),
            ),
            (
                "umount",
                call(libc::SYS_umount2, [text(c"/proc"), libc::MNT_DETACH as usize]),
            ),
            ("open-tree", call(libc::SYS_open_tree, [HERE, text(c"/"), 1])),
            ("open-filesystem", call(libc::SYS_fsopen, [text(c"tmpfs"), 0])),
            ("set-user", call(libc::SYS_setresuid, [0, 0, 0])),
            ("set-group", call(libc::SYS_setresgid, [0, 0, 0])),
            ("set-groups", call(libc::SYS_setgroups, [0, 0])),
            (
                "set-capabilities",
                call(
                    libc::SYS_capset,
                    [capabilities.as_ptr().addr(), all.as_ptr().addr()],
                ),
            ),
            (
                "another-filter",
                call(libc::SYS_seccomp, [1, 0, filter.as_ptr().addr()]),
            ),
            (
                "raise-limit",
                call(
                    libc::SYS_setrlimit,
                    [libc::RLIMIT_NPROC as usize, all.as_ptr().addr()],
                ),
            ),
        ]
    }

    fn kernel() -> Vec<(&'static str, Attempt)> {
        let zeros = [0u64; 32];
        let nothing = zeros.as_ptr().addr();
        vec![
            ("keyctl", call(libc::SYS_keyctl, [0, 3usize.wrapping_neg()])),
            (
                "add-key",
                call(
                    libc::SYS_add_key,
                    [text(c"user"), text(c"escape"), nothing, 1, 2usize.wrapping_neg()],
                ),
            ),
            ("bpf", call(libc::SYS_bpf, [0, nothing, 128])),
            (
                "perf",
                call(libc::SYS_perf_event_open, [nothing, 0, usize::MAX, usize::MAX, 0]),
            ),
            ("io-uring", call(libc::SYS_io_uring_setup, [1, nothing])),
            ("userfaultfd", call(libc::SYS_userfaultfd, [1])),
            ("fanotify", call(libc::SYS_fanotify_init, [0, 0])),
            (
                "type-into-terminal",
                call(libc::SYS_ioctl, [0, libc::TIOCSTI as usize, text(c"x")]),
            ),
            (
                "load-module",
                call(libc::SYS_init_module, [nothing, 0, text(c"")]),
            ),
            ("load-kernel", call(libc::SYS_kexec_load, [0, 0, 0, 0])),
            ("kernel-log", call(libc::SYS_syslog, [10, 0, 0])),
            // Of no effect where they are allowed, which another error than a refusal shows.
            ("set-clock", call(libc::SYS_clock_settime, [0, 0])),
            ("set-hostname", call(libc::SYS_sethostname, [0, usize::MAX])),
            ("accounting", call(libc::SYS_acct, [text(c"/tmp/escape")])),
            ("quota", call(libc::SYS_quotactl, [0, 0, 0, 0])),
            ("swap", call(libc::SYS_swapon, [text(c"/tmp"), 0])),
            ("reboot", call(libc::SYS_reboot, [0, 0, 0, 0])),
        ]
    }
}
