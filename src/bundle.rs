//! The bundle: a directory with a config.json (runtime spec, bundle.md). Finds and reads it, once; what the
//! file says is for [`crate::spec`], and nothing below the directory is touched here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A config.json larger than this is refused: the largest real ones (hundreds of mounts and a full seccomp
/// profile) stay far below 1 MiB, and reading an endless file would take the host's memory.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The name that the runtime spec gives to the configuration.
pub const CONFIG: &str = "config.json";

#[derive(Debug, Error)]
pub enum BundleError {
    #[error("bundle {path} cannot be used")]
    Directory { path: PathBuf, source: io::Error },
    #[error("bundle {path} is not a directory")]
    NotADirectory { path: PathBuf },
    /// Worded as runc words it, since scripts look for it.
    #[error("JSON specification file config.json not found in bundle {bundle}")]
    NoConfig { bundle: PathBuf },
    #[error("{path} cannot be read")]
    Config { path: PathBuf, source: io::Error },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path} is larger than {MAX_CONFIG_BYTES} bytes")]
    TooLarge { path: PathBuf },
}

/// An opened bundle: where it is, and the bytes of its config.json.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    config: Vec<u8>,
    config_path: PathBuf,
}

impl Bundle {
    /// Opens the bundle at `path`, which may be relative and may hold symlinks; with `config` a file anywhere in
    /// place of its config.json. The plain name `config.json` means the bundle's own, as with crun.
    pub fn open(path: &Path, config: Option<&Path>) -> Result<Self, BundleError> {
        let config = config.filter(|file| file.as_os_str() != CONFIG);
        let bundle = path.canonicalize().map_err(|source| BundleError::Directory {
            path: path.to_owned(),
            source,
        })?;
        if let Some(file) = config {
            let config = read_part(file)?;
            let config_path = file.to_owned();
            return Ok(Self {
                path: bundle,
                config,
                config_path,
            });
        }
        let file = bundle.join(CONFIG);
        let config = read_bounded(&file).map_err(|failure| match failure {
            Failure::Io(source) if source.kind() == io::ErrorKind::NotFound => BundleError::NoConfig {
                bundle: bundle.clone(),
            },
            Failure::Io(source) if source.raw_os_error() == Some(libc::ENOTDIR) => {
                BundleError::NotADirectory {
                    path: path.to_owned(),
                }
            }
            failure => failure.of(&file),
        })?;
        Ok(Self {
            path: bundle,
            config,
            config_path: file,
        })
    }

    /// Absolute, free of symlinks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of config.json as they were when the bundle was opened.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Path of config.json, for errors.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }
}

/// Reads a file of the caller's that is of the form of a config.json, or of a part of one.
///
/// # Errors
/// [`BundleError::Config`], [`BundleError::NotAFile`], [`BundleError::TooLarge`].
pub fn read_part(file: &Path) -> Result<Vec<u8>, BundleError> {
    read_bounded(file).map_err(|failure| failure.of(file))
}

enum Failure {
    Io(io::Error),
    NotAFile,
    TooLarge,
}

impl Failure {
    fn of(self, path: &Path) -> BundleError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => BundleError::Config { path, source },
            Self::NotAFile => BundleError::NotAFile { path },
            Self::TooLarge => BundleError::TooLarge { path },
        }
    }
}

/// Reads a regular file of at most [`MAX_CONFIG_BYTES`]. Opened non-blocking, so that a FIFO in the file's
/// place is an error and no hang.
fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(Failure::Io)?;
    let metadata = file.metadata().map_err(Failure::Io)?;
    if !metadata.is_file() {
        return Err(Failure::NotAFile);
    }
    if metadata.len() > MAX_CONFIG_BYTES {
        return Err(Failure::TooLarge);
    }
    // One byte more than the size lets the read that meets the end of the file need no growth.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::Io)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(Failure::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_config_and_canonicalizes_the_path() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(CONFIG), "{}").unwrap();
        let bundle = Bundle::open(&directory.path().join("."), None).unwrap();
        assert_eq!(bundle.config(), b"{}");
        assert_eq!(bundle.path(), directory.path().canonicalize().unwrap());
    }

    #[test]
    fn the_plain_name_is_that_of_the_bundles_own() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(CONFIG), "{}").unwrap();
        let bundle = Bundle::open(directory.path(), Some(Path::new(CONFIG))).unwrap();
        assert_eq!(
            bundle.config_path(),
            directory.path().canonicalize().unwrap().join(CONFIG)
        );
        // There is none where the tests run.
        let error = Bundle::open(directory.path(), Some(Path::new("./config.json"))).unwrap_err();
        assert!(matches!(error, BundleError::Config { .. }), "{error}");
    }

    #[test]
    fn names_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let error = Bundle::open(directory.path(), None).unwrap_err().to_string();
        assert!(
            error.starts_with("JSON specification file config.json not found"),
            "{error}"
        );
        let error = Bundle::open(&directory.path().join("absent"), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("absent"), "{error}");
    }

    #[test]
    fn refuses_what_is_no_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(CONFIG)).unwrap();
        assert!(matches!(
            Bundle::open(directory.path(), None),
            Err(BundleError::NotAFile { .. })
        ));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(
            Bundle::open(&file, None),
            Err(BundleError::NotADirectory { .. })
        ));
    }

    #[test]
    fn refuses_what_is_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join(CONFIG)).unwrap();
        file.set_len(MAX_CONFIG_BYTES + 1).unwrap();
        assert!(matches!(
            Bundle::open(directory.path(), None),
            Err(BundleError::TooLarge { .. })
        ));
    }
}
