//! What is wrong with a manifest.

/// The first thing that is wrong; each names the key, within the component that it is of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    #[error("{key}: {reason}")]
    Value { key: String, reason: String },
}

impl ManifestError {
    pub fn at(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            reason: reason.into(),
        }
    }
}
