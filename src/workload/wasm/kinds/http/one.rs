//! The site of a single component, which answers every request.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime_wasi_http::WasiBody;

use super::admission::Permits;
use super::instances::{Handler, Linked, MakeHost, Slots, handler};
use super::limits::Limits;
use super::service::Site;
use crate::workload::wasm::kinds::{Wasi, wasi};
use crate::workload::wasm::limits::Limits as GuestLimits;

/// A component that answers every request.
pub struct One {
    handler: Handler,
    slots: Slots,
}

impl One {
    /// Links the component. `guest_limits` are of all instances together.
    pub fn new(
        engine: &Engine,
        component: &Component,
        wasi: Wasi,
        limits: Limits,
        guest_limits: GuestLimits,
        host: MakeHost,
        stopping: watch::Receiver<bool>,
    ) -> wasmtime::Result<Self> {
        let linked = wasi::link(engine, component)?.instantiate_pre(component)?;
        let slots = Slots::new(limits.instances);
        let linked = Linked {
            engine: engine.clone(),
            proxy: handler(linked, wasi)?,
            wasi,
            id: None,
        };
        let handler = Handler::new(linked, host, guest_limits, &slots, stopping);
        Ok(Self { handler, slots })
    }
}

impl Site for One {
    type Way = ();

    fn way(&self, _: &Request<Incoming>) -> ControlFlow<Response<WasiBody>> {
        ControlFlow::Continue(())
    }

    async fn answer(
        &self,
        (): (),
        _: SocketAddr,
        request: Request<WasiBody>,
        permits: Permits,
    ) -> Result<Response<WasiBody>, StatusCode> {
        self.handler.answer(request, permits).await
    }

    async fn ended(&self) {
        self.slots.all_free().await;
    }
}
