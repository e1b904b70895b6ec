//! The execution domain (personality(2)).

use nix::sys::personality::Persona;

use super::SecurityError;

/// Sets the domain: `PER_LINUX` is 0, `PER_LINUX32` is 8 (<linux/personality.h>).
///
/// # Errors
/// Those of personality(2).
pub fn set(domain: u32) -> Result<(), SecurityError> {
    nix::sys::personality::set(Persona::from_bits_retain(domain.cast_signed()))
        .map(|_previous| ())
        .map_err(|error| SecurityError::Step {
            step: "set the personality",
            source: error.into(),
        })
}
