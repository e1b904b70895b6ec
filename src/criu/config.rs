//! The file with a host's own settings for CRIU, and the annotation that names another one.
//!
//! Such settings can have CRIU run programs of the host as root (`action-script`), and annotations come from whoever
//! writes config.json or, with some engines, from the user of a cluster, who may also have files of root's on the host:
//! those of a container. So, other than runc, the annotation can name the administrator's files only. For the sake of
//! those who tell logs apart, a file elsewhere may hold one setting, `log-file`, which is read here and not by CRIU.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};

use super::{CriuError, rpc};

/// The directory of the administrator's files.
const DIRECTORY: &str = "/etc/criu";
/// That of runtimes of runc's kind, where it exists.
const FILE: &str = "/etc/criu/runc.conf";
const ANNOTATION: &str = "org.criu.config";
/// Bytes of a file that is read here.
const LARGEST: u64 = 4096;

/// What settings CRIU gets beside ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    None,
    /// A file that CRIU reads.
    File(String),
    /// Another name for the log.
    Log(String),
}

impl Config {
    /// As annotations have it; an empty path means none.
    ///
    /// # Errors
    /// [`CriuError::Config`] for a file that others than the administrator may have made.
    pub fn find(annotations: &BTreeMap<String, String>) -> Result<Self, CriuError> {
        match annotations.get(ANNOTATION).map(String::as_str) {
            None => Ok(Self::File(FILE.to_owned())),
            Some("") => Ok(Self::None),
            Some(path) => {
                let path = Path::new(path);
                let problem = |problem| CriuError::Config {
                    path: path.to_owned(),
                    problem,
                };
                if is_below(path, Path::new(DIRECTORY)) {
                    check(path).map_err(problem)?;
                    Ok(Self::File(super::text(path)?))
                } else {
                    log_file(&read(path).map_err(problem)?)
                        .map(Self::Log)
                        .map_err(problem)
                }
            }
        }
    }

    pub(super) fn add_to(&self, opts: &mut rpc::Criu_opts, log: &str) {
        match self {
            Self::None => opts.set_log_file(log.to_owned()),
            Self::File(path) => {
                opts.set_log_file(log.to_owned());
                opts.set_config_file(path.clone());
            }
            Self::Log(name) => opts.set_log_file(name.clone()),
        }
    }
}

/// Without `..`, which might lead out again.
fn is_below(path: &Path, directory: &Path) -> bool {
    let plain = path
        .components()
        .all(|component| component != Component::ParentDir);
    plain && path != directory && path.starts_with(directory)
}

/// Whether nobody but root could have made this file, or put it there.
fn check(path: &Path) -> Result<(), String> {
    for place in path.ancestors() {
        let found = place
            .symlink_metadata()
            .map_err(|error| format!("cannot look at {}: {error}", place.display()))?;
        let wanted = if place == path {
            found.is_file()
        } else {
            found.is_dir()
        };
        if !wanted {
            let kind = if place == path {
                "regular file"
            } else {
                "directory"
            };
            return Err(format!("{} is no {kind}", place.display()));
        }
        if !is_roots(&found) {
            return Err(format!("{} can be written by others than root", place.display()));
        }
    }
    Ok(())
}

fn is_roots(found: &Metadata) -> bool {
    found.uid() == 0 && found.mode() & 0o022 == 0
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot read it: {error}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || !is_roots(&metadata) || metadata.len() > LARGEST {
        return Err(format!(
            "it must be a regular file of at most {LARGEST} bytes that only root can write, outside of {DIRECTORY}"
        ));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The one setting that a file elsewhere may have.
fn log_file(text: &str) -> Result<String, String> {
    let mut name = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once(|separator: char| separator == '=' || separator.is_whitespace())
            .unwrap_or((line, ""));
        let value = value.trim_start_matches(|it: char| it == '=' || it.is_whitespace());
        if key != "log-file" {
            return Err(format!(
                "{key:?} is taken from files below {DIRECTORY} only: settings can run programs of the host; a file \
                 elsewhere can only name a log (log-file)"
            ));
        }
        if value.is_empty() || value.contains('/') || !value.ends_with(".log") {
            return Err(format!(
                "log-file {value:?} must be a name without slashes that ends in .log"
            ));
        }
        name = Some(value.to_owned());
    }
    name.ok_or_else(|| format!("it has no settings; outside of {DIRECTORY} there can be one, log-file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(ANNOTATION.to_owned(), value.to_owned())])
    }

    #[test]
    fn an_annotation_names_the_settings_or_forbids_them() {
        let found = |annotations| Config::find(&annotations).unwrap();
        assert_eq!(found(BTreeMap::new()), Config::File(FILE.to_owned()));
        assert_eq!(found(with("")), Config::None);
        for wrong in [
            "/etc/criu/no such file",
            "/etc/criu/../passwd",
            "/etc/criu",
            "relative",
        ] {
            let error = Config::find(&with(wrong)).unwrap_err().to_string();
            assert!(
                error.contains("org.criu.config") && error.contains(wrong),
                "{error}"
            );
        }
    }

    #[test]
    fn elsewhere_only_the_log_has_a_name() {
        assert_eq!(log_file("# x\n\nlog-file=a.log\n"), Ok("a.log".to_owned()));
        assert_eq!(log_file("log-file  b.log"), Ok("b.log".to_owned()));
        for wrong in [
            "",
            "action-script=/tmp/x",
            "log-file=a.log\naction-script /tmp/x",
            "log-file=../a.log",
            "log-file=pages-1.img",
            "log-file",
            "external=mnt[]",
        ] {
            assert!(log_file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.conf");
        std::fs::write(&path, "log-file=a.log").unwrap();
        let root = rustix::process::geteuid().is_root();
        assert_eq!(read(&path).is_ok(), root);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(&path).unwrap_err().contains("only root"));
        assert!(check(&path).unwrap_err().contains("can be written by others"));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_err());
        assert!(check(&link).unwrap_err().contains("no regular file"));
    }
}
