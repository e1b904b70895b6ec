//! What a request takes of what there is, and whether anybody waits for what an instance does with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OwnedSemaphorePermit;

/// What a request takes of what there is: held as long as anything of it is left, in the queue for an instance,
/// in one, or on the way back. A client that leaves must not let the next one in before.
pub type Permits = Arc<Admission>;

/// A request that was let in.
pub struct Admission<P: ?Sized = [OwnedSemaphorePermit]> {
    /// Whether its client left before there was an answer.
    left: AtomicBool,
    /// Whether the answer has been taken to its end, or will be taken no further.
    over: AtomicBool,
    _permits: P,
}

impl Admission {
    pub fn new<const N: usize>(permits: [OwnedSemaphorePermit; N]) -> Permits {
        Arc::new(Admission {
            left: AtomicBool::new(false),
            over: AtomicBool::new(false),
            _permits: permits,
        })
    }

    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for the answer, or for more of it.
    pub fn is_waited_for(&self) -> bool {
        !self.is_left() && !self.over.load(Ordering::Relaxed)
    }
}

/// Somebody who waits for an answer. Dropped before there is one, it tells that they have left.
pub struct Client {
    request: Permits,
    answered: bool,
}

impl Client {
    pub fn new(request: &Permits) -> Self {
        Self {
            request: Arc::clone(request),
            answered: false,
        }
    }

    /// Has the answer.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.answered {
            self.request.left.store(true, Ordering::Relaxed);
        }
    }
}

/// Goes with an answer. Dropped, it tells that no more of it is taken.
pub struct Taking(Permits);

impl Taking {
    pub fn new(request: Permits) -> Self {
        Self(request)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_waited_for_until_its_client_leaves_or_has_all() {
        let request = Admission::new([]);
        let client = Client::new(&request);
        assert!(request.is_waited_for());
        drop(client);
        assert!(request.is_left() && !request.is_waited_for());
        let request = Admission::new([]);
        Client::new(&request).answered();
        let taking = Taking::new(Arc::clone(&request));
        assert!(request.is_waited_for());
        drop(taking);
        assert!(!request.is_left() && !request.is_waited_for());
    }
}
