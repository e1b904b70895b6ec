//! Values longer than fsconfig(2) takes, which mount(2) took: overlay's paths of layers, as engines have them, and
//! sources. Each path is opened and named by its descriptor: by a path as long as these fit, then by the number alone,
//! looked up from the directory of descriptors, and where there are too many for that, one by one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::FsOpenFlags;

/// The longest value that fsconfig(2) takes.
const LONGEST: usize = 255;
/// Where the kernel finds what is open by its number.
const DESCRIPTORS: &str = "/proc/self/fd/";

/// What is open for the names made here; to be kept until the file system is made.
#[derive(Default)]
pub struct Open {
    descriptors: Vec<OwnedFd>,
    /// The directory from which names are looked up where they are no paths from the root, and which was ours before.
    directory: Option<(OwnedFd, OwnedFd)>,
}

impl Open {
    /// A source in as many bytes as fsconfig(2) takes.
    ///
    /// # Errors
    /// A long one that is no path, or cannot be opened.
    pub fn source(&mut self, source: &str) -> io::Result<String> {
        if source.len() <= LONGEST {
            return Ok(source.to_owned());
        }
        let opened = if source.starts_with('/') {
            self.name(source)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{source:?} is no path here, and longer than the {LONGEST} bytes that fsconfig(2) takes"
                ),
            ),
            _ => error,
        })
    }

    /// The options of a file system in as many bytes as fsconfig(2) takes, each beside the one that it comes from: long
    /// ones of overlay's that name paths are shortened, or several take their place; any other stays as it is.
    ///
    /// Until [`Self::leave`] the working directory may be another, from which the kernel looks names up.
    ///
    /// # Errors
    /// A path that cannot be opened.
    pub fn options<'o>(
        &mut self,
        fstype: &str,
        options: impl Iterator<Item = &'o str>,
    ) -> io::Result<Vec<(String, &'o str)>> {
        let mut short = Vec::new();
        for option in options {
            let made = match option.split_once('=') {
                Some((key, value)) if fstype == "overlay" => self.of_overlay(key, value)?,
                _ => None,
            };
            match made {
                Some(made) => short.extend(made.into_iter().map(|made| (made, option))),
                None => short.push((option.to_owned(), option)),
            }
        }
        if let Some((numbers, _)) = &self.directory {
            rustix::process::fchdir(numbers)?;
        }
        Ok(short)
    }

    /// Goes back to the working directory that was left for the options. From one that the ids we have by now may not
    /// enter, no name can be looked up either: then it is the root.
    ///
    /// # Errors
    /// A root that cannot be entered.
    pub fn leave(&mut self) -> io::Result<()> {
        match self.directory.take() {
            Some((_, before)) => {
                Ok(rustix::process::fchdir(before).or_else(|_| rustix::process::chdir("/"))?)
            }
            None => Ok(()),
        }
    }

    fn of_overlay(&mut self, key: &str, value: &str) -> io::Result<Option<Vec<String>>> {
        match key {
            "lowerdir" if value.len() > LONGEST => {
                let options = self.layers(value)?;
                if options.len() > 1 && !takes_layers_one_by_one()? {
                    let count = options.len();
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        format!(
                            "lowerdir names {count} layers, which needs Linux 6.7 or newer; some 80 fit before"
                        ),
                    ));
                }
                Ok(Some(options))
            }
            // The working directory may be another when it is looked up.
            "upperdir" | "workdir" if value.len() > LONGEST || !value.starts_with('/') => {
                Ok(Some(vec![format!("{key}={}", self.name(&unescape(value))?)]))
            }
            _ => Ok(None),
        }
    }

    /// Of a list with colons. What follows two of them is a layer of data alone.
    fn layers(&mut self, list: &str) -> io::Result<Vec<String>> {
        let mut layers = Vec::new();
        for path in split(list) {
            layers.push(if path.is_empty() {
                None
            } else {
                Some(self.open(&unescape(path))?)
            });
        }
        let joined = |directory: &str| {
            let name = |fd: &Option<i32>| fd.map_or_else(String::new, |fd| format!("{directory}{fd}"));
            layers.iter().map(name).collect::<Vec<_>>().join(":")
        };
        let names = joined(DESCRIPTORS);
        if names.len() <= LONGEST {
            return Ok(vec![format!("lowerdir={names}")]);
        }
        let numbers = joined("");
        if numbers.len() <= LONGEST {
            self.directory = Some((directory(DESCRIPTORS)?, directory(".")?));
            return Ok(vec![format!("lowerdir={numbers}")]);
        }
        let mut key = "lowerdir+";
        let mut options = Vec::new();
        for layer in layers {
            match layer {
                Some(fd) => options.push(format!("{key}={DESCRIPTORS}{fd}")),
                None => key = "datadir+",
            }
        }
        Ok(options)
    }

    fn name(&mut self, path: &str) -> io::Result<String> {
        Ok(format!("{DESCRIPTORS}{}", self.open(path)?))
    }

    /// Opens a path for its number.
    fn open(&mut self, path: &str) -> io::Result<RawFd> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{path}: {error}")))?;
        let number = fd.as_raw_fd();
        self.descriptors.push(fd);
        Ok(number)
    }
}

