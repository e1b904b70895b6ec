//! What must hold of the loaders of manifests, whatever they are given: never a panic, every refusal on one line that
//! names the file, and the same text loaded the same a second time. `integration/fuzz` looks for inputs of which it does
//! not hold, as long as it is let; the test below has all seeds and some changes of them tried whenever the tests run.
//!
//! An input is put where an image has it, and read as it is when a container is made, by the same function.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::application::Surroundings;
use super::{slight, spin};

/// A loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `spin.toml`, in both of its versions.
    Spin,
    /// `runtime-config.toml`, beside a manifest.
    RuntimeConfig,
    /// The locked application of an image layout, which becomes a root file system.
    Locked,
    /// `slightfile.toml`.
    Slight,
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Spin, Self::RuntimeConfig, Self::Locked, Self::Slight];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::RuntimeConfig => "runtime-config",
            Self::Locked => "locked",
            Self::Slight => "slight",
        }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The files to begin with: what is known to be read, to be refused, and to have been wrong once.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn seeds(self) -> Vec<PathBuf> {
        let (folders, extension): (&[&str], _) = match self {
            Self::Spin => (&["spin/good", "spin/bad", "spin/found"], "toml"),
            Self::RuntimeConfig => (&["spin/runtime-config"], "toml"),
            Self::Locked => (&["spin/locked"], "json"),
            Self::Slight => (&["slight/good", "slight/bad"], "toml"),
        };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec-fixtures");
        let files = folders
            .iter()
            .flat_map(|folder| fs::read_dir(fixtures.join(folder)).expect("the fixtures"));
        let files = files.map(|entry| entry.expect("a fixture").path());
        let mut seeds: Vec<PathBuf> = files
            .filter(|path| path.extension().is_some_and(|own| own == extension))
            .collect();
        seeds.sort();
        seeds
    }

    /// Tries an input.
    ///
    /// # Panics
    /// What must hold does not.
    pub fn examine(self, input: &[u8], place: &Place) {
        match self {
            Self::Spin => {
                place.put("spin.toml", input);
                place.put("runtime-config.toml", spin::fuzz::CONFIGURATION.as_bytes());
                spin::fuzz::application(place);
            }
            Self::RuntimeConfig => {
                place.put("spin.toml", spin::fuzz::BESIDE.as_bytes());
                place.put("runtime-config.toml", input);
                spin::fuzz::application(place);
            }
            Self::Locked => spin::fuzz::locked(input, place),
            Self::Slight => {
                place.put("slightfile.toml", input);
                slight::fuzz::application(place);
            }
        }
    }
}

/// What the container's environment is.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("BACKEND", "db.test"),
    ("SPIN_VARIABLE_TOKEN", "secret"),
    ("REDIS_ADDRESS", "redis://cache.test"),
    ("MOSQUITTO_HOST", "broker.test"),
    ("MOSQUITTO_PORT", "1883"),
];

thread_local! {
    /// What [`open`] takes for the root.
    static ROOT: RefCell<Option<OwnedFd>> = const { RefCell::new(None) };
}

/// Directories in which inputs are tried.
pub struct Place {
    directory: PathBuf,
    environment: Vec<(String, String)>,
}

impl Place {
    /// In an empty directory: an image with some files, directories and links.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let root = directory.join("root");
        for below in ["assets/deep", "public", "tmp", ".spin"] {
            fs::create_dir_all(root.join(below))?;
        }
        for file in ["any.wasm", "app.wasm", "assets/a.txt", "assets/deep/b.txt"] {
            fs::write(root.join(file), file)?;
        }
        for (link, to) in [("link", "assets"), ("round", "round"), ("out", "../../../etc")] {
            std::os::unix::fs::symlink(to, root.join(link))?;
        }
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Ok(Self {
            directory: directory.to_owned(),
            environment: ENVIRONMENT.map(pair).to_vec(),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Sees that nothing is left of what was tried but the image.
    pub(super) fn is_clean(&self) {
        let left = fs::read_dir(&self.directory).expect("a directory");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(left, ["root"], "something is left");
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path("root").join(name);
        // A file that is replaced in place is written to the disk at once by ext4.
        if let Err(error) = fs::remove_file(&path) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        fs::write(path, bytes).expect("written");
    }

    /// Calls this as for a container whose root file system that directory here is.
    pub(super) fn within<T>(&self, root: &str, read: impl FnOnce(Surroundings<'_>) -> T) -> T {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = |name| rustix::fs::open(self.path(name), flags, Mode::empty()).expect("a directory");
        ROOT.set(Some(directory(root)));
        let copies = self.path("copies");
        fs::create_dir(&copies).expect("made");
        let outcome = read(Surroundings {
            env: &self.environment,
            open,
            directory: Some(directory("copies")),
            memory_limit: Some(128 << 20),
        });
        fs::remove_dir_all(&copies).expect("removed");
        outcome
    }
}

/// Opens a path below the root; every module that there is none of is the same one.
fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = match path.extension() {
        Some(extension) if extension == "wasm" && !flags.contains(OFlags::PATH) => Path::new("/any.wasm"),
        _ => path,
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    ROOT.with_borrow(|root| {
        let root = root.as_ref().ok_or(rustix::io::Errno::NOENT)?;
        rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    })
}

/// Sees that an error is told as one is to be told, beginning with the file or with another that it may be about.
pub(super) fn see_refusal(error: &dyn std::error::Error, files: &[&str]) {
    let told = crate::reason::chain(error);
    let file = files.iter().find_map(|file| told.strip_prefix(file));
    assert!(
        file.is_some_and(|reason| !reason.trim().is_empty()),
        "it names no file: {told:?}"
    );
    assert!(!told.contains(['\n', '\r']), "it has several lines: {told:?}");
}

#[cfg(test)]
mod tests;
