//! Starting the statically linked C library without its look at the processor.
//!
//! The library's own start asks the processor some seventy times what it can do and how large its caches are
//! (`cpuid`), to choose among the ways in which it copies and compares memory. On a virtual machine each of these
//! questions is a trap into the hypervisor, and all of them together take longer than all that a small command does:
//! 0.7 ms where this was measured. So the library is started here by the same steps in the same order, with that one
//! left out. What it does not know of a processor it does not use: it takes the ways that every x86-64 has.
//!
//! These steps are no interface. They are those of one version (its `csu/libc-start.c`), which `build.rs` asks for before
//! this is compiled; with another one, and where anything is other than expected, the library's own `_start` is the start.

use std::ffi::{CStr, c_char, c_int, c_void};

const VERSION: &CStr = c"2.36";

/// Types of entries of the auxiliary vector; getauxval(3).
const AT_NULL: usize = 0;
const AT_SECURE: usize = 23;
const AT_RANDOM: usize = 25;
/// R_X86_64_IRELATIVE of the System V ABI for x86-64: the address to write is what a function answers.
const IRELATIVE: u32 = 37;

/// HWCAP_X86_64 of the library's own: where it looks for plug-ins.
const ANY_X86_64: u64 = 2;

/// From how many bytes on the library copies past the caches. It would be three quarters of the last cache that a
/// processor has for itself; this is that for the megabyte which the library assumes where it cannot tell.
const PAST_CACHES: usize = 0xc_0000;

/// `Elf64_Rela` of elf(5).
#[repr(C)]
struct Relocation {
    place: *mut usize,
    kind: u32,
    symbol: u32,
    function: extern "C" fn() -> usize,
}

type Arguments = *const *const c_char;
/// What Rust makes of a program's `main`.
pub type Main = extern "C" fn(c_int, Arguments, Arguments) -> c_int;
type Initializer = extern "C" fn(c_int, Arguments, Arguments);
type Finalizer = extern "C" fn();

unsafe extern "C" {
    // Of the program: what the linker makes.
    fn _init();
    fn _fini();
    static __rela_iplt_start: [Relocation; 0];
    static __rela_iplt_end: [Relocation; 0];
    static __preinit_array_start: [Initializer; 0];
    static __preinit_array_end: [Initializer; 0];
    static __init_array_start: [Initializer; 0];
    static __init_array_end: [Initializer; 0];
    static __fini_array_start: [Finalizer; 0];
    static __fini_array_end: [Finalizer; 0];

    // Of the library.
    fn gnu_get_libc_version() -> *const c_char;
    static mut __environ: Arguments;
    static mut __libc_stack_end: *const usize;
    static mut _dl_hwcap: u64;
    static mut __x86_shared_non_temporal_threshold: usize;
    static mut __x86_rep_movsb_stop_threshold: usize;
    fn _dl_aux_init(auxiliary: *const usize);
    fn __tunables_init(environment: Arguments);
    fn __libc_setup_tls();
    fn __libc_early_init(only_thread: bool);
    fn __libc_init_first(count: c_int, arguments: Arguments, environment: Arguments);
    fn __cxa_atexit(
        function: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        object: *mut c_void,
    ) -> c_int;
    fn _dl_debug_initialize(base: usize, namespace: isize) -> *mut c_void;
    fn exit(code: c_int) -> !;
}

/// Starts the library and runs the program; returns, without having done anything, where the library has to start by
/// itself.
///
/// Up to the thread-local storage nothing may be called but what is here, and no `memcpy`: see `entry`.
///
/// # Safety
/// `stack` is what the kernel made for a new program, nothing of the library has run, and there is one thread.
pub unsafe fn start(stack: *const usize, main: Main) {
    // SAFETY: the stack is as described; each loop ends at the end of its list.
    unsafe {
        let count = *stack;
        let arguments = stack.wrapping_add(1);
        let environment = arguments.wrapping_add(count.wrapping_add(1));
        let mut auxiliary = environment;
        while *auxiliary != 0 {
            auxiliary = auxiliary.wrapping_add(1);
        }
        auxiliary = auxiliary.wrapping_add(1);
        let random = value(auxiliary, AT_RANDOM) as *const usize;
        // With other rights than its caller's the library has more to do.
        if !is_known() || random.is_null() || value(auxiliary, AT_SECURE) != 0 {
            return;
        }
        let (count, arguments) = (count as c_int, arguments as Arguments);
        let environment = environment as Arguments;
        __environ = environment;
        __libc_stack_end = stack;
        _dl_aux_init(auxiliary);
        __tunables_init(environment);
        _dl_hwcap = ANY_X86_64;
        __x86_shared_non_temporal_threshold = PAST_CACHES;
        __x86_rep_movsb_stop_threshold = PAST_CACHES;
        relocate();
        __libc_setup_tls();
        set_guards(random.read_unaligned(), random.wrapping_add(1).read_unaligned());
        __libc_early_init(true);
        __libc_init_first(count, arguments, environment);
        __cxa_atexit(finish, std::ptr::null_mut(), std::ptr::null_mut());
        initialize(
            &raw const __preinit_array_start as *const Initializer,
            &raw const __preinit_array_end as *const Initializer,
            (count, arguments, environment),
        );
        _init();
        initialize(
            &raw const __init_array_start as *const Initializer,
            &raw const __init_array_end as *const Initializer,
            (count, arguments, environment),
        );
        _dl_debug_initialize(0, 0);
        exit(main(count, arguments, environment))
    }
}

