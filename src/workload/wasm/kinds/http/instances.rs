//! The instances that answer requests: made when a request needs one, never more than there is room for,
//! used again as far as the component's generation of WASI allows it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Sleep;
use wasmtime::component::{GuestTaskId, InstancePre};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p2, p3};

use super::service::{report, status_of};
use crate::workload::wasm::kinds::Wasi;
use crate::workload::wasm::kinds::wasi::Host;
use crate::workload::wasm::limits::Limits;

/// How long an instance that could take more requests waits for one.
const IDLE: Duration = Duration::from_secs(1);

/// How often an instance is used; `wasmtime serve` has the same.
#[derive(Debug, Clone, Copy)]
struct Reuse {
    /// Requests in its life.
    total: usize,
    /// Requests at once.
    concurrent: usize,
}

impl Reuse {
    /// Components of WASI 0.2 are written for one request: what they leave behind, or hold when they trap,
    /// must not be met by the next. Those of 0.3 are called concurrently by its very design.
    const fn of(wasi: Wasi) -> Self {
        match wasi {
            Wasi::V02 => Self {
                total: 1,
                concurrent: 1,
            },
            Wasi::V03 => Self {
                total: 128,
                concurrent: 16,
            },
        }
    }
}

/// Finds the handler's export in a component that is linked.
pub fn handler(pre: InstancePre<Host>, wasi: Wasi) -> wasmtime::Result<ProxyPre<Host>> {
    Ok(match wasi {
        Wasi::V02 => ProxyPre::P2(p2::bindings::ProxyPre::new(pre)?),
        Wasi::V03 => ProxyPre::P3(p3::bindings::ServicePre::new(pre)?),
    })
}

/// Makes the state behind one more instance.
pub type MakeHost = Arc<dyn Fn() -> Host + Send + Sync>;

/// Room for instances, which several components may share.
pub struct Slots {
    /// One permit for each instance that may be.
    free: Arc<Semaphore>,
    count: u32,
}

impl Slots {
    pub fn new(count: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count as usize)),
            count,
        }
    }

    /// Room for one instance, as soon as there is.
    pub async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Waits until no instance is left, and lets none be made any more.
    pub async fn all_free(&self) {
        // It is never closed.
        let all = self.free.acquire_many(self.count).await;
        if let Ok(all) = all {
            all.forget();
        }
    }
}

/// A component that answers requests.
pub struct Handler(ProxyHandler<Instances>);

/// A component that is linked.
pub struct Linked {
    pub engine: Engine,
    pub proxy: ProxyPre<Host>,
    pub wasi: Wasi,
    /// Which it is, for what is said of its failures, where there are others.
    pub id: Option<Arc<str>>,
}

impl Handler {
    /// `limits` are of all instances together.
    pub fn new(
        linked: Linked,
        host: MakeHost,
        limits: Limits,
        slots: &Slots,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self(ProxyHandler::new(Instances {
            linked,
            host,
            limits,
            slots: Arc::clone(&slots.free),
            stopping,
        }))
    }

    /// Has a request answered. `permits` are held until nothing of it is left.
    pub async fn answer(
        &self,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let (end, ended) = oneshot::channel();
        let mut client = Client {
            request: Arc::clone(&permits),
            answered: false,
        };
        let outcome = self.0.handle(Ticket { end, permits }, request).await;
        client.answered = true;
        let id = &self.0.state().linked.id;
        outcome.map_err(|error| status_of(error, ended, id.clone()))
    }
}

/// Makes instances.
struct Instances {
    linked: Linked,
    host: MakeHost,
    /// Of all together.
    limits: Limits,
    slots: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl HandlerState for Instances {
    type StoreData = Host;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Host, Expiration, Worker>> {
        let slot = Arc::clone(&self.slots).acquire_owned().await?;
        let mut store = Store::new(&self.linked.engine, (self.host)());
        self.limits.apply(&mut store, Host::limits)?;
        // Of an engine that has epochs.
        store.epoch_deadline_callback(|mut store| store.data_mut().turn());
        let proxy = self.linked.proxy.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy,
            view: Host::http,
            expiration: Expiration::new(self.stopping.clone()),
            state: Worker {
                reuse: Reuse::of(self.linked.wasi),
                id: self.linked.id.clone(),
                last_request: Mutex::new(None),
                _slot: slot,
            },
        })
    }
}

