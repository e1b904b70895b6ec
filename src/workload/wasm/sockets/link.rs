//! The way from a guest's call to a function of the extension.

use wasmtime::{AsContextMut, Caller, Extern, Linker, Val};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;

use super::memory::Memory;
use super::signature::{FUNCTIONS, Serves};
use super::standard::{Context, Shared, number, serve};
use super::table::Sockets;
use super::{Arguments, Body, Call, PREVIEW1};

/// What of a host's state the extension works on.
pub struct Parts<'a> {
    pub sockets: &'a mut Sockets,
    pub wasi: &'a mut WasiP1Ctx,
}

/// Finds it in the state.
type Project<T> = fn(&mut T) -> Parts<'_>;

/// Defines every function, each under its own name alone: [`super::provided_name`] says which one an import
/// means. Replaces those of preview 1 that serve sockets as well, so that it comes after preview 1.
pub fn add_to_linker<T: Send + 'static>(linker: &mut Linker<T>, project: Project<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for function in &FUNCTIONS {
        let ty = function.ty(linker.engine());
        match function.serves {
            Serves::Sockets(body) => {
                linker.func_new(PREVIEW1, function.name, ty, move |mut caller, given, results| {
                    results[0] = Val::I32(of_sockets(&mut caller, project, body, arguments(given))?);
                    Ok(())
                })?;
            }
            Serves::All(shared) => {
                linker.func_new_async(PREVIEW1, function.name, ty, move |mut caller, given, results| {
                    Box::new(async move {
                        let outcome = of_all(&mut caller, project, shared, arguments(given)).await?;
                        results[0] = Val::I32(outcome);
                        Ok(())
                    })
                })?;
            }
        }
    }
    Ok(())
}

/// All parameters are i32, by the functions' types.
fn arguments(given: &[Val]) -> Arguments {
    let mut arguments = Arguments::default();
    for (argument, value) in arguments.iter_mut().zip(given) {
        *argument = value.i32().unwrap_or_default().cast_unsigned();
    }
    arguments
}

fn of_sockets<T>(
    caller: &mut Caller<'_, T>,
    project: Project<T>,
    body: Body,
    arguments: Arguments,
) -> wasmtime::Result<i32> {
    let mut context = context(caller, project)?;
    Ok(number(body(&mut context.call, arguments)))
}

async fn of_all<T>(
    caller: &mut Caller<'_, T>,
    project: Project<T>,
    shared: Shared,
    arguments: Arguments,
) -> wasmtime::Result<i32> {
    // What the engine's own functions may copy in this call; without it they say NOMEM.
    let fuel = caller.as_context_mut().hostcall_fuel();
    let mut context = context(caller, project)?;
    context.wasi.set_hostcall_fuel(fuel);
    serve(shared, &mut context, arguments).await
}

fn context<'a, T>(caller: &'a mut Caller<'_, T>, project: Project<T>) -> wasmtime::Result<Context<'a>> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("the module exports no memory named `memory`, which WASI passes everything through");
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    let Parts { sockets, wasi } = project(state);
    Ok(Context {
        call: Call {
            memory: Memory::new(bytes),
            sockets,
        },
        wasi,
    })
}
