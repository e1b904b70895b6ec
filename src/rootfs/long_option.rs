//! Values longer than fsconfig(2) takes, which mount(2) took: overlay's paths of layers, as engines have them, and
//! sources. Each path is opened and named by its descriptor, which the kernel looks up at once.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// The longest value that fsconfig(2) takes.
const LONGEST: usize = 255;

/// What is open for the names made here; to be kept until the file system is made.
#[derive(Default)]
pub struct Open(Vec<OwnedFd>);

impl Open {
    /// A source in as many bytes as fsconfig(2) takes.
    ///
    /// # Errors
    /// A long one that cannot be opened.
    pub fn source(&mut self, path: &str) -> io::Result<String> {
        if path.len() <= LONGEST {
            return Ok(path.to_owned());
        }
        self.name(path)
    }

    /// An option of the file system in as many bytes as fsconfig(2) takes, if it is a long one of overlay's that names
    /// paths; any other as it is.
    ///
    /// # Errors
    /// A path that cannot be opened.
    pub fn option(&mut self, fstype: &str, option: &str) -> io::Result<String> {
        let long = |(_, value): &(&str, &str)| fstype == "overlay" && value.len() > LONGEST;
        let Some((key, value)) = option.split_once('=').filter(long) else {
            return Ok(option.to_owned());
        };
        let names = match key {
            "lowerdir" => self.names(value)?,
            "upperdir" | "workdir" => self.name(&unescape(value))?,
            _ => return Ok(option.to_owned()),
        };
        Ok(format!("{key}={names}"))
    }

    /// Of a list with colons. What follows two of them is a layer of data alone, so an empty path stays one.
    fn names(&mut self, list: &str) -> io::Result<String> {
        let mut names = Vec::new();
        for path in split(list) {
            names.push(if path.is_empty() {
                String::new()
            } else {
                self.name(&unescape(path))?
            });
        }
        Ok(names.join(":"))
    }

    fn name(&mut self, path: &str) -> io::Result<String> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{path}: {error}")))?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        self.0.push(fd);
        Ok(name)
    }
}

/// Splits at colons that have no backslash before them.
fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in list.char_indices() {
        if c == ':' && !escaped {
            parts.push(&list[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&list[start..]);
    parts
}

/// Without the backslashes that protect the next character.
fn unescape(path: &str) -> String {
    let mut plain = String::new();
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_options_and_those_of_others_stay() {
        let mut open = Open::default();
        let long = format!("lowerdir=/{}", "x".repeat(LONGEST));
        for (fstype, option) in [
            ("overlay", "lowerdir=/a:/b"),
            ("overlay", "userxattr"),
            ("tmpfs", &*long),
        ] {
            assert_eq!(open.option(fstype, option).expect("it stays"), option);
        }
        assert!(open.0.is_empty());
    }

    #[test]
    fn long_lists_are_named_by_descriptors() {
        let mut open = Open::default();
        let slashes = "/".repeat(LONGEST);
        let option = open
            .option("overlay", &format!("lowerdir={slashes}:/proc::/dev"))
            .expect("they exist");
        let fds: Vec<_> = open.0.iter().map(AsRawFd::as_raw_fd).collect();
        let [root, proc, dev] = fds[..] else {
            panic!("{fds:?}")
        };
        let name = |fd| format!("/proc/self/fd/{fd}");
        assert_eq!(
            option,
            format!("lowerdir={}:{}::{}", name(root), name(proc), name(dev))
        );
        let missing = open.option("overlay", &format!("upperdir=/missing{slashes}"));
        assert!(
            missing
                .expect_err("it is not there")
                .to_string()
                .starts_with("/missing")
        );
    }

    #[test]
    fn colons_and_backslashes_are_escaped_in_paths() {
        assert_eq!(split(r"/a\:b:/c\\:/d"), [r"/a\:b", r"/c\\", "/d"]);
        assert_eq!(unescape(r"/a\:b\\c"), r"/a:b\c");
    }
}
