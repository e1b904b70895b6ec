//! The instances that answer requests: made when a request needs one, never more than there is room for,
//! used again as far as the component's generation of WASI allows it.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot::Canceled;
use hyper::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};
use wasmtime_wasi_http::{WasiBody, p2, p3};

use super::admission::{Client, Permits};
use super::calls::{Calls, Job, Outcome, Told};
use super::queue::{Queue, Wanted};
use super::service::{NoAnswer, report, status_of};
use crate::workload::wasm::kinds::Wasi;
use crate::workload::wasm::kinds::wasi::Host;
use crate::workload::wasm::limits::Limits;

/// How long a request waits for an instance that has said that it could take it.
const MOMENT: Duration = Duration::from_millis(20);

/// How often an instance is used; `wasmtime serve` has the same.
#[derive(Debug, Clone, Copy)]
pub struct Reuse {
    /// Requests in its life.
    pub total: usize,
    /// Requests at once.
    pub concurrent: usize,
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
pub struct Handler(Arc<Instances>);

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
        Self(Arc::new(Instances {
            linked,
            host,
            limits,
            slots: Arc::clone(&slots.free),
            stopping,
            // Nobody is there any more who would be told.
            queue: Queue::new(|job: &Job| !job.permits.is_left()),
        }))
    }

    /// Has a request answered. `permits` are held until nothing of it is left.
    pub async fn answer(
        &self,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        let (end, ended) = oneshot::channel();
        let (tell, told) = futures_channel::oneshot::channel();
        let client = Client::new(&permits);
        let job = Job {
            request,
            tell,
            end,
            permits,
        };
        let (number, wanted) = self.0.queue.push(job);
        self.0.make(wanted);
        let outcome = self.0.told(number, told).await;
        client.answered();
        // What becomes of an instance is told where it ends.
        let outcome = outcome.unwrap_or_else(|_| Err(NoAnswer::Ended.into()));
        outcome.map_err(|error| status_of(error, ended, self.0.linked.id.clone()))
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
    queue: Queue<Job>,
}

impl Instances {
    fn make(self: &Arc<Self>, Wanted(wanted): Wanted) {
        if wanted {
            tokio::spawn(Arc::clone(self).come());
        }
    }

    /// What a request is told. Where those that have said that they could take it do not, another instance is made.
    async fn told(self: &Arc<Self>, number: u64, mut told: Told) -> Result<Outcome, Canceled> {
        // Of 0.2, each has an instance made for itself.
        if self.linked.wasi == Wasi::V02 {
            return told.await;
        }
        let mut moment = MOMENT;
        loop {
            if let Ok(outcome) = tokio::time::timeout(moment, &mut told).await {
                return outcome;
            }
            let Some(wanted) = self.queue.overdue(number) else {
                return told.await;
            };
            self.make(wanted);
            // It is room that lacks, if that does not help.
            moment *= 2;
        }
    }

    /// One more, as soon as there is room; unless by then nothing waits for it.
    async fn come(self: Arc<Self>) {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let (job, wanted) = self.queue.come();
        self.make(wanted);
        // There is always room in the end: it is never closed.
        let (Ok(slot), Some(job)) = (slot, job) else {
            return;
        };
        let mut store = Store::new(&self.linked.engine, (self.host)());
        // It may go on for ever before it takes the request.
        store.data_mut().serve(&job.permits);
        match self.instantiate(&mut store).await {
            Ok(proxy) => self.serve(store, &proxy, job).await,
            Err(error) => {
                drop(store);
                // Its client may have left.
                let _ = job.tell.send(Err(NoAnswer::NotMade(error).into()));
            }
        }
        // After the store is gone.
        drop(slot);
    }

    async fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Proxy> {
        self.limits.apply(store, Host::limits)?;
        // Of an engine that has epochs.
        store.epoch_deadline_callback(|mut store| store.data_mut().turn());
        self.linked.proxy.instantiate_async(store).await
    }

    /// Answers requests, the first and those that wait, until the instance ends.
    async fn serve(self: &Arc<Self>, mut store: Store<Host>, proxy: &Proxy, first: Job) {
        let calls = Calls::new(proxy, Reuse::of(self.linked.wasi), &self.queue);
        let outcome = calls.run(&mut store, first, &self.stopping, |wanted| self.make(wanted));
        let outcome = outcome.await;
        if let Err(error) = &outcome {
            report(error, self.linked.id.clone());
        }
        self.make(calls.leave(outcome.is_err()));
    }
}

/// Waits until the server stops.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    // The sender lives as long as the server; without it there is nothing to go on for.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
