//! Components of which one exported function is called, by the name that the entry point gives: a library, or
//! a program with an entry of its own.

use wasmtime::component::{Component, Func, Instance, Linker, Val};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;

use super::wasi::{self, Host};
use super::{GuestKind, Refusal, Surroundings};
use crate::workload::wasm::core_dump;

/// Sees that the component can be linked.
pub fn examine(
    engine: &Engine,
    component: &Component,
    interface: Option<String>,
    function: String,
) -> Result<GuestKind, Refusal> {
    wasi::check(engine, component)?;
    Ok(GuestKind::ComponentFunction { interface, function })
}

/// Links the component and calls the function; an `Err` may be an [`I32Exit`].
///
/// A function that returns an error has failed as a program that exits with 1; any other result is nobody's
/// here, and dropped.
pub async fn run(
    engine: &Engine,
    component: &Component,
    interface: Option<&str>,
    function: &str,
    mut surroundings: Surroundings,
) -> wasmtime::Result<()> {
    let linker = wasi::link(engine, component)?;
    let (limits, dump) = (surroundings.limits.another(), surroundings.core_dump.take());
    let mut store = Store::new(engine, Host::new(surroundings));
    limits.apply(&mut store, Host::limits)?;
    let outcome = call(&mut store, &linker, component, interface, function).await;
    let outcome = core_dump::leave(&mut store, outcome, dump.as_ref(), &limits);
    // The process ends right after: taking down the guest's address space by hand would only cost time.
    std::mem::forget(store);
    match outcome? {
        Some(Val::Result(Err(None))) => Err(I32Exit(1).into()),
        Some(Val::Result(Err(Some(reason)))) => Err(wasmtime::format_err!(
            "`{function}` returned an error: {}",
            describe(&reason)
        )),
        _ => Ok(()),
    }
}

/// The function's result, where it has one.
async fn call(
    store: &mut Store<Host>,
    linker: &Linker<Host>,
    component: &Component,
    interface: Option<&str>,
    function: &str,
) -> wasmtime::Result<Option<Val>> {
    let instance = linker.instantiate_async(&mut *store, component).await?;
    let callee = find(store, &instance, interface, function)
        .ok_or_else(|| wasmtime::format_err!("the component has no function `{function}`"))?;
    let mut results = vec![Val::Bool(false); callee.ty(&*store).results().len()];
    callee.call_async(&mut *store, &[], &mut results).await?;
    Ok(results.into_iter().next())
}

fn find(
    store: &mut Store<Host>,
    instance: &Instance,
    interface: Option<&str>,
    function: &str,
) -> Option<Func> {
    let interface = match interface {
        Some(name) => Some(instance.get_export_index(&mut *store, None, name)?),
        None => None,
    };
    let index = instance.get_export_index(&mut *store, interface.as_ref(), function)?;
    instance.get_func(store, index)
}

/// The payload of an error: what of it is text, and the engine's way to write the rest.
fn describe(reason: &Val) -> String {
    match reason {
        Val::String(text) => text.clone(),
        Val::Enum(case) | Val::Variant(case, None) => case.clone(),
        other => format!("{other:?}"),
    }
}
