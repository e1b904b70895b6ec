//! Applications: images that hold a manifest instead of a program, which names the Wasm files to run and what each
//! of them is given. [`detect`](crate::workload::detect) has the rule by which they are told.
//!
//! A manifest is read in the container, with the rights of its user, and never by the parent. What it names is compiled
//! as any other entry point is; the answers are put together again in [`Application::load`].

#![cfg_attr(
    not(feature = "spin"),
    allow(
        unused_variables,
        reason = "what no kind of application is built for is handed to none"
    )
)]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;

use super::kinds::World;
use super::run::{Code, Guest};
#[cfg(feature = "slight")]
use super::slight;
#[cfg(feature = "spin")]
use super::spin;
use crate::workload::detect::Application as Kind;

/// Most files that an application may have compiled: each takes a descriptor, and a compilation the first time.
pub const MAX_COMPONENTS: usize = 64;

/// Opens a file of the image, whatever is in force already; no link leads out of the container.
pub type Open = fn(&Path, OFlags) -> rustix::io::Result<OwnedFd>;

/// What an application is read in.
pub struct Surroundings<'a> {
    /// The container's environment.
    pub env: &'a [(String, String)],
    pub open: Open,
    /// A directory of its own that is empty and can be written, for files that are shown to components.
    pub directory: Option<OwnedFd>,
    /// Bytes, of the container's cgroup.
    pub memory_limit: Option<u64>,
}

/// A file that is to be compiled.
#[derive(Debug)]
pub struct Source {
    /// The component and its path, for errors. Ends as the path does.
    pub name: String,
    pub file: OwnedFd,
    pub world: World,
}

/// Why an application cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    #[cfg(feature = "spin")]
    #[error(transparent)]
    Spin(#[from] spin::SpinError),
    #[cfg(feature = "slight")]
    #[error(transparent)]
    Slight(#[from] slight::SlightError),
    #[error(
        "{manifest}: this is an application for which this wrun was built without the feature `{feature}`; \
         an annotation {}=\"native\" has the entry point run instead",
        crate::spec::annotations::WORKLOAD
    )]
    NotBuilt {
        manifest: &'static str,
        feature: &'static str,
    },
}

/// An application, checked as far as it can be without its code.
pub enum Application {
    #[cfg(feature = "spin")]
    Spin(Box<spin::Application>),
    #[cfg(feature = "slight")]
    Slight(Box<slight::Application>),
}

/// An application that only needs to be entered.
pub enum Loaded {
    #[cfg(feature = "spin")]
    Spin(Box<spin::Loaded>),
    #[cfg(feature = "slight")]
    Slight(Box<slight::Loaded>),
}

/// Reads the manifest, and opens what is to be compiled; [`Application::load`] wants the code in the same order.
pub fn read(
    kind: Kind,
    surroundings: Surroundings<'_>,
) -> Result<(Application, Vec<Source>), ApplicationError> {
    match kind {
        #[cfg(feature = "spin")]
        Kind::Spin => {
            let (application, sources) = spin::read(surroundings)?;
            Ok((Application::Spin(Box::new(application)), sources))
        }
        #[cfg(not(feature = "spin"))]
        Kind::Spin => Err(not_built(kind, World::Spin)),
        #[cfg(feature = "slight")]
        Kind::Slight => {
            let (application, sources) = slight::read(surroundings)?;
            Ok((Application::Slight(Box::new(application)), sources))
        }
        #[cfg(not(feature = "slight"))]
        Kind::Slight => Err(not_built(kind, World::Slight)),
    }
}

#[cfg(not(all(feature = "spin", feature = "slight")))]
fn not_built(kind: Kind, world: World) -> ApplicationError {
    ApplicationError::NotBuilt {
        manifest: kind.manifest(),
        feature: world.name(),
    }
}

impl Application {
    /// Where it has files apart from the container's root.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        match *self {
            #[cfg(feature = "spin")]
            Self::Spin(ref application) => application.directory(),
            #[cfg(feature = "slight")]
            Self::Slight(_) => None,
        }
    }

    /// Sees that the code, which [`Self::load`] is to be given, is of the kind that the manifest needs.
    pub fn accept(&self, codes: &[Code]) -> Result<(), ApplicationError> {
        match *self {
            #[cfg(feature = "spin")]
            Self::Spin(ref application) => Ok(application.accept(codes)?),
            #[cfg(feature = "slight")]
            Self::Slight(ref application) => Ok(application.accept(codes)?),
        }
    }

    /// Maps the code. Needs nothing of the container's file system; see [`super::load`].
    pub fn load(
        self,
        codes: Vec<Code>,
        guest: &Guest,
        proc_self: BorrowedFd<'_>,
    ) -> wasmtime::Result<Loaded> {
        match self {
            #[cfg(feature = "spin")]
            Self::Spin(application) => Ok(Loaded::Spin(Box::new(application.load(codes, guest, proc_self)?))),
            #[cfg(feature = "slight")]
            Self::Slight(application) => Ok(Loaded::Slight(Box::new(application.load(codes, guest)?))),
        }
    }
}

impl Loaded {
    /// Runs it to its end. Nothing of the container's code has run before.
    pub fn run(self, guest: Guest) -> wasmtime::Result<()> {
        match self {
            #[cfg(feature = "spin")]
            Self::Spin(application) => application.run(guest),
            #[cfg(feature = "slight")]
            Self::Slight(application) => application.run(guest),
        }
    }
}
