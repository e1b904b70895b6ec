//! Components that are commands: they export `wasi:cli/run` of WASI 0.2 or 0.3.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{I32Exit, p2, p3};

use super::wasi::{self, Host};
use super::{GuestKind, Refusal, Surroundings, Wasi};
use crate::workload::wasm::core_dump;

pub const RUN: &str = "wasi:cli/run";

/// Sees that the component is a command and that every import can be linked.
pub fn examine(engine: &Engine, component: &Component, wasi: Wasi) -> Result<GuestKind, Refusal> {
    wasi::check(engine, component)?;
    Ok(GuestKind::Command { wasi })
}

/// Links the component and runs it to its end; an `Err` may be an [`I32Exit`].
pub async fn run(
    engine: &Engine,
    component: &Component,
    wasi: Wasi,
    mut surroundings: Surroundings,
) -> wasmtime::Result<()> {
    let linker = wasi::link(engine, component)?;
    let (limits, dump) = (surroundings.limits.another(), surroundings.core_dump.take());
    let mut store = Store::new(engine, Host::new(surroundings));
    limits.apply(&mut store, Host::limits)?;
    let outcome = enter(&mut store, &linker, component, wasi).await;
    let outcome = core_dump::leave(&mut store, outcome, dump.as_ref(), &limits);
    // The process ends right after: taking down the guest's address space by hand would only cost time.
    std::mem::forget(store);
    // `result` without a payload: the guest says only that it failed.
    outcome?.map_err(|()| I32Exit(1).into())
}

async fn enter(
    store: &mut Store<Host>,
    linker: &Linker<Host>,
    component: &Component,
    wasi: Wasi,
) -> wasmtime::Result<Result<(), ()>> {
    match wasi {
        Wasi::V02 => {
            let command = p2::bindings::Command::instantiate_async(&mut *store, component, linker).await?;
            command.wasi_cli_run().call_run(store).await
        }
        Wasi::V03 => {
            let command = p3::bindings::Command::instantiate_async(&mut *store, component, linker).await?;
            let run = async |accessor: &_| command.wasi_cli_run().call_run(accessor).await;
            store.run_concurrent(run).await.and_then(|outcome| outcome)
        }
    }
}
