//! How much the components of an application may take of the process that they share, so that none of them can
//! keep the others from theirs: connections, handles, and the bytes that the host holds for one call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of all components together, unless the runtime configuration says otherwise.
const CONNECTIONS: usize = 256;
/// Connections of one instance.
const CONNECTIONS_OF_INSTANCE: usize = 32;
/// Connections to SQLite databases that all instances of one component may have, and statements of theirs that
/// run at once: databases share memory and threads.
const DATABASES_OF_COMPONENT: usize = 64;
const STATEMENTS_OF_COMPONENT: usize = 2;
/// Handles of stores that one instance may hold; Spin has the same.
const HANDLES: usize = 256;

/// How long an instance waits for a connection while all are taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to be reached, and to answer.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
pub const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Bytes that the host holds for one call: a value, or all rows of a query.
const CALL_BYTES: usize = 64 << 20;
const LEAST_CALL_BYTES: usize = 1 << 20;
/// So many calls at once can have that much, of what they are given and what they get; it is counted in steps of these
/// bytes.
const FULL_CALLS: usize = 4;
const STEP: usize = 4 << 10;

/// The limits of an application.
#[derive(Debug, Clone)]
pub struct Bounds {
    connections: Arc<Semaphore>,
    components: Arc<Mutex<BTreeMap<String, OfComponent>>>,
    /// A permit for each step of bytes that may be held for calls.
    held: Arc<Semaphore>,
    pub call_bytes: usize,
}

/// What all instances of a component have together.
#[derive(Debug, Clone)]
pub struct OfComponent {
    databases: Arc<Semaphore>,
    statements: Arc<Semaphore>,
}

/// What an instance has of them; copies are the same share.
#[derive(Debug, Clone)]
pub struct Share(Arc<OfInstance>);

/// Made with each instance, most of which have no connection and no handle.
#[derive(Debug)]
struct OfInstance {
    all: Arc<Semaphore>,
    held: Arc<Semaphore>,
    /// Others of its calls may give a connection back.
    waits: bool,
    own: OnceLock<Arc<Semaphore>>,
    handles: OnceLock<Arc<Semaphore>>,
}

/// Bytes that the host holds for one call; they are given back with it.
#[derive(Debug)]
pub struct Hold {
    all: Arc<Semaphore>,
    steps: usize,
}

/// Given back with the connection that it is for.
#[derive(Debug)]
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _all: Option<OwnedSemaphorePermit>,
}

/// Too much is open already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Bounds {
    /// `memory` is in bytes, what the container may use.
    pub fn new(memory: Option<u64>, connections: Option<u32>) -> Self {
        let connections = connections.map_or(CONNECTIONS, |most| most as usize);
        let of_memory = memory.map(|memory| usize::try_from(memory / 16).unwrap_or(usize::MAX));
        let call_bytes = of_memory.map_or(CALL_BYTES, |bytes| bytes.clamp(LEAST_CALL_BYTES, CALL_BYTES));
        Self {
            held: Arc::new(Semaphore::new(FULL_CALLS * call_bytes / STEP)),
            connections: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            components: Arc::default(),
            call_bytes,
        }
    }

    pub fn share(&self) -> Share {
        self.share_that(false)
    }

    /// The same for an instance that several calls share.
    pub fn share_of_many_calls(&self) -> Share {
        self.share_that(true)
    }

    fn share_that(&self, waits: bool) -> Share {
        Share(Arc::new(OfInstance {
            all: Arc::clone(&self.connections),
            held: Arc::clone(&self.held),
            waits,
            own: OnceLock::new(),
            handles: OnceLock::new(),
        }))
    }

    /// Of a call that has nothing yet.
    pub fn hold(&self) -> Hold {
        Hold::new(&self.held)
    }

    /// So many bytes held for a call.
    pub fn held(&self, bytes: usize) -> Result<Hold, String> {
        let mut hold = self.hold();
        hold.grow(bytes)?;
        Ok(hold)
    }

    /// The share of a component, by its name.
    pub fn of_component(&self, name: &str) -> OfComponent {
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = components.get(name) {
            return component.clone();
        }
        let component = OfComponent {
            databases: Arc::new(Semaphore::new(DATABASES_OF_COMPONENT)),
            statements: Arc::new(Semaphore::new(STATEMENTS_OF_COMPONENT)),
        };
        components.insert(name.to_owned(), component.clone());
        component
    }

    /// Sees that what is to be held for one call is not too much.
    pub fn check(&self, bytes: usize) -> Result<(), String> {
        if bytes <= self.call_bytes {
            return Ok(());
        }
        Err(format!(
            "the result has more than the {} bytes that are allowed",
            self.call_bytes
        ))
    }
}

impl OfComponent {
    /// A place for one more connection to a database, waiting for those of other instances.
    pub async fn database(&self) -> Result<OwnedSemaphorePermit, TooMany> {
        place(Arc::clone(&self.databases)).await
    }

    /// A turn for one statement.
    pub async fn statement(&self) -> Result<OwnedSemaphorePermit, TooMany> {
        let turn = Arc::clone(&self.statements).acquire_owned().await;
        turn.map_err(|_| TooMany)
    }
}

impl Hold {
    fn new(all: &Arc<Semaphore>) -> Self {
        Self {
            all: Arc::clone(all),
            steps: 0,
        }
    }

