//! Core modules for WASI preview 1: entered at `_start`, or at an export that was asked for by name.

use wasmtime::{Engine, ExternType, Instance, Linker, Module, Store, StoreLimits, Val};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{I32Exit, p0, p1};

use super::{GuestKind, Missing, Refusal, Surroundings};

const PREVIEW1: &str = "wasi_snapshot_preview1";
const PREVIEW0: &str = "wasi_unstable";
const START: &str = "_start";
/// Called once before any other export of a module that has no `_start` (WASI application ABI, "reactor").
const INITIALIZE: &str = "_initialize";

/// The state behind a guest's imports.
pub struct Host {
    wasi: WasiP1Ctx,
    limits: StoreLimits,
}

impl Host {
    pub fn new(mut surroundings: Surroundings) -> Self {
        Self {
            limits: surroundings.limits(),
            wasi: surroundings.wasi.build_p1(),
        }
    }
}

fn link(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
    let mut namespaces = vec![PREVIEW1];
    if module.imports().any(|import| import.module() == PREVIEW0) {
        p0::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
        namespaces.push(PREVIEW0);
    }
    // The stock `proc_exit` refuses codes from 126 on; those are a guest's to choose as any process's.
    linker.allow_shadowing(true);
    for namespace in namespaces {
        linker.func_wrap(namespace, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(I32Exit(code).into())
        })?;
    }
    Ok(linker)
}

/// Chooses the entry and sees that every import can be linked. `host` is only asked for types.
pub fn examine(
    engine: &Engine,
    module: &Module,
    export: Option<&str>,
    host: Host,
) -> Result<GuestKind, Refusal> {
    let entry = entry(module, export)?;
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    let linker = link(engine, module).map_err(link_error)?;
    let mut store = Store::new(engine, host);
    let missing: Vec<Missing> = module
        .imports()
        .filter(|import| linker.get_by_import(&mut store, import).is_none())
        .map(|import| Missing {
            name: format!("{}.{}", import.module(), import.name()),
            note: origin(import.module(), import.name()).map(str::to_owned),
        })
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::Imports { missing });
    }
    linker.instantiate_pre(module).map_err(link_error)?;
    Ok(GuestKind::CorePreview1 { entry })
}

fn entry(module: &Module, export: Option<&str>) -> Result<String, Refusal> {
    let callable = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(function)) if function.params().len() == 0);
    let exports = || {
        let functions = module
            .exports()
            .filter(|export| matches!(export.ty(), ExternType::Func(_)));
        functions.map(|export| export.name().to_owned()).collect()
    };
    match export {
        Some(name) if callable(name) => Ok(name.to_owned()),
        Some(name) => Err(Refusal::NoSuchExport {
            name: name.to_owned(),
            exports: exports(),
        }),
        None if callable(START) => Ok(START.to_owned()),
        None => Err(Refusal::NothingToRun {
            wanted: "no `_start` without parameters; `file.wasm#name` calls another function".to_owned(),
            exports: exports(),
        }),
    }
}

/// What an import that is not preview 1 belongs to, as far as the field knows it.
fn origin(module: &str, name: &str) -> Option<&'static str> {
    Some(match (module, name) {
        (PREVIEW1, name) if name.starts_with("sock_") || name == "epoll_oneoff" => {
            "the socket extension of WasmEdge"
        }
        ("wasi", "thread-spawn") | ("env", "memory") => "wasi-threads, given up by Wasmtime 48",
        ("wasi_ephemeral_nn" | "wasi_nn", _) => "wasi-nn",
        ("wasix_32v1" | "wasix_64v1", _) => "WASIX, of Wasmer alone",
        ("gojs" | "go", _) => "Go for JavaScript; build with GOOS=wasip1",
        ("wbg" | "__wbindgen_placeholder__", _) => "wasm-bindgen, for a JavaScript host",
        (module, _) if module.starts_with("spin") || module.starts_with("fermyon") => "Spin",
        (module, _) if module.starts_with("wasi_experimental_http") => "an early wasi-http",
        ("env", _) => "a symbol left undefined when it was linked, or Emscripten",
        _ => return None,
    })
}

/// Links the module and runs it to its end; an `Err` may be an [`I32Exit`].
pub async fn run(
    engine: &Engine,
    module: &Module,
    entry: &str,
    surroundings: Surroundings,
) -> wasmtime::Result<()> {
    let linker = link(engine, module)?;
    let mut store = Store::new(engine, Host::new(surroundings));
    store.limiter(|host| &mut host.limits);
    let instance = linker.instantiate_async(&mut store, module).await?;
    if entry != START && module.get_export(INITIALIZE).is_some() {
        call(&mut store, &instance, INITIALIZE).await?;
    }
    let outcome = call(&mut store, &instance, entry).await;
    // The process ends right after: taking down the guest's address space by hand would only cost time.
    std::mem::forget(store);
    outcome
}

async fn call(store: &mut Store<Host>, instance: &Instance, name: &str) -> wasmtime::Result<()> {
    let function = instance
        .get_func(&mut *store, name)
        .ok_or_else(|| wasmtime::format_err!("the module has no function `{name}`"))?;
    let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
    function.call_async(store, &[], &mut results).await
}
