//! The program's entry point, which the kernel jumps to before the C library has run.
//!
//! A command that enters a container must run from a read-only, detached clone of the executable (see
//! `process::protect`), and so executes itself. A statically linked glibc costs more than all that a small command
//! does: it asks the processor for its features some seventy times, and on a virtual machine each of these questions
//! is a trap into the hypervisor. Executing the clone from here, before the library, makes it one start of two.
//!
//! It is no more than a shortcut. Where anything is other than expected the program goes on as it is, and
//! `process::protect` makes the clone, or says why it cannot. It needs no check of its own for that reason either:
//! what it does not protect is found out there.
//!
//! Nothing of the C library works here: no thread-local variable, no `errno`, and not even `memcpy`, whose
//! implementation is chosen later. So nothing is called but what is in this file, nothing large is copied, and
//! bytes are read one by one and volatile: the compiler would make a call to `memcpy` or `strlen` of it. A program that may
//! lie at any address reaches even the code of Rust's own checks by a table that the library's start fills in:
//! `build.rs` lets only one with a fixed address begin here.

use std::ffi::CStr;

/// Each name is shorter than its place.
type Names = [[u8; 8]; 4];

/// The commands that enter a container, each ended by zeros. An argument that only looks like one costs a needless
/// execution.
///
/// No pointers, which it may be the C library's start that makes right.
static ENTERING: Names = [
    *b"create\0\0",
    *b"run\0\0\0\0\0",
    *b"exec\0\0\0\0",
    *b"mounts\0\0",
];

