//! The name under which compiled code is kept: what was compiled, for which engine, CPU and entry.

use super::engine::{self, Build, Tier};
use super::kinds::World;

/// What code is made for, besides the bytes that it is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The function asked for by `file.wasm#function`.
    pub export: Option<&'a str>,
    pub world: World,
}

/// The name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(blake3::Hash);

impl Key {
    /// The key of the optimised code. `content` is the hash of the entry point's bytes.
    pub fn new(content: &blake3::Hash, purpose: Purpose<'_>, build: Build) -> Self {
        let build = Build {
            tier: Tier::Optimized,
            ..build
        };
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(content.as_bytes());
        part(engine::identity(build).as_bytes());
        if let Some(export) = purpose.export {
            part(export.as_bytes());
        }
        // The same bytes are examined by other rules there, and may be made into a component first.
        if purpose.world != World::Wasi {
            part(b"");
            part(purpose.world.name().as_bytes());
        }
        Self(hasher.finalize())
    }

    /// Where code of the same content and export is kept until there is optimised code, which is under this
    /// key. One name for all that is quickly compiled: the entry tells which kind it is.
    pub fn provisional(&self) -> Self {
        Self(blake3::keyed_hash(self.bytes(), b"provisional"))
    }

    /// Where code of this tier is kept; `self` is the optimised code's key.
    pub fn of(&self, tier: Tier) -> Self {
        match tier {
            Tier::Optimized => *self,
            Tier::Quick | Tier::Baseline => self.provisional(),
        }
    }

    /// The name of one of an entry's files.
    pub fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.0.to_hex())
    }

    /// Keys the digest of the entry.
    pub fn bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    pub fn from_hex(hex: &str) -> Option<Self> {
        blake3::Hash::from_hex(hex).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_content_and_export() {
        let (one, two) = (blake3::hash(b"one"), blake3::hash(b"two"));
        let key = |content, export| {
            let world = World::Wasi;
            Key::new(content, Purpose { export, world }, Build::default()).to_hex()
        };
        assert_eq!(key(&one, None), key(&one, None));
        assert_ne!(key(&one, None), key(&two, None));
        assert_ne!(key(&one, None), key(&one, Some("run")));
        assert_ne!(key(&one, Some("run")), key(&one, Some("walk")));
        let within = |world| Key::new(&one, Purpose { export: None, world }, Build::default()).to_hex();
        assert_eq!(within(World::Wasi), key(&one, None));
        assert_ne!(within(World::Wasi), within(World::Spin));
        assert_ne!(within(World::Spin), within(World::Slight));
    }

    #[test]
    fn quickly_compiled_code_has_a_name_of_its_own() {
        let key = Key::new(&blake3::hash(b"x"), Purpose::default(), Build::default());
        assert!(key.provisional() != key && key.provisional() == key.provisional());
        assert!(key.provisional().provisional() != key);
    }

    #[test]
    fn a_key_survives_being_written_down() {
        let key = Key::new(&blake3::hash(b"x"), Purpose::default(), Build::default());
        assert!(Key::from_hex(&key.to_hex()) == Some(key));
        assert!(Key::from_hex("no key").is_none());
        assert_eq!(key.file("code"), format!("{}.code", key.to_hex()));
    }
}