/// What a request takes of what there is: held as long as anything of it is left, in the queue for an instance,
/// in one, or on the way back. A client that leaves must not let the next one in before.
pub type Permits = Arc<Admission>;

/// A request that was let in.
pub struct Admission<P: ?Sized = [OwnedSemaphorePermit]> {
    /// Whether its client left before there was an answer.
    left: AtomicBool,
    _permits: P,
}

impl Admission {
    pub fn new<const N: usize>(permits: [OwnedSemaphorePermit; N]) -> Permits {
        Arc::new(Admission {
            left: AtomicBool::new(false),
            _permits: permits,
        })
    }

    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

/// Somebody who waits for an answer. Dropped before there is one, it tells that they have left.
struct Client {
    request: Permits,
    answered: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.answered {
            self.request.left.store(true, Ordering::Relaxed);
        }
    }
}

/// What goes with a request to its instance.
pub struct Ticket {
    /// Tells the one who waits for an answer how the instance that was to give it has ended: whether the reason
    /// has been told already. Without a word, where the instance went on to another request.
    end: oneshot::Sender<bool>,
    permits: Permits,
}

/// One instance, as the engine's driver of requests asks about it.
struct Worker {
    reuse: Reuse,
    id: Option<Arc<str>>,
    last_request: Mutex<Option<oneshot::Sender<bool>>>,
    /// Given back after the store is gone.
    _slot: OwnedSemaphorePermit,
}

impl WorkerState for Worker {
    type StoreData = Host;
    type RequestData = Ticket;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.reuse.total {
            ShouldAccept::Never
        } else if concurrent >= self.reuse.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    /// A request may take as long as it takes, also when its client has left: there may be more to do than to answer.
    /// What ends a stuck one is its fuel, the container's limits, or, where the engine has epochs, that it computes
    /// for nobody ([`Host::turn`]).
    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, Host>,
        ticket: Ticket,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let Ticket { end, permits } = ticket;
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        if self.reuse.total == 1 {
            store.data_mut().serve_alone(&permits);
        }
        // Dropped when the instance is done with the request.
        Box::pin(async move {
            let _permits = permits;
            std::future::pending().await
        })
    }

    fn drop(&self, store: Store<Host>, outcome: wasmtime::Result<()>) {
        if let Err(error) = &outcome {
            report(error, self.id.clone());
        }
        let last = self
            .last_request
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(last) = last {
            // Its client may have left.
            let _ = last.send(outcome.is_err());
        }
        drop(store);
    }
}

/// Ends an instance that has had nothing to do for a while, or when the server stops.
struct Expiration {
    stopping: watch::Receiver<bool>,
    /// Made when the instance is first without work; most never are.
    waiting: Option<Waiting>,
}

struct Waiting {
    idle: Pin<Box<Sleep>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Expiration {
    fn new(stopping: watch::Receiver<bool>) -> Self {
        Self {
            stopping,
            waiting: None,
        }
    }
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            return Poll::Pending;
        }
        let this = self.get_mut();
        if *this.stopping.borrow() {
            return Poll::Ready(());
        }
        let deadline = (since + IDLE).into();
        let stopping = &this.stopping;
        let waiting = this.waiting.get_or_insert_with(|| Waiting {
            idle: Box::pin(tokio::time::sleep_until(deadline)),
            stop: Box::pin(stopped(stopping.clone())),
        });
        if waiting.idle.deadline() != deadline {
            waiting.idle.as_mut().reset(deadline);
        }
        // The second is polled once at most when it is over: then the check above comes first.
        if waiting.idle.as_mut().poll(context).is_ready() || waiting.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Waits until the server stops.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender lives as long as the server; without it there is nothing to go on for.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