/// The names of the commands that enter a container.
pub fn entering() -> impl Iterator<Item = &'static CStr> {
    ENTERING
        .iter()
        .filter_map(|name| CStr::from_bytes_until_nul(name).ok())
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86_64 {
    use std::arch::{asm, naked_asm};
    use std::ffi::CStr;

    use super::{ENTERING, Names};
    use crate::sys::mount::MountAttr;

    /// Type of the entry of the auxiliary vector that has the file name given to execve(2); getauxval(3).
    const AT_EXECFN: usize = 31;
    /// What the name begins with where the file was given by a descriptor alone, as we do it ourselves.
    const BY_DESCRIPTOR: &CStr = c"/dev/fd/";
    const OPEN_TREE_CLONE: usize = 1;
    const MOUNT_ATTR_RDONLY: u64 = 1;

    /// Where `build.rs` tells the linker that the program begins. Hands the stack that the kernel made to
    /// [`protect`], to [`start`], and, where that returns, untouched to the C library's own entry.
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    unsafe extern "C" fn wrun_entry() {
        // rdx and the stack pointer are what `_start` takes (System V ABI for x86-64, 3.4.1); rbx and rbp outlive
        // calls.
        naked_asm!(
            "mov rbx, rsp",
            "mov rbp, rdx",
            "mov rdi, rsp",
            "and rsp, -16",
            "call {protect}",
            "mov rdi, rbx",
            "lea rsi, [rip + main]",
            "call {start}",
            "mov rsp, rbx",
            "mov rdx, rbp",
            "jmp _start",
            protect = sym protect,
            start = sym start,
        )
    }

    /// As `sys::start`, where the C library is the one that this knows.
    ///
    /// # Safety
    /// Its.
    #[cfg(known_libc)]
    unsafe extern "C" fn start(stack: *const usize, main: crate::sys::start::Main) {
        // SAFETY: as the caller says.
        unsafe { crate::sys::start::start(stack, main) }
    }

    #[cfg(not(known_libc))]
    extern "C" fn start(_: *const usize, _: usize) {}

    /// Executes the clone, or returns where that is not wanted or not possible.
    ///
    /// # Safety
    /// `stack` is what the kernel made for a new program: the number of arguments, their pointers, 0, those of the
    /// environment, 0, and the auxiliary vector.
    unsafe extern "C" fn protect(stack: *const usize) {
        // SAFETY: the stack is as described; each loop ends at the end of its list.
        let (arguments, environment, wanted) = unsafe {
            let count = *stack;
            let arguments = stack.wrapping_add(1);
            let environment = arguments.wrapping_add(count.wrapping_add(1));
            let mut auxiliary = environment;
            while *auxiliary != 0 {
                auxiliary = auxiliary.wrapping_add(1);
            }
            auxiliary = auxiliary.wrapping_add(1);
            let wanted = enters_a_container(arguments) && !is_executed_by_descriptor(auxiliary);
            (arguments, environment, wanted)
        };
        if !wanted {
            return;
        }
        let attr = MountAttr {
            set: MOUNT_ATTR_RDONLY,
            clear: 0,
            propagation: 0,
            userns_fd: 0,
        };
        let empty = c"".as_ptr() as usize;
        let at_empty_path = libc::AT_EMPTY_PATH as usize;
        // SAFETY: the kernel reads a constant path, `attr` of the given size, and the lists that it made itself.
        // execveat(2) returns only where it failed.
        unsafe {
            let path = c"/proc/self/exe".as_ptr() as usize;
            let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as usize;
            let clone = syscall(libc::SYS_open_tree, libc::AT_FDCWD as usize, path, flags, 0, 0);
            if clone < 0 {
                return;
            }
            let clone = clone as usize;
            let size = size_of::<MountAttr>();
            let attr = &raw const attr as usize;
            if syscall(libc::SYS_mount_setattr, clone, empty, at_empty_path, attr, size) == 0 {
                let (arguments, environment) = (arguments as usize, environment as usize);
                syscall(
                    libc::SYS_execveat,
                    clone,
                    empty,
                    arguments,
                    environment,
                    at_empty_path,
                );
            }
            syscall(libc::SYS_close, clone, 0, 0, 0, 0);
        }
    }

    /// Whether an argument after the first is one of [`ENTERING`].
    ///
    /// # Safety
    /// `arguments` is a list of C strings that ends with 0, and has one at least.
    unsafe fn enters_a_container(arguments: *const usize) -> bool {
        let commands = &raw const ENTERING as usize;
        let end = commands.wrapping_add(size_of::<Names>());
        let mut argument = arguments;
        // SAFETY: as the caller says; nothing is read after the end of the list.
        unsafe {
            while *argument != 0 {
                if argument != arguments {
                    let mut name = commands;
                    while name != end {
                        if begins_with(*argument, name, true) {
                            return true;
                        }
                        name = name.wrapping_add(size_of::<[u8; 8]>());
                    }
                }
                argument = argument.wrapping_add(1);
            }
        }
        false
    }

    /// # Safety
    /// `auxiliary` is a list of pairs that ends with a pair whose first is 0; AT_EXECFN has a C string.
    unsafe fn is_executed_by_descriptor(auxiliary: *const usize) -> bool {
        let mut entry = auxiliary;
        // SAFETY: as the caller says.
        unsafe {
            while *entry != 0 {
                if *entry == AT_EXECFN {
                    return begins_with(*entry.wrapping_add(1), BY_DESCRIPTOR.as_ptr() as usize, false);
                }
                entry = entry.wrapping_add(2);
            }
        }
        false
    }

    /// Compares the C string at `text` with the one at `beginning`: to its end, or, with `whole`, to the end of both.
    ///
    /// # Safety
    /// Both are addresses of C strings.
    unsafe fn begins_with(text: usize, beginning: usize, whole: bool) -> bool {
        let (mut text, mut beginning) = (text as *const u8, beginning as *const u8);
        // SAFETY: as the caller says; no byte after the first difference, nor after an end, is read.
        unsafe {
            loop {
                let expected = beginning.read_volatile();
                if expected == 0 && !whole {
                    return true;
                }
                if text.read_volatile() != expected {
                    return false;
                }
                if expected == 0 {
                    return true;
                }
                text = text.wrapping_add(1);
                beginning = beginning.wrapping_add(1);
            }
        }
    }

    /// A system call, without the library's `errno`: what is negative is an error.
    ///
    /// # Safety
    /// As far as the call's own arguments demand.
    unsafe fn syscall(number: i64, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
        let result: isize;
        // SAFETY: the kernel's convention for system calls on x86-64 (syscall(2)).
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a,
                in("rsi") b,
                in("rdx") c,
                in("r10") d,
                in("r8") e,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn addresses(arguments: &[&CStr]) -> Vec<usize> {
            let pointers = arguments.iter().map(|argument| argument.as_ptr() as usize);
            pointers.chain([0]).collect()
        }

        #[test]
        fn the_commands_are_bytes_and_no_pointers() {
            let [create, run, exec, mounts]: Names = ENTERING;
            assert_eq!([&create, &exec, &mounts].map(|name| name[6]), [0; 3]);
            assert_eq!(&run, b"run\0\0\0\0\0");
            let names: Vec<_> = super::super::entering().collect();
            assert_eq!(names, [c"create", c"run", c"exec", c"mounts"]);
        }

        #[test]
        fn commands_that_enter_a_container_are_seen_among_the_arguments() {
            let sees = |arguments: &[&CStr]| {
                let list = addresses(arguments);
                // SAFETY: the list is made of C strings, and ends with 0.
                unsafe { enters_a_container(list.as_ptr()) }
            };
            assert!(sees(&[c"wrun", c"run", c"x"]));
            assert!(sees(&[c"wrun", c"--root", c"/r", c"create", c"x"]));
            assert!(sees(&[c"", c"exec"]));
            assert!(!sees(&[c"run"]));
            assert!(!sees(&[c"wrun"]));
            assert!(!sees(&[c"wrun", c"", c"runs", c"ru", c"state"]));
        }

        #[test]
        fn a_file_given_by_descriptor_is_known() {
            let knows = |name: &CStr| {
                let list = [6, 4096, AT_EXECFN, name.as_ptr() as usize, 0, 0];
                // SAFETY: the list is made of pairs, and ends with one whose first is 0.
                unsafe { is_executed_by_descriptor(list.as_ptr()) }
            };
            assert!(knows(c"/dev/fd/3"));
            assert!(!knows(c"/dev/fd"));
            assert!(!knows(c"/usr/bin/wrun"));
            assert!(!knows(c""));
        }
    }
}
