//! Subscriptions by their tokens.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Error, Result};
use crate::workload::wasm::kinds::shape::printable;

/// Most that an application may have.
const MAX: usize = 1024;

/// A token that nobody else has.
pub fn token() -> String {
    // Each state has keys of its own, which come from the kernel's generator.
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

/// Subscriptions of one broker, as long as the application runs: the interface knows no end of one.
pub struct Subscriptions<S>(Mutex<HashMap<String, Arc<S>>>);

impl<S> Default for Subscriptions<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Subscriptions<S> {
    pub fn add(&self, subscription: S) -> Result<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX {
            return Err(Error::Unavailable(format!(
                "there are {MAX} subscriptions already"
            )));
        }
        let token = token();
        all.insert(token.clone(), Arc::new(subscription));
        Ok(token)
    }

    pub fn find(&self, token: &str) -> Result<Arc<S>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(token).cloned().ok_or_else(|| no_such(token))
    }
}

pub fn no_such(token: &str) -> Error {
    Error::NotFound(format!("there is no subscription `{}`", printable(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_found_by_its_token_alone() {
        let subscriptions = Subscriptions::default();
        let (one, two) = (subscriptions.add(1).unwrap(), subscriptions.add(2).unwrap());
        assert_ne!(one, two);
        assert_eq!(*subscriptions.find(&two).unwrap(), 2);
        assert!(matches!(subscriptions.find("x"), Err(Error::NotFound(_))));
        for _ in 2..MAX {
            subscriptions.add(3).unwrap();
        }
        assert!(matches!(subscriptions.add(4), Err(Error::Unavailable(_))));
    }
}
