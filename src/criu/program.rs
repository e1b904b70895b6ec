//! The program itself: where it is, which version it has, and what it can do on this kernel.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::session::{Session, Stdio};
use super::{CriuError, rpc};

/// The oldest version that dumps and restores all that we ask for: external pid namespaces (3.15), another LSM
/// profile at restore and joined namespaces (3.16).
pub(super) const MINIMUM: Version = Version {
    major: 3,
    minor: 16,
    sublevel: 0,
};

/// A released version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub sublevel: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.sublevel {
            0 => Ok(()),
            sublevel => write!(f, ".{sublevel}"),
        }
    }
}

/// What not every kernel lets CRIU do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Telling which pages have changed since.
    MemoryTracking,
    /// Giving pages to a process when it wants them.
    LazyPages,
}

impl Feature {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::MemoryTracking => ("--pre-dump", "tracking of changed memory"),
            Self::LazyPages => ("--lazy-pages", "userfaultfd for lazy pages"),
        }
    }
}

/// CRIU as it is installed.
#[derive(Debug)]
pub struct Program {
    pub(super) path: PathBuf,
}

impl Program {
    /// Finds it in PATH and asks for its version.
    ///
    /// # Errors
    /// [`CriuError::Missing`], [`CriuError::TooOld`], or that it cannot be spoken with.
    pub fn find() -> Result<Self, CriuError> {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&search)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("criu"))
            .find(|path| {
                path.metadata()
                    .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
            });
        let Some(path) = found else {
            return Err(CriuError::Missing {
                path: search.to_string_lossy().into_owned(),
            });
        };
        let program = Self { path };
        let found = program.version()?;
        if found < MINIMUM {
            return Err(CriuError::TooOld {
                program: program.path,
                found,
            });
        }
        Ok(program)
    }

    fn version(&self) -> Result<Version, CriuError> {
        let mut request = rpc::Criu_req::new();
        request.set_type(rpc::Criu_req_type::VERSION);
        Ok(version_of(&self.ask(&request)?.version))
    }

    /// Makes sure of a feature.
    ///
    /// # Errors
    /// [`CriuError::Feature`] where CRIU says that it is not there.
    pub fn require(&self, feature: Feature) -> Result<(), CriuError> {
        let mut wanted = rpc::Criu_features::new();
        match feature {
            Feature::MemoryTracking => wanted.set_mem_track(true),
            Feature::LazyPages => wanted.set_lazy_pages(true),
        }
        let mut request = rpc::Criu_req::new();
        request.set_type(rpc::Criu_req_type::FEATURE_CHECK);
        request.features = protobuf::MessageField::some(wanted);
        let features = self.ask(&request)?.features;
        let there = match feature {
            Feature::MemoryTracking => features.mem_track(),
            Feature::LazyPages => features.lazy_pages(),
        };
        if there {
            return Ok(());
        }
        let (option, feature) = feature.names();
        Err(CriuError::Feature { option, feature })
    }

    /// One question and its answer, by a process of its own.
    fn ask(&self, request: &rpc::Criu_req) -> Result<rpc::Criu_resp, CriuError> {
        let mut session = Session::start(self, &[], Stdio::Null, &|| Ok(()))?.go()?;
        let answer = session.exchange(request, &mut |_| Ok::<(), CriuError>(()))?;
        session.end();
        Ok(answer)
    }
}

fn version_of(version: &rpc::Criu_version) -> Version {
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    // What is built from git after a release has all that the next one has, for this purpose.
    let ahead = u32::from(version.has_gitid());
    Version {
        major: number(version.major_number()),
        minor: number(version.minor_number()) + ahead,
        sublevel: if ahead == 1 { 0 } else { number(version.sublevel()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let mut message = rpc::Criu_version::new();
        message.set_major_number(3);
        message.set_minor_number(15);
        assert!(version_of(&message) < MINIMUM);
        message.set_gitid("v3.15-8-gdead".to_owned());
        assert!(version_of(&message) >= MINIMUM);
        message = rpc::Criu_version::new();
        message.set_major_number(4);
        message.set_minor_number(2);
        message.set_sublevel(1);
        assert!(version_of(&message) > MINIMUM);
        assert_eq!(version_of(&message).to_string(), "4.2.1");
        assert_eq!(MINIMUM.to_string(), "3.16");
    }
}
