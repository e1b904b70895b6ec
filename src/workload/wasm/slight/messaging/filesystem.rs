//! Messages in a directory, which several containers may share as a volume.
//!
//! ```text
//! topics/TOPIC/N           message N, from 0 on; none is removed
//! topics/TOPIC/last        the number of a late one, from where the next is looked for
//! subscriptions/TOKEN      the number of the message that comes next, and its topic
//! ```
//!
//! A subscription begins with the first message there is, as slight's does; each comes once and in order, with its own
//! bytes and no others. Where there is none yet an empty one is received, since slight's guests ask again then.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::subscriptions::{no_such, token};
use super::{Error, Result};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::slight::directory::{Directory, is_name};

const LAST: &str = "last";

/// The topics of a directory.
pub struct Topics {
    directory: Directory,
    /// Held while a subscription moves on.
    moving: Mutex<()>,
}

fn failed(error: &io::Error) -> Error {
    Error::Delivery(error.to_string())
}

impl Topics {
    pub fn new(directory: Directory) -> Self {
        Self {
            directory,
            moving: Mutex::new(()),
        }
    }

    fn topic(&self, topic: &str) -> Result<Directory> {
        if !is_name(topic) {
            let text = format!("`{}` cannot be the name of a directory", printable(topic));
            return Err(Error::NotFound(text));
        }
        let topics = self.directory.below("topics");
        topics
            .and_then(|topics| topics.below(topic))
            .map_err(|error| failed(&error))
    }

    fn subscriptions(&self) -> Result<Directory> {
        self.directory
            .below("subscriptions")
            .map_err(|error| failed(&error))
    }

    pub fn publish(&self, topic: &str, message: &[u8]) -> Result<()> {
        let topic = self.topic(topic)?;
        let late = topic
            .read(LAST)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let mut number: u64 = late.and_then(|text| text.parse().ok()).unwrap_or(0);
        loop {
            match topic.create(&number.to_string(), message) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let next = number.checked_add(1);
                    number = next.ok_or_else(|| Error::Delivery("the topic is full".to_owned()))?;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        topic
            .write(LAST, number.to_string().as_bytes())
            .map_err(|error| failed(&error))
    }

    pub fn subscribe(&self, topic: &str) -> Result<String> {
        self.topic(topic)?;
        let token = token();
        self.subscriptions()?
            .create(&token, format!("0 {topic}").as_bytes())
            .map_err(|error| failed(&error))?;
        Ok(token)
    }

    pub fn receive(&self, token: &str) -> Result<Vec<u8>> {
        if !is_name(token) {
            return Err(no_such(token));
        }
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let subscriptions = self.subscriptions()?;
        let state = subscriptions.read(token).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_such(token),
            _ => failed(&error),
        })?;
        let state = String::from_utf8(state).ok();
        let parts = state.as_deref().and_then(|state| state.split_once(' '));
        let next = parts.and_then(|(number, topic)| Some((number.parse::<u64>().ok()?, topic)));
        let (number, topic) = next.ok_or_else(|| no_such(token))?;
        match self.topic(topic)?.read(&number.to_string()) {
            Ok(message) => {
                let state = format!("{} {topic}", number.saturating_add(1));
                subscriptions
                    .write(token, state.as_bytes())
                    .map_err(|error| failed(&error))?;
                Ok(message)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
    }

    #[test]
    fn each_subscription_gets_each_message_once_and_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = [("TMPDIR".to_owned(), dir.path().display().to_string())];
        // As two containers that share a volume.
        let [one, two] = [(), ()].map(|()| Topics::new(Directory::named("m", &env, open).expect("a name")));
        one.publish("rust", b"first").unwrap();
        two.publish("rust", b"second\nline").unwrap();
        two.publish("rust-other", b"elsewhere").unwrap();
        let (a, b) = (two.subscribe("rust").unwrap(), one.subscribe("rust").unwrap());
        assert_eq!(two.receive(&a).unwrap(), b"first");
        assert_eq!(two.receive(&a).unwrap(), b"second\nline");
        assert_eq!(two.receive(&a).unwrap(), b"");
        one.publish("rust", b"third").unwrap();
        assert_eq!(two.receive(&a).unwrap(), b"third");
        assert_eq!(two.receive(&b).unwrap(), b"first");
    }

    #[test]
    fn topics_and_tokens_lead_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = [("TMPDIR".to_owned(), dir.path().display().to_string())];
        let topics = Topics::new(Directory::named("m", &env, open).expect("a name"));
        for wrong in ["", "..", "a/b", "../../x"] {
            assert!(
                matches!(topics.publish(wrong, b"x"), Err(Error::NotFound(_))),
                "{wrong}"
            );
            assert!(
                matches!(topics.subscribe(wrong), Err(Error::NotFound(_))),
                "{wrong}"
            );
            assert!(
                matches!(topics.receive(wrong), Err(Error::NotFound(_))),
                "{wrong}"
            );
        }
        assert!(matches!(topics.receive("none"), Err(Error::NotFound(_))));
    }
}
