//! The calls of one instance: of 0.2 there is one in its life, of 0.3 some at once and more one after another, taken
//! from the queue of all instances while those that there are wait for something.
//!
//! A call may take as long as it takes, also when its client has left: there may be more to do than to answer. What ends
//! a stuck one is its fuel, the container's limits, or, where the engine has epochs, that it computes for nobody
//! ([`Host::turn`]).

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::{Request, Response};
use tokio::sync::{oneshot, watch};
use wasmtime::component::{Accessor, Func};
use wasmtime::{AsContextMut as _, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::admission::Permits;
use super::instances::{Reuse, stopped};
use super::queue::{Queue, Wanted, Word};
use crate::workload::wasm::kinds::wasi::Host;

/// How long an instance that could take more requests waits for one.
const IDLE: Duration = Duration::from_secs(1);

/// What becomes of a request, and who waits for it.
pub type Outcome = wasmtime::Result<Response<WasiBody>>;
pub type Told = futures_channel::oneshot::Receiver<Outcome>;

/// A request, and who waits for its answer.
pub struct Job {
    pub request: Request<WasiBody>,
    pub tell: futures_channel::oneshot::Sender<Outcome>,
    /// Tells the one who waits for an answer how the instance that was to give it has ended: whether the reason
    /// has been told already. Without a word, where the instance went on to another request.
    pub end: oneshot::Sender<bool>,
    pub permits: Permits,
}

/// What an instance does.
pub struct Calls<'a> {
    proxy: &'a Proxy,
    reuse: Reuse,
    queue: &'a Queue<Job>,
    word: Mutex<Word>,
    last: Mutex<Option<oneshot::Sender<bool>>>,
    /// All calls have come to where they wait, as far as is known: another then holds up none of them.
    waiting: AtomicBool,
}

impl<'a> Calls<'a> {
    pub fn new(proxy: &'a Proxy, reuse: Reuse, queue: &'a Queue<Job>) -> Self {
        Self {
            proxy,
            reuse,
            queue,
            word: Mutex::default(),
            last: Mutex::new(None),
            waiting: AtomicBool::new(false),
        }
    }

    /// Answers the first request, and those it takes, until it has had as many as it may, or none for a while.
    pub async fn run(
        &self,
        store: &mut Store<Host>,
        first: Job,
        stopping: &watch::Receiver<bool>,
        make: impl Fn(Wanted) + Send + Sync,
    ) -> wasmtime::Result<()> {
        let answering =
            store.run_concurrent(async |accessor| self.answer(accessor, first, stopping, &make).await);
        let mut answering = pin!(answering);
        let ended = poll_fn(|context| {
            let ended = answering.as_mut().poll(context);
            // Then they wait, and it may look for another.
            if ended.is_pending() && !self.waiting.swap(true, Ordering::Relaxed) {
                return answering.as_mut().poll(context);
            }
            ended
        });
        ended.await?
    }

    async fn answer(
        &self,
        accessor: &Accessor<Host>,
        first: Job,
        stopping: &watch::Receiver<bool>,
        make: &(impl Fn(Wanted) + Send + Sync),
    ) -> wasmtime::Result<()> {
        let function = self.function();
        let mut taking: Option<Pin<Box<dyn Future<Output = Job> + Send + '_>>> = None;
        let mut idle: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        let mut calls = FuturesUnordered::new();
        calls.push(self.call(accessor, first));
        let mut had = 1;
        poll_fn(|context| {
            loop {
                match calls.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(()))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                let open = had < self.reuse.total
                    && accessor
                        .poll_ready_for_concurrent_call(function, context)
                        .is_ready();
                let ready = open
                    && calls.len() < self.reuse.concurrent
                    && (calls.is_empty() || self.waiting.load(Ordering::Relaxed));
                make(self.say(ready));
                if ready {
                    let next = taking.get_or_insert_with(|| Box::pin(self.queue.take()));
                    if let Poll::Ready(job) = next.as_mut().poll(context) {
                        (taking, idle) = (None, None);
                        accessor.with(|mut store| store.data_mut().serve(&job.permits));
                        had += 1;
                        calls.push(self.call(accessor, job));
                        continue;
                    }
                } else {
                    // So that what it was told of is told to another.
                    taking = None;
                }
                if !calls.is_empty() || accessor.poll_no_interesting_tasks(context).is_pending() {
                    idle = None;
                    return Poll::Pending;
                }
                if !open {
                    return Poll::Ready(Ok(()));
                }
                let over = idle.get_or_insert_with(|| {
                    let stop = stopped(stopping.clone());
                    Box::pin(async { drop(tokio::time::timeout(IDLE, stop).await) })
                });
                return over.as_mut().poll(context).map(Ok);
            }
        })
        .await
    }

    /// What is called.
    fn function(&self) -> Func {
        match self.proxy {
            Proxy::P2(guest) => *guest.wasi_http_incoming_handler().func_handle().func(),
            Proxy::P3(guest) => *guest.wasi_http_handler().func_handle().func(),
        }
    }

    /// One request, from which on it is not known whether all calls wait.
    async fn call(&self, accessor: &Accessor<Host>, job: Job) -> wasmtime::Result<()> {
        let Job {
            request,
            tell,
            end,
            permits,
        } = job;
        self.waiting.store(false, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        let prepared = accessor
            .with(|mut store| Prepared::new(store.as_context_mut(), self.proxy, request, Host::http, tell))?;
        prepared.run(accessor, pending()).await?;
        // The instance is done with the request.
        drop(permits);
        Ok(())
    }

    /// Whether it could take one more request.
    fn say(&self, ready: bool) -> Wanted {
        let mut word = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.say(&mut word, ready)
    }

    /// It has ended: nothing is to wait for it, and who waits for the answer to its last request is told whether the
    /// reason has been told.
    pub fn leave(&self, told: bool) -> Wanted {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(last) = last {
            // Its client may have left.
            let _ = last.send(told);
        }
        self.say(false)
    }
}
