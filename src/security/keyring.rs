//! The session keyring (keyrings(7), session-keyring(7)): each container gets its own, so that no key of the
//! session that called the runtime can be found from inside.

use std::ffi::CString;
use std::io;

use super::SecurityError;
use crate::sys::keyring;

/// KEY_USR_SEARCH of <linux/key.h>: a process of the key's owner may find keys through it.
const USER_SEARCH: u32 = 0x0008_0000;
/// KEY_OTH_SEARCH: any process may.
const OTHER_SEARCH: u32 = 0x0000_0008;

/// Who joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first process: makes the keyring, and makes it searchable for those that `exec` adds, which are
    /// other users to the kernel where the container has a user namespace.
    Init { user_namespace: bool },
    /// A process of `exec`.
    Joiner,
}

/// Leaves the caller's session keyring for the container's, named `_ses.ID`.
///
/// A kernel without keyrings (`ENOSYS`, also the answer of some outer sandboxes) has none to protect.
///
/// # Errors
/// [`SecurityError::Keyring`], for example when the user's quota of keys is used up.
pub fn join(id: &str, role: Role) -> Result<(), SecurityError> {
    let name = format!("_ses.{id}");
    let joined = CString::new(name.as_str())
        .map_err(io::Error::from)
        .and_then(|name| keyring::join_session(&name));
    let serial = match joined {
        Ok(serial) => serial,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => return Ok(()),
        Err(source) => return Err(SecurityError::Keyring { name, source }),
    };
    let search = match role {
        Role::Joiner => return Ok(()),
        Role::Init {
            user_namespace: false,
        } => USER_SEARCH,
        Role::Init { user_namespace: true } => OTHER_SEARCH,
    };
    permit(serial, search).map_err(|source| SecurityError::KeyringPermissions { name, source })
}

fn permit(serial: keyring::Serial, add: u32) -> io::Result<()> {
    let description = keyring::describe(serial)?;
    let now = permissions(&description).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's description of the keyring is not understood",
        )
    })?;
    keyring::set_permissions(serial, now | add)
}

/// The fourth field of `type;uid;gid;perm;name`, hexadecimal.
fn permissions(description: &[u8]) -> Option<u32> {
    let field = description.split(|byte| *byte == b';').nth(3)?;
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_fourth_field() {
        assert_eq!(permissions(b"keyring;0;0;3f030000;_ses.x\0"), Some(0x3f03_0000));
        assert_eq!(permissions(b"keyring;0;0"), None);
        assert_eq!(permissions(b"keyring;0;0;zz;_ses"), None);
    }

    #[test]
    fn a_thread_gets_a_keyring_that_exec_can_join() {
        let id = format!("wrun-test-{}", std::process::id());
        let init = {
            let id = id.clone();
            std::thread::spawn(move || {
                join(
                    &id,
                    Role::Init {
                        user_namespace: false,
                    },
                )?;
                let keys = std::fs::read_to_string("/proc/keys").unwrap_or_default();
                // A second process joins the same one while the first is there.
                let joiner = id.clone();
                std::thread::spawn(move || join(&joiner, Role::Joiner))
                    .join()
                    .unwrap()?;
                Ok::<_, SecurityError>(keys)
            })
        };
        let keys = match init.join().unwrap() {
            Ok(keys) => keys,
            Err(error) => panic!("{error:?}"),
        };
        let Some(line) = keys.lines().find(|line| line.contains(&format!("_ses.{id}"))) else {
            eprintln!("skipped: /proc/keys does not show the keyring (no keyrings on this kernel)");
            return;
        };
        // serial, flags, usage, expiry, permissions
        let permissions = line.split_whitespace().nth(4).unwrap();
        assert_ne!(
            u32::from_str_radix(permissions, 16).unwrap() & USER_SEARCH,
            0,
            "{line}"
        );
    }
}