/// Whether what was linked is what the headers promised.
fn is_known() -> bool {
    let mut expected = VERSION.as_ptr();
    // SAFETY: the function answers a constant C string, of which nothing is read after a difference or its end.
    unsafe {
        let mut linked = gnu_get_libc_version();
        while *linked == *expected {
            if *expected == 0 {
                return true;
            }
            (linked, expected) = (linked.wrapping_add(1), expected.wrapping_add(1));
        }
    }
    false
}

/// The value of the entry of that type, or 0.
///
/// # Safety
/// `auxiliary` is a list of pairs that ends with a pair whose first is 0.
unsafe fn value(auxiliary: *const usize, kind: usize) -> usize {
    let mut entry = auxiliary;
    // SAFETY: as the caller says.
    unsafe {
        while *entry != AT_NULL {
            if *entry == kind {
                return *entry.wrapping_add(1);
            }
            entry = entry.wrapping_add(2);
        }
    }
    0
}

/// Lets each function that chooses one for this processor do so.
///
/// # Safety
/// The linker made the table for this program, at the address where it is; all of it is of one kind.
unsafe fn relocate() {
    let mut one = &raw const __rela_iplt_start as *const Relocation;
    let end = &raw const __rela_iplt_end as *const Relocation;
    // SAFETY: as the caller says; the places are writable until `__libc_init_first`.
    unsafe {
        while one < end {
            if (*one).kind != IRELATIVE || (*one).symbol != 0 {
                // The library ends the program too; there is no way yet to say why.
                std::arch::asm!("ud2", options(noreturn));
            }
            *(*one).place = ((*one).function)();
            one = one.wrapping_add(1);
        }
    }
}

/// The values by which the library's functions know that the stack, or a pointer that they keep, was overwritten: random
/// bytes from the kernel, the first of the former 0 so that no string runs over it.
///
/// # Safety
/// The thread-local storage is there.
unsafe fn set_guards(stack: usize, pointer: usize) {
    // SAFETY: both are fields of the thread's control block (`tcbhead_t`), which the compilers know by these offsets.
    unsafe {
        std::arch::asm!(
            "mov qword ptr fs:[0x28], {stack}",
            "mov qword ptr fs:[0x30], {pointer}",
            stack = in(reg) stack & !0xff,
            pointer = in(reg) pointer,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// `from` and `to` are the ends of a table of functions that take these arguments.
unsafe fn initialize(
    from: *const Initializer,
    to: *const Initializer,
    (count, arguments, environment): (c_int, Arguments, Arguments),
) {
    let mut one = from;
    while one < to {
        // SAFETY: as the caller says.
        unsafe { (*one)(count, arguments, environment) };
        one = one.wrapping_add(1);
    }
}

/// Runs what the program wants to have run at its end.
extern "C" fn finish(_: *mut c_void) {
    let from = &raw const __fini_array_start as *const Finalizer;
    let mut one = &raw const __fini_array_end as *const Finalizer;
    // SAFETY: the linker made the table, of such functions; `_fini` is the C compiler's.
    unsafe {
        while one > from {
            one = one.wrapping_sub(1);
            (*one)();
        }
        _fini();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_is_linked_is_the_known_one() {
        assert!(is_known());
    }

    #[test]
    fn values_are_found_by_their_type() {
        let list = [6, 4096, AT_RANDOM, 7, AT_NULL, 0];
        // SAFETY: the list is made of pairs, and ends with one whose first is 0.
        let found = [AT_RANDOM, AT_SECURE, 6].map(|kind| unsafe { value(list.as_ptr(), kind) });
        assert_eq!(found, [7, 0, 4096]);
    }
}