/// Whether overlay takes `lowerdir+` and `datadir+`. Before Linux 6.5 it takes anything, and looks at it later.
fn takes_layers_one_by_one() -> io::Result<bool> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let takes = |key: &str| rustix::mount::fsconfig_set_string(&context, key, "/").is_ok();
    Ok(!takes("no-option-of-overlay") && takes("lowerdir+"))
}

fn directory(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
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
            assert_eq!(short(&mut open, fstype, option).expect("it stays"), [option]);
        }
        assert!(open.descriptors.is_empty() && open.directory.is_none());
    }

    fn short(open: &mut Open, fstype: &str, option: &str) -> io::Result<Vec<String>> {
        let options = open.options(fstype, [option].into_iter())?;
        Ok(options.into_iter().map(|(short, _)| short).collect())
    }

    /// `count` paths between colons, and a layer of data.
    fn layers(count: usize) -> String {
        format!("lowerdir={}::/dev", vec!["/proc/self/task"; count].join(":"))
    }

    #[test]
    fn many_layers_are_numbers_or_options_of_their_own() {
        // The working directory belongs to all tests: it is not entered here.
        let mut open = Open::default();
        let list = |count| {
            layers(count)
                .split_once('=')
                .map(|(_, list)| list.to_owned())
                .expect("a list")
        };
        let some = open.layers(&list(20)).expect("they exist");
        let numbers: Vec<_> = open
            .descriptors
            .iter()
            .map(|fd| fd.as_raw_fd().to_string())
            .collect();
        let (data, rest) = numbers.split_last().expect("one");
        assert_eq!(some, [format!("lowerdir={}::{data}", rest.join(":"))]);
        assert!(open.directory.is_some());

        let mut open = Open::default();
        let many = open.layers(&list(200)).expect("they exist");
        let names: Vec<_> = open.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let (data, rest) = names.split_last().expect("one");
        let expected = rest.iter().map(|fd| format!("lowerdir+={DESCRIPTORS}{fd}"));
        let expected: Vec<_> = expected
            .chain([format!("datadir+={DESCRIPTORS}{data}")])
            .collect();
        assert_eq!(many, expected);
        assert!(open.directory.is_none());
    }

    #[test]
    fn a_long_source_is_a_path_or_refused() {
        let mut open = Open::default();
        let slashes = "/".repeat(LONGEST + 1);
        let name = open.source(&slashes).expect("the root");
        assert_eq!(name, format!("{DESCRIPTORS}{}", open.descriptors[0].as_raw_fd()));
        for source in [format!("server:{slashes}"), format!("{slashes}missing")] {
            let text = open.source(&source).expect_err("it is no path").to_string();
            assert!(text.contains(&source) && text.contains("255 bytes"), "{text}");
        }
    }

    #[test]
    fn long_lists_are_named_by_descriptors() {
        let mut open = Open::default();
        let slashes = "/".repeat(LONGEST);
        let option =
            short(&mut open, "overlay", &format!("lowerdir={slashes}:/proc::/dev")).expect("they exist");
        let fds: Vec<_> = open.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let [root, proc, dev] = fds[..] else {
            panic!("{fds:?}")
        };
        let name = |fd| format!("/proc/self/fd/{fd}");
        assert_eq!(
            option,
            [format!("lowerdir={}:{}::{}", name(root), name(proc), name(dev))]
        );
        let missing = short(&mut open, "overlay", &format!("upperdir=/missing{slashes}"));
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
