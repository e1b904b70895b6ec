//! The server: listens before the process gives up its rights, then takes connections until it is asked to
//! stop, and ends when all that was asked for is answered.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connection;
use super::instances::stopped;
use super::limits::Limits;
use super::service::{Service, Site};
use crate::sys::signal::{self, StopRequest};
use crate::workload::wasm::threads;

/// Connections that the kernel keeps for us while we take no more.
const BACKLOG: i32 = 1024;
/// How long nothing is accepted after the kernel could not give us a connection: it lacks something.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a signal that asks to stop may go unseen, since guests keep every thread.
pub const NOTICE: Duration = Duration::from_secs(3);

/// How a service is to be run.
pub struct Settings {
    pub address: SocketAddr,
    /// That sets another address; for the error.
    pub variable: &'static str,
    pub limits: Limits,
    /// Threads that work on requests, at least one.
    pub threads: usize,
    pub access_log: bool,
}

/// A service that listens, and is ready to run.
pub struct Server<S> {
    listener: TcpListener,
    site: S,
    stop: StopRequest,
    stopping: watch::Sender<bool>,
    limits: Limits,
    threads: usize,
    access_log: bool,
}

impl<S: Site> Server<S> {
    /// Does all that needs rights which a confined process may lack. `make` makes what is served; it is given what
    /// tells it that the server stops.
    pub fn new(
        settings: Settings,
        make: impl FnOnce(watch::Receiver<bool>) -> wasmtime::Result<S>,
    ) -> wasmtime::Result<Self> {
        let (stopping, is_stopping) = watch::channel(false);
        let site = make(is_stopping)?;
        let Settings {
            address, variable, ..
        } = settings;
        let listener = listen(address).map_err(|error| {
            let hint = format!("cannot listen on {address}; {variable} sets another");
            wasmtime::Error::from(error).context(hint)
        })?;
        Ok(Self {
            listener,
            site,
            stop: signal::stop_on_signals()?,
            stopping,
            limits: settings.limits,
            threads: settings.threads,
            access_log: settings.access_log,
        })
    }

    /// A server whose site has chosen itself where to listen; for [`Server::serve`] in a runtime that is there already.
    #[cfg(feature = "slight")]
    pub fn listening(
        listener: TcpListener,
        site: S,
        limits: Limits,
        access_log: bool,
    ) -> wasmtime::Result<Self> {
        let (stopping, _) = watch::channel(false);
        Ok(Self {
            listener,
            site,
            stop: signal::stop_on_signals()?,
            stopping,
            limits,
            threads: 1,
            access_log,
        })
    }

    /// Serves until a signal asks to stop, and returns when nothing is left to be answered.
    pub fn run(self) -> wasmtime::Result<()> {
        self.run_beside(until_stopped)
    }

    /// The same with something else that goes on in the same runtime. When that ends, the server stops too; when the
    /// server is to stop, it is told so and waited for.
    pub fn run_beside<F: Future<Output = wasmtime::Result<()>>>(
        self,
        beside: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> wasmtime::Result<()> {
        // Threads inherit how the process is confined, so there are none before.
        let runtime = start_runtime(self.threads)?;
        let outcome = runtime.block_on(self.serve_beside(beside));
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome
    }

    /// The same in a runtime.
    #[cfg(feature = "slight")]
    pub async fn serve(self) -> wasmtime::Result<()> {
        self.serve_beside(until_stopped).await
    }

    async fn serve_beside<F: Future<Output = wasmtime::Result<()>>>(
        self,
        beside: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> wasmtime::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let guard = self.stop.guard(NOTICE)?;
        let stop = self.stop.watch()?;
        let connections = Arc::new(Semaphore::new(self.limits.connections as usize));
        let site = Arc::new(self.site);
        let service = Service::new(Arc::clone(&site), &self.limits, self.access_log);
        let service = Arc::new(service);
        let builder = Arc::new(connection::builder());
        let mut beside = pin!(beside(self.stopping.subscribe()));
        let mut over = None;
        loop {
            let accepted = match select(beside.as_mut(), pin!(next(&listener, &connections, &stop))).await {
                Either::Left((outcome, _)) => {
                    over = Some(outcome);
                    None
                }
                Either::Right((accepted, _)) => accepted?,
            };
            let Some((permit, stream, client)) = accepted else {
                break;
            };
            let serve = connection::serve(
                stream,
                client,
                Arc::clone(&builder),
                Arc::clone(&service),
                self.stopping.subscribe(),
            );
            tokio::spawn(async move {
                serve.await;
                drop(permit);
            });
        }
        // Ends the guard's wait.
        drop(guard);
        // From here on clients are refused, instead of kept waiting for somebody who does not come.
        drop(listener);
        self.stopping.send_replace(true);
        // Each comes back when its connection is over, then when its instance is.
        let _ = connections.acquire_many(self.limits.connections).await?;
        site.ended().await;
        match over {
            Some(outcome) => outcome,
            None => beside.await,
        }
    }
}

/// What goes on beside a server that is alone.
async fn until_stopped(stopping: watch::Receiver<bool>) -> wasmtime::Result<()> {
    stopped(stopping).await;
    Ok(())
}

/// Listens, with room for many who wait to be accepted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One thread where there is one CPU to use, or the pids limit forbids more.
pub fn start_runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = if threads > 1 && threads::can_start(threads) {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    } else {
        runtime::Builder::new_current_thread()
    };
    builder.enable_io().enable_time().build()
}

type Accepted = (OwnedSemaphorePermit, TcpStream, SocketAddr);

/// The next connection, as soon as there is room for one; `None` when a signal asks to stop.
async fn next(
    listener: &tokio::net::TcpListener,
    connections: &Arc<Semaphore>,
    stop: &AsyncFd<OwnedFd>,
) -> wasmtime::Result<Option<Accepted>> {
    let mut stop = pin!(stop.readable());
    let mut accept = pin!(accept(listener, connections));
    std::future::poll_fn(|context| {
        if let Poll::Ready(readable) = stop.as_mut().poll(context) {
            return Poll::Ready(readable.map(|_| None).map_err(wasmtime::Error::from));
        }
        accept.as_mut().poll(context).map(|accepted| accepted.map(Some))
    })
    .await
}

async fn accept(
    listener: &tokio::net::TcpListener,
    connections: &Arc<Semaphore>,
) -> wasmtime::Result<Accepted> {
    let permit = Arc::clone(connections).acquire_owned().await?;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                // Small pieces of an answer must not wait for one another. Where it fails the client is gone,
                // which shows soon enough.
                let _ = stream.set_nodelay(true);
                return Ok((permit, stream, client));
            }
            // The client has left before we came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors or memory, which connections that end give back.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
