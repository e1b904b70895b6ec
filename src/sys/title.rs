//! What ps(1) shows of a process that runs another's program without executing it: the arguments that the kernel
//! keeps of the last execve(2), and the name.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

unsafe extern "C" {
    /// Where the first argument of this process lies (program_invocation_name(3)).
    static program_invocation_name: *mut c_char;
}

/// Where the arguments lie and how many bytes they have, once that was found out: they can be compared but once.
static PLACE: OnceLock<(usize, usize)> = OnceLock::new();

/// Puts `args` in the place of the arguments that the process was started with, as far as they fit there, and takes
/// the first one's file name as its own name. To be called while there is one thread; nobody may ask for the process's
/// own arguments afterwards.
///
/// In place, since to move them (prctl(2), `PR_SET_MM`) needs a right that containers' makers may lack, or a kernel
/// made for checkpoints.
pub fn take(args: &[String]) -> io::Result<()> {
    let (start, room) = match PLACE.get() {
        Some((start, room)) => (std::ptr::with_exposed_provenance_mut(*start), *room),
        None => {
            let (start, room) = arguments()?;
            let _ = PLACE.set((start.expose_provenance(), room));
            (start, room)
        }
    };
    let shown = shown(args, room);
    // SAFETY: arguments() has read these bytes as strings of ours, which lie at the stack's end, are writable, and which
    // nobody borrows any more; `shown` is as long.
    unsafe { start.copy_from_nonoverlapping(shown.as_ptr().cast(), shown.len()) };
    // What refuses it is a filter of whoever called us. The name that stays tells nothing of the host.
    let _ = nix::sys::prctl::set_name(&name(args));
    Ok(())
}

/// Where the arguments lie and how many bytes they have: one after the other, as the kernel's execve(2) has put them.
fn arguments() -> io::Result<(*mut c_char, usize)> {
    // SAFETY: reads one pointer, which the C library sets before `main` and nobody changes.
    let start = unsafe { program_invocation_name };
    let mut room = 0;
    for argument in std::env::args_os() {
        // SAFETY: what precedes this place was the kernel's copy of the arguments before this one, as just compared;
        // after it come this one's, or the environment's, and at the very end zeroes: a string in any case.
        let found = unsafe { CStr::from_ptr(start.add(room)) };
        if found.to_bytes() != argument.as_bytes() {
            return Err(io::Error::other("they are not where they were at the start"));
        }
        room += argument.len() + 1;
    }
    Ok((start, room))
}

/// The arguments as the kernel keeps them, in exactly `room` bytes. The last is zero, or what follows would count as
/// theirs (proc_pid_cmdline(5)).
fn shown(args: &[String], room: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
    bytes.truncate(room.saturating_sub(1));
    bytes.resize(room, 0);
    bytes
}

/// As execve(2) would name the process. The kernel cuts it.
fn name(args: &[String]) -> CString {
    let path = args.first().map_or("", String::as_str);
    let file = path.rsplit('/').next().unwrap_or(path);
    let bytes = file.bytes().take_while(|byte| *byte != 0).collect::<Vec<u8>>();
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_is_shown_fills_the_room_and_ends_with_zero() {
        let args = words(&["/app.wasm", "one"]);
        assert_eq!(shown(&args, 16), b"/app.wasm\0one\0\0\0");
        assert_eq!(shown(&args, 14), b"/app.wasm\0one\0");
        assert_eq!(shown(&args, 12), b"/app.wasm\0o\0");
        assert_eq!(shown(&args, 0), b"");
    }

    #[test]
    fn the_name_is_the_file_s() {
        assert_eq!(name(&words(&["/bin/app.wasm", "x"])).as_c_str(), c"app.wasm");
        assert_eq!(name(&words(&["app.wasm"])).as_c_str(), c"app.wasm");
        assert_eq!(name(&[]).as_c_str(), c"");
    }

    #[test]
    fn the_arguments_are_found() {
        let (_, room) = arguments().expect("they are where the kernel has put them");
        let whole: usize = std::env::args_os().map(|argument| argument.len() + 1).sum();
        assert_eq!(room, whole);
    }
}
