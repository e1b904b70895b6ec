//! An OCI image layout on disk: `index.json`, the manifest that it names, and blobs by their digest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::UnpackError;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Most bytes of the index and of a manifest; registries take no larger ones.
const MAX_MANIFEST: u64 = 4 << 20;
const CHUNK: usize = 64 << 10;

/// What is wrong with an image layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("{path}: cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {reason}")]
    Wrong { path: PathBuf, reason: String },
}

/// What names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// A manifest.
#[derive(Debug, Deserialize)]
pub struct Image {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

pub struct Layout {
    path: PathBuf,
    directory: OwnedFd,
}

impl Layout {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| LayoutError::Read {
            path: path.to_owned(),
            source: error.into(),
        })?;
        let layout = Self {
            path: path.to_owned(),
            directory,
        };
        let version: Version = layout.json("oci-layout", &layout.small("oci-layout")?)?;
        if version.image_layout_version != "1.0.0" {
            let reason = format!("is of version {:?}; 1.0.0 is known", version.image_layout_version);
            return Err(layout.wrong("oci-layout", reason));
        }
        Ok(layout)
    }

    /// The manifest of the one image that the layout has.
    pub fn image(&self) -> Result<Image, LayoutError> {
        let name = "index.json";
        let index: Index = self.json(name, &self.small(name)?)?;
        let [only] = index.manifests.as_slice() else {
            let count = index.manifests.len();
            let reason = format!("names {count} images; copy the one that is meant into a layout of its own");
            return Err(self.wrong(name, reason));
        };
        match only.media_type.as_str() {
            IMAGE => {}
            INDEX => {
                let reason = "names an index of images; copy the one that is meant into a layout of its own";
                return Err(self.wrong(name, reason));
            }
            other => return Err(self.wrong(name, format!("names what is no image, but {other:?}"))),
        }
        let text = self.read(only, MAX_MANIFEST)?;
        self.json(&blob(only).map_err(|reason| self.wrong(name, reason))?, &text)
    }

    /// A blob of at most so many bytes.
    pub fn read(&self, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, LayoutError> {
        if descriptor.size > most {
            let reason = format!("has {} bytes, and at most {most} are read", descriptor.size);
            return Err(self.wrong(&descriptor.digest, reason));
        }
        let mut bytes = Vec::new();
        self.each(descriptor, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok::<(), LayoutError>(())
        })?;
        Ok(bytes)
    }

    /// Gives a blob away in pieces. Only when this returns is it known to be what its digest says.
    pub fn copy(
        &self,
        descriptor: &Descriptor,
        write: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        self.each(descriptor, write)
    }

    fn each<E: From<LayoutError>>(
        &self,
        descriptor: &Descriptor,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = blob(descriptor).map_err(|reason| self.wrong(&descriptor.digest, reason))?;
        let mut file = self.file(&name)?;
        let (mut hash, mut read) = (Sha256::new(), 0u64);
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.unread(&name, source).into()),
            };
            read += count as u64;
            let bytes = chunk.get(..count).unwrap_or_default();
            if read > descriptor.size {
                break;
            }
            hash.update(bytes);
            take(bytes)?;
        }
        if read != descriptor.size {
            let more = if read > descriptor.size { "more" } else { "fewer" };
            let reason = format!(
                "has {more} bytes than the {} that it should have",
                descriptor.size
            );
            return Err(self.wrong(&name, reason).into());
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if !descriptor.digest.ends_with(&found) {
            let reason = format!("has the digest sha256:{found}, so it is not what was asked for");
            return Err(self.wrong(&name, reason).into());
        }
        Ok(())
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        let mut limited = self.file(name)?.take(MAX_MANIFEST + 1);
        limited
            .read_to_end(&mut bytes)
            .map_err(|source| self.unread(name, source))?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(self.wrong(
                name,
                format!("has more than the {MAX_MANIFEST} bytes that are read"),
            ));
        }
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, LayoutError> {
        serde_json::from_slice(bytes).map_err(|error| self.wrong(name, error.to_string()))
    }

    /// A regular file of the layout; no link leads out of it.
    fn file(&self, name: &str) -> Result<File, LayoutError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), resolve);
        let file = opened.map_err(|error| self.unread(name, error.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| self.unread(name, error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.wrong(name, "is not a regular file"));
        }
        Ok(File::from(file))
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> LayoutError {
        LayoutError::Wrong {
            path: self.path.join(name),
            reason: reason.into(),
        }
    }

    fn unread(&self, name: &str, source: io::Error) -> LayoutError {
        LayoutError::Read {
            path: self.path.join(name),
            source,
        }
    }
}

/// Where a blob is.
fn blob(descriptor: &Descriptor) -> Result<String, String> {
    let hex = descriptor.digest.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex {
        Ok(format!("blobs/sha256/{hex}"))
    } else {
        Err("is no digest: `sha256:` and 64 lower-case hexadecimal digits are".to_owned())
    }
}
