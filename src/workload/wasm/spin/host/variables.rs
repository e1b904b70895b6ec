//! Variables of a component, in each generation of their interface, and as `wasi:config/store`.

use wasmtime::component::Accessor;

use super::bindings::fermyon::spin::config as v1;
use super::bindings::fermyon::spin2_0_0::variables as v2;
use super::bindings::spin::variables::variables as v3;
use super::bindings::wasi::config::store as wasi;
use super::{Grants, Spin, SpinCtxView};

/// Why there is no value.
#[derive(Debug, PartialEq, Eq)]
enum None {
    InvalidName(String),
    Undefined(String),
}

impl Grants {
    fn variable(&self, name: &str) -> Result<String, None> {
        check(name).map_err(|reason| None::InvalidName(format!("{name:?}: {reason}")))?;
        let value = self.variables.get(name).cloned();
        value.ok_or_else(|| None::Undefined(format!("component {} has no variable {name}", self.component)))
    }
}

/// Lower-case words with single underscores between.
fn check(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("must begin with a lower-case letter");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        return Err("must be of lower-case letters, digits and underscores");
    }
    if name.ends_with('_') || name.contains("__") {
        return Err("must not have underscores at its end or next to each other");
    }
    Ok(())
}

impl v1::Host for SpinCtxView<'_> {
    async fn get_config(&mut self, key: String) -> Result<String, v1::Error> {
        self.ctx.grants.variable(&key).map_err(|none| match none {
            None::InvalidName(text) => v1::Error::InvalidKey(text),
            None::Undefined(text) => v1::Error::Provider(text),
        })
    }
}

impl v2::Host for SpinCtxView<'_> {
    async fn get(&mut self, name: String) -> Result<String, v2::Error> {
        self.ctx.grants.variable(&name).map_err(|none| match none {
            None::InvalidName(text) => v2::Error::InvalidName(text),
            None::Undefined(text) => v2::Error::Undefined(text),
        })
    }
}

impl v3::Host for SpinCtxView<'_> {}

impl<T: Send> v3::HostWithStore<T> for Spin {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, v3::Error> {
        let value = accessor.with(|mut access| access.get().ctx.grants.variable(&name));
        value.map_err(|none| match none {
            None::InvalidName(text) => v3::Error::InvalidName(text),
            None::Undefined(text) => v3::Error::Undefined(text),
        })
    }
}

impl wasi::Host for SpinCtxView<'_> {
    /// There is no such thing as an invalid name here, only one that nothing has.
    async fn get(&mut self, key: String) -> Result<Option<String>, wasi::Error> {
        Ok(self.ctx.grants.variable(&key).ok())
    }

    async fn get_all(&mut self) -> Result<Vec<(String, String)>, wasi::Error> {
        let all = self.ctx.grants.variables.iter();
        Ok(all.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_values_are_looked_up() {
        let grants = Grants {
            component: "c".to_owned(),
            variables: [("a_1".to_owned(), "x".to_owned())].into(),
            ..Grants::default()
        };
        assert_eq!(grants.variable("a_1"), Ok("x".to_owned()));
        assert_eq!(
            grants.variable("b"),
            Err(None::Undefined("component c has no variable b".to_owned()))
        );
        for name in ["", "A", "_a", "a_", "a__b", "a-b", "1a", "ä"] {
            assert!(
                matches!(grants.variable(name), Err(None::InvalidName(_))),
                "{name}"
            );
        }
    }
}