    /// Has it that many bytes, where all calls together may have as much.
    pub fn grow(&mut self, bytes: usize) -> Result<(), String> {
        let more = bytes.div_ceil(STEP).saturating_sub(self.steps);
        let permits = u32::try_from(more)
            .ok()
            .and_then(|more| self.all.try_acquire_many(more).ok());
        let permits = permits.ok_or("all calls at once have more bytes than are allowed")?;
        permits.forget();
        self.steps += more;
        Ok(())
    }

    /// Gives back what it has beside that many bytes.
    pub fn keep(&mut self, bytes: usize) {
        let kept = bytes.div_ceil(STEP).min(self.steps);
        self.all.add_permits(self.steps - kept);
        self.steps = kept;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keep(0);
    }
}

impl Share {
    /// Bytes held for this instance, none at first, counted against what all instances may hold.
    pub fn hold(&self) -> Hold {
        Hold::new(&self.0.held)
    }

    /// So many bytes held for this instance.
    pub fn held(&self, bytes: usize) -> Result<Hold, String> {
        let mut hold = self.hold();
        hold.grow(bytes)?;
        Ok(hold)
    }

    /// A place for one more connection, waiting for those of other instances, and of other calls.
    pub fn connection(&self) -> impl Future<Output = Result<Permit, TooMany>> + Send + use<> {
        let own = self
            .0
            .own
            .get_or_init(|| Semaphore::new(CONNECTIONS_OF_INSTANCE).into());
        let (own, all) = (Arc::clone(own), Arc::clone(&self.0.all));
        let at_once = (!self.0.waits).then(|| Arc::clone(&own).try_acquire_owned());
        async move {
            let own = match at_once {
                Some(own) => own.map_err(|_| TooMany)?,
                None => place(own).await?,
            };
            let all = place(all).await?;
            Ok(Permit {
                _own: own,
                _all: Some(all),
            })
        }
    }

    /// A place for one more handle, behind which there is nothing that others could lack.
    pub fn handle(&self) -> Result<Permit, TooMany> {
        let own = self.0.handles.get_or_init(|| Semaphore::new(HANDLES).into());
        let own = Arc::clone(own).try_acquire_owned();
        own.map(|own| Permit {
            _own: own,
            _all: None,
        })
        .map_err(|_| TooMany)
    }
}

/// One, as soon as there is one.
async fn place(of: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, TooMany> {
    let place = tokio::time::timeout(PATIENCE, of.acquire_owned()).await;
    place.map_err(|_| TooMany)?.map_err(|_| TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_container_holds_less_for_a_call() {
        assert_eq!(Bounds::new(None, None).call_bytes, 64 << 20);
        assert_eq!(Bounds::new(Some(64 << 20), None).call_bytes, 4 << 20);
        assert_eq!(Bounds::new(Some(1 << 20), None).call_bytes, 1 << 20);
        let bounds = Bounds::new(Some(64 << 20), None);
        assert!(bounds.check(4 << 20).is_ok() && bounds.check((4 << 20) + 1).is_err());
    }

    #[test]
    fn all_calls_have_no_more_than_a_few_may() {
        let bounds = Bounds::new(Some(64 << 20), None);
        let mut full: Vec<Hold> = (0..FULL_CALLS).map(|_| bounds.hold()).collect();
        for hold in &mut full {
            hold.grow(bounds.call_bytes).expect("as much as one may have");
            hold.grow(1).expect("it has that");
        }
        bounds.share().hold().grow(1).expect_err("a byte too many");
        full.pop();
        bounds
            .share()
            .hold()
            .grow(bounds.call_bytes)
            .expect("what came back");
        bounds
            .hold()
            .grow(usize::MAX)
            .expect_err("more than can be counted");
    }

    #[tokio::test]
    async fn what_is_taken_comes_back() {
        let bounds = Bounds::new(None, Some(1));
        let (one, other) = (bounds.share(), bounds.share());
        let held = one.connection().await.expect("the first");
        let waiting = tokio::spawn(other.connection());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "all are taken");
        drop(held);
        waiting.await.expect("no panic").expect("the one that came back");
    }

    #[tokio::test]
    async fn an_instance_has_no_more_than_its_share() {
        let bounds = Bounds::new(None, None);
        let share = bounds.share();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_OF_INSTANCE {
            held.push(share.connection().await.expect("within the share"));
        }
        assert_eq!(share.connection().await.expect_err("one too many"), TooMany);
        bounds.share().connection().await.expect("another instance's");
        let shared = bounds.share_of_many_calls();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_OF_INSTANCE {
            held.push(shared.connection().await.expect("within the share"));
        }
        let waiting = tokio::spawn(shared.connection());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "all are taken");
        held.pop();
        waiting.await.expect("no panic").expect("one that came back");
        let handles: Vec<_> = (0..HANDLES).map(|_| share.handle().expect("a handle")).collect();
        assert_eq!(share.handle().expect_err("one too many"), TooMany);
        drop(handles);
        share.handle().expect("a handle that came back");
    }

    #[tokio::test]
    async fn a_component_leaves_turns_to_others() {
        let bounds = Bounds::new(None, None);
        let component = bounds.of_component("one");
        let mut turns = Vec::new();
        for _ in 0..STATEMENTS_OF_COMPONENT {
            turns.push(component.statement().await.expect("a turn"));
        }
        let again = bounds.of_component("one");
        let waiting = tokio::spawn(async move { again.statement().await.map(drop) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "another instance has no other turns");
        let other = bounds.of_component("other").statement().await;
        drop(other.expect("another component's"));
        turns.clear();
        waiting.await.expect("no panic").expect("a turn that came back");
    }
}
