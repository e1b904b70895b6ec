//! Programs that tests write to have them executed.
//!
//! A process of its own writes each. Whatever the test has open for writing, another test's thread that forks at that
//! moment hands to its child, until that executes something; and a file that is open for writing is not executed
//! (ETXTBSY, execve(2)).

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program that anybody may execute.
#[track_caller]
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    copied("/dev/stdin".as_ref(), path.as_ref(), content.as_ref());
}

/// Copies a program, which then anybody may execute.
#[track_caller]
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    copied(from.as_ref(), to.as_ref(), &[]);
}

#[track_caller]
fn copied(from: &Path, to: &Path, input: &[u8]) {
    let mut copy = Command::new("cp");
    let mut child = copy.arg(from).arg(to).stdin(Stdio::piped()).spawn().expect("cp");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("cp reads it");
    drop(stdin);
    assert!(child.wait().expect("our child").success(), "{copy:?}");
    fs::set_permissions(to, Permissions::from_mode(0o755)).expect("our own file");
}
