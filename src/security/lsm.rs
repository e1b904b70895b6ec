//! Labels of the Linux security modules: what the next execve(2) and new keyrings get.

use std::io;

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
}
