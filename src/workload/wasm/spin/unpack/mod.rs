//! From an application as `spin registry push` stores it, an OCI image layout on disk, to a root file system that runs.
//!
//! ```text
//! index.json ── manifest ── locked application ── spin.toml, checked as for a container
//!                  └ layers: modules and files, by digest ──────┴──> a directory beside ROOTFS ──> ROOTFS
//! ```
//!
//! Bytes and names are of an unknown hand. Every blob is held to the size and the digest that name it, every path is
//! walked without following a link, and the whole appears under its name at once, or nothing does.

mod layout;
mod locked;
mod target;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

pub use self::layout::LayoutError;
pub use self::locked::LockedError;

use self::layout::{Descriptor, Layout};
use self::locked::{Content, Part};
use self::target::Target;
use super::manifest::ManifestError;

/// Media types of a Spin application's parts.
pub const APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
const ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";

/// Most bytes of the locked application, and of all modules and files together.
const MAX_LOCKED: u64 = 16 << 20;
const MAX_TOTAL: u64 = 4 << 30;
/// Most files and directories.
const MAX_FILES: usize = 100_000;

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    pub name: String,
    pub components: usize,
    pub files: usize,
    /// Of modules and files.
    pub bytes: u64,
}

/// Why an image layout is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{layout}: the locked application: {error}")]
    Locked { layout: PathBuf, error: LockedError },
    #[error("{layout}: the locked application as a manifest: {error}")]
    Manifest { layout: PathBuf, error: ManifestError },
    #[error(
        "{layout}: this is no Spin application: it has neither a layer nor a configuration of the type {APPLICATION}"
    )]
    NoApplication { layout: PathBuf },
    #[error("{layout}: there are {count} layers of the type {APPLICATION}; an application has one")]
    Ambiguous { layout: PathBuf, count: usize },
    #[error("{layout}: {what}: no layer has the digest {digest}{hint}")]
    NoLayer {
        layout: PathBuf,
        what: String,
        digest: String,
        hint: &'static str,
    },
    #[error("{layout}: its modules and files have {found} {what}, and at most {most} are unpacked")]
    TooMuch {
        layout: PathBuf,
        what: &'static str,
        found: u64,
        most: u64,
    },
    #[error("{path}: exists and is no empty directory; name one that does not exist")]
    Occupied { path: PathBuf },
    #[error("{path}: {what}")]
    Write {
        path: PathBuf,
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Makes `rootfs` of the application in the image layout; it must not exist, or be an empty directory.
pub fn unpack(layout: &Path, rootfs: &Path) -> Result<Unpacked, UnpackError> {
    let named = || layout.to_owned();
    let source = Layout::open(layout)?;
    let image = source.image()?;
    let applications = image
        .layers
        .iter()
        .filter(|layer| layer.media_type == APPLICATION);
    let applications: Vec<&Descriptor> = applications.collect();
    let locked = match applications.as_slice() {
        [only] => *only,
        [] if image.config.media_type == APPLICATION => &image.config,
        [] => return Err(UnpackError::NoApplication { layout: named() }),
        several => {
            return Err(UnpackError::Ambiguous {
                layout: named(),
                count: several.len(),
            });
        }
    };
    let text = source.read(locked, MAX_LOCKED)?;
    let plan = locked::plan(&text).map_err(|error| UnpackError::Locked {
        layout: named(),
        error,
    })?;
    super::manifest::Manifest::parse(&plan.manifest).map_err(|error| UnpackError::Manifest {
        layout: named(),
        error,
    })?;
    let mut parts = Vec::new();
    let (mut bytes, archived) = (0u64, image.layers.iter().any(|layer| layer.media_type == ARCHIVE));
    for part in &plan.parts {
        let found = match &part.content {
            Content::Inline(content) => {
                bytes = bytes.saturating_add(content.len() as u64);
                None
            }
            Content::Digest(digest) => {
                let layer = image.layers.iter().find(|layer| layer.digest == *digest);
                let layer = layer.ok_or_else(|| UnpackError::NoLayer {
                    layout: named(),
                    what: part.what.clone(),
                    digest: digest.clone(),
                    hint: match archived {
                        true => {
                            "; files in layers that are archives are not unpacked: push it without \
                                 SPIN_OCI_ARCHIVE_LAYERS"
                        }
                        false => "",
                    },
                })?;
                bytes = bytes.saturating_add(layer.size);
                Some(layer)
            }
        };
        parts.push((part, found));
    }
    let too_much = |what, found, most| UnpackError::TooMuch {
        layout: named(),
        what,
        found,
        most,
    };
    if bytes > MAX_TOTAL {
        return Err(too_much("bytes", bytes, MAX_TOTAL));
    }
    let files = parts.len() + directories(&plan.parts);
    if files > MAX_FILES {
        return Err(too_much("files and directories", files as u64, MAX_FILES as u64));
    }
    let target = Target::new(rootfs)?;
    for (part, layer) in &parts {
        let mut file = target.create(&part.path)?;
        match (&part.content, layer) {
            (Content::Inline(content), _) => target.write(&mut file, &part.path, content)?,
            (Content::Digest(_), Some(layer)) => {
                source.copy(layer, |bytes| target.write(&mut file, &part.path, bytes))?;
            }
            (Content::Digest(_), None) => {}
        }
    }
    let mut file = target.create("spin.toml")?;
    target.write(&mut file, "spin.toml", plan.manifest.as_bytes())?;
    target.finish()?;
    Ok(Unpacked {
        name: plan.name,
        components: plan.components,
        files: parts.len() - plan.components,
        bytes,
    })
}

/// How many directories these files are in.
fn directories(parts: &[Part]) -> usize {
    let above = parts.iter().flat_map(|part| {
        let slashes = part.path.match_indices('/');
        slashes.filter_map(|(at, _)| part.path.get(..at))
    });
    above.collect::<BTreeSet<&str>>().len()
}

#[cfg(test)]
mod tests;
