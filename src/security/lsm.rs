//! Labels of the Linux security modules: what the next execve(2) and new keyrings get, and what a process takes
//! on that runs its program without one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};

use rustix::fs::OFlags;

use super::{ProcDirectory, SecurityError};

/// Has AppArmor confine the process by `profile` from the next execve(2) on (aa_change_onexec(3)).
///
/// # Errors
/// [`SecurityError::AppArmor`] where the host has no AppArmor or no such profile.
pub fn set_apparmor_profile(process: ProcDirectory<'_>, profile: &str) -> Result<(), SecurityError> {
    let value = format!("exec {profile}");
    // attr/apparmor/ is there since Linux 5.1; attr/exec belongs to whichever module came first.
    let set = match process.write("attr/apparmor/exec", &value) {
        Err(SecurityError::ProcOpen { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            process.write("attr/exec", &value)
        }
        other => other,
    };
    set.map_err(|source| SecurityError::AppArmor {
        profile: profile.into(),
        source: Box::new(source),
    })
}

/// Has SELinux run the next program in the context `label` (setexeccon(3)).
///
/// # Errors
/// [`SecurityError::SeLinux`] where the host does not run SELinux or its policy refuses.
pub fn set_selinux_label(process: ProcDirectory<'_>, label: &str) -> Result<(), SecurityError> {
    set_context(process, "attr/exec", label)
}

/// Has SELinux give the context `label` to keyrings that the process makes (setkeycreatecon(3)); an empty
/// one sets it back. To be set before [`super::keyring::join`] and set back after.
///
/// # Errors
/// As [`set_selinux_label`].
pub fn set_keyring_label(process: ProcDirectory<'_>, label: &str) -> Result<(), SecurityError> {
    set_context(process, "attr/keycreate", label)
}

fn set_context(process: ProcDirectory<'_>, file: &str, label: &str) -> Result<(), SecurityError> {
    // The NUL is part of the value, as libselinux writes it; without one the kernel would take nothing at
    // all for an empty label.
    process
        .write(file, &format!("{label}\0"))
        .map_err(|source| SecurityError::SeLinux {
            label: label.into(),
            source: Box::new(source),
        })
}

/// What the process of a Wasm guest takes on, which never comes to an execve(2).
///
/// Opened while procfs can be reached, and taken on as late as can be: from then on the profile holds, which is
/// written for the program and not for what we still have to do.
#[derive(Debug)]
pub struct Labels(Vec<(File, String)>);

impl Labels {
    /// An AppArmor profile and an SELinux context, of which there may be none.
    ///
    /// # Errors
    /// [`SecurityError::ProcOpen`], [`SecurityError::ProcForged`].
    pub fn open(
        process: ProcDirectory<'_>,
        profile: Option<&str>,
        context: Option<&str>,
    ) -> Result<Self, SecurityError> {
        let mut labels = Vec::new();
        if let Some(profile) = profile {
            let file = match process.open("attr/apparmor/current", OFlags::WRONLY) {
                Err(SecurityError::ProcOpen { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    process.open("attr/current", OFlags::WRONLY)
                }
                other => other,
            };
            labels.push((file?, format!("changeprofile {profile}")));
        }
        if let Some(context) = context {
            labels.push((
                process.open("attr/current", OFlags::WRONLY)?,
                format!("{context}\0"),
            ));
        }
        Ok(Self(labels))
    }

    /// For who closes all others.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.0.iter().map(|(file, _)| file.as_raw_fd()).collect()
    }

    /// Takes them on (aa_change_profile(2), setcon(3)), with one thread only.
    ///
    /// # Errors
    /// What the kernel says; the process must not go on then.
    pub fn take_on(self) -> io::Result<()> {
        for (mut file, value) in self.0 {
            if file.write(value.as_bytes())? != value.len() {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::proc_directory::tests::own_directory;
    use super::*;

    #[test]
    fn a_profile_or_label_that_the_host_cannot_give_is_an_error() {
        let directory = own_directory();
        let proc = ProcDirectory::new(directory.as_fd());
        // Fails on a host without AppArmor as well as on one with it, which has no such profile.
        let error = set_apparmor_profile(proc, "wrun-no-such-profile").unwrap_err();
        assert!(error.to_string().contains("wrun-no-such-profile"), "{error}");
        let error = set_selinux_label(proc, "wrun:no:such:label").unwrap_err();
        assert!(matches!(error, SecurityError::SeLinux { .. }), "{error:?}");
    }

    #[test]
    fn a_label_that_cannot_be_taken_on_is_an_error() {
        let directory = own_directory();
        let proc = ProcDirectory::new(directory.as_fd());
        let taken = |profile, context| {
            let labels = Labels::open(proc, profile, context).map_err(|error| error.to_string())?;
            labels.take_on().map_err(|error| error.to_string())
        };
        assert!(taken(Some("wrun-no-such-profile"), None).is_err());
        assert!(taken(None, Some("wrun:no:such:label")).is_err());
        assert_eq!(taken(None, None), Ok(()));
    }
}
