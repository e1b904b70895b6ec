//! Native programs: what execve(2) is called with, and what its refusals are called.

use std::ffi::{CString, NulError};
use std::path::Path;

use nix::errno::Errno;

/// A native program, found and ready.
#[derive(Debug)]
pub struct Native {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Why it does not run. The texts are Go's, which engines look for to tell 126 from 127.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    #[error("exec {program}: {reason}")]
    Exec { program: String, reason: String },
    #[error("exec: an argument or variable contains a NUL byte")]
    Nul(#[from] NulError),
}

impl Native {
    pub fn new(path: &Path, args: &[String], env: &[String]) -> Result<Self, NativeError> {
        let strings = |items: &[String]| {
            items
                .iter()
                .map(|item| CString::new(item.as_str()))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            path: CString::new(path.as_os_str().as_encoded_bytes())?,
            args: strings(args)?,
            env: strings(env)?,
        })
    }

    /// What it is called with.
    pub fn environment(&self) -> Vec<String> {
        let text = |entry: &CString| entry.to_string_lossy().into_owned();
        self.env.iter().map(text).collect()
    }

    /// Becomes the program; returns only if the kernel refuses.
    ///
    /// `listen_fds` sockets, from descriptor 3 on, are announced to it under its own pid (sd_listen_fds(3)).
    pub fn exec(mut self, listen_fds: u32) -> NativeError {
        if let Err(error) = self.announce(listen_fds) {
            return error.into();
        }
        let errno = match nix::unistd::execve(&self.path, &self.args, &self.env) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        NativeError::Exec {
            program: self.path.to_string_lossy().into_owned(),
            reason: reason(errno),
        }
    }

    fn announce(&mut self, listen_fds: u32) -> Result<(), NulError> {
        if listen_fds == 0 {
            return Ok(());
        }
        self.env.retain(|entry| !entry.to_bytes().starts_with(b"LISTEN_"));
        let pid = std::process::id();
        let mut entries = vec![format!("LISTEN_FDS={listen_fds}"), format!("LISTEN_PID={pid}")];
        // What our caller calls them; the variable is about these descriptors, as their number is.
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            entries.push(format!("LISTEN_FDNAMES={names}"));
        }
        for entry in entries {
            self.env.push(CString::new(entry)?);
        }
        Ok(())
    }
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::ENOENT => "no such file or directory".to_owned(),
        Errno::EACCES | Errno::EPERM => "permission denied".to_owned(),
        Errno::ENOEXEC => "exec format error".to_owned(),
        other => other.desc().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_words_that_engines_look_for() {
        let native = Native::new(Path::new("/nowhere/at/all"), &["x".into()], &[]).expect("no NUL");
        assert_eq!(
            native.exec(0).to_string(),
            "exec /nowhere/at/all: no such file or directory"
        );
        assert!(Native::new(Path::new("/x"), &["a\0b".into()], &[]).is_err());
    }
}
