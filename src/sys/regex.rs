//! Extended regular expressions of POSIX (regex(7)), as the C library has them: those of crun's `--regex`.

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles an expression; the error is the C library's text, in lower case.
    pub fn new(expression: &str) -> Result<Self, String> {
        let expression = CString::new(expression).map_err(|_| "it contains a NUL character".to_owned())?;
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        // SAFETY: the expression is NUL-terminated, and the call only writes to `compiled`, which has the
        // layout that it wants.
        let code = unsafe {
            libc::regcomp(
                compiled.as_mut_ptr(),
                expression.as_ptr(),
                libc::REG_EXTENDED | libc::REG_NOSUB,
            )
        };
        if code != 0 {
            return Err(message(code, compiled.as_ptr()));
        }
        // SAFETY: a successful regcomp has initialised it.
        Ok(Self(unsafe { compiled.assume_init() }))
    }

    /// Whether the expression is found in `text`.
    pub fn is_found_in(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else {
            return false;
        };
        // SAFETY: `self` is a compiled expression, the text is NUL-terminated, and without room for matches
        // (REG_NOSUB) nothing is written.
        let code = unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) };
        code == 0
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: it was compiled by regcomp and is freed once, here.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

fn message(code: i32, compiled: *const libc::regex_t) -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be; a failed regcomp has left `compiled` as regerror wants it.
    unsafe { libc::regerror(code, compiled, buffer.as_mut_ptr().cast(), buffer.len()) };
    let length = buffer.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn expressions_are_extended_ones() {
        let regex = Regex::new("^(a|b)+-[0-9]{2}$").expect("compiled");
        assert!(regex.is_found_in("abba-42"));
        assert!(!regex.is_found_in("abba-423"));
        assert!(Regex::new("b").expect("compiled").is_found_in("abc"));
    }

    #[test]
    fn a_wrong_expression_is_explained() {
        for wrong in ["(", "[", "a{2"] {
            let error = Regex::new(wrong).err().expect("refused");
            assert!(!error.is_empty() && !error.ends_with('.'), "{error}");
        }
        assert!(Regex::new("a\0b").is_err());
    }
}
