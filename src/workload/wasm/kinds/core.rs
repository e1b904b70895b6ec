//! Core modules for WASI preview 1: entered at `_start`, or at an export that was asked for by name.

use wasmtime::{Engine, Extern, ExternType, ImportType, Instance, Linker, Module, Store, Val};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{I32Exit, p0, p1};

use super::shape::Item;
use super::{GuestKind, Missing, Refusal, Surroundings};
use crate::workload::wasm::core_dump;
use crate::workload::wasm::limits::Limits;
use crate::workload::wasm::sockets::{self, Parts, Sockets};

const PREVIEW1: &str = "wasi_snapshot_preview1";
const PREVIEW0: &str = "wasi_unstable";
pub const START: &str = "_start";
/// Called once before any other export of a module that has no `_start` (WASI application ABI, "reactor").
pub const INITIALIZE: &str = "_initialize";

/// Each function that a module may import: the name of its module, what provides it, the functions. A test
/// holds it to what is linked.
const PROVIDED: [(&str, &str, &[&str]); 3] = [
    (PREVIEW1, "WASI preview 1", &FUNCTIONS),
    (PREVIEW1, "WASI preview 1", &["sock_accept"]),
    (PREVIEW0, "WASI preview 1 in its older form", &FUNCTIONS),
];

const FUNCTIONS: [&str; 45] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// The state behind a guest's imports.
pub struct Host {
    wasi: WasiP1Ctx,
    sockets: Sockets,
    limits: Limits,
}

impl Host {
    pub fn new(mut surroundings: Surroundings) -> Self {
        Self {
            limits: surroundings.limits,
            wasi: surroundings.wasi.build_p1(),
            sockets: Sockets::new(),
        }
    }
}

fn link(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    link_preview_1(&mut linker, module, |host: &mut Host| &mut host.wasi)?;
    if sockets::is_wanted(module) {
        sockets::add_to_linker(&mut linker, |host: &mut Host| Parts {
            sockets: &mut host.sockets,
            wasi: &mut host.wasi,
        })?;
    }
    Ok(linker)
}

/// Provides WASI preview 1, and its older form where the module imports that.
pub fn link_preview_1<T: Send + 'static>(
    linker: &mut Linker<T>,
    module: &Module,
    wasi: fn(&mut T) -> &mut WasiP1Ctx,
) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, wasi)?;
    let mut namespaces = vec![PREVIEW1];
    if module.imports().any(|import| import.module() == PREVIEW0) {
        p0::add_to_linker_async(linker, wasi)?;
        namespaces.push(PREVIEW0);
    }
    // The stock `proc_exit` refuses codes from 126 on; those are a guest's to choose as any process's.
    linker.allow_shadowing(true);
    for namespace in namespaces {
        linker.func_wrap(namespace, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(I32Exit(code).into())
        })?;
    }
    Ok(())
}

/// Whether a function is one of [`link_preview_1`]'s, but for its type.
#[cfg(feature = "slight")]
pub fn is_preview_1(module: &str, name: &str) -> bool {
    let mut rows = PROVIDED.iter();
    rows.any(|(of, _, names)| *of == module && names.contains(&name))
}

/// Whether a definition has the type that an import asks for; all that is provided are functions.
fn fits(store: &Store<Host>, found: &Extern, import: &ImportType<'_>) -> bool {
    match (found.ty(store), import.ty()) {
        (ExternType::Func(found), ExternType::Func(wanted)) => found.matches(&wanted),
        _ => false,
    }
}

/// What each import of a module that uses the socket extension is linked with. Two imports of one name may mean
/// two functions there, which a linker, going by names, cannot tell apart.
fn with_sockets(
    linker: &Linker<Host>,
    store: &mut Store<Host>,
    module: &Module,
) -> Result<Vec<Extern>, Refusal> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for import in module.imports() {
        let name = sockets::provided_name(&import);
        let definition = name.and_then(|name| linker.get(&mut *store, import.module(), name).ok());
        match definition.filter(|definition| fits(store, definition, &import)) {
            Some(definition) => found.push(definition),
            None => missing.push(Missing {
                name: format!("{}.{}", import.module(), import.name()),
                note: sockets::described(import.name()),
            }),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(Refusal::Imports {
        missing: missing.into_iter().collect(),
    })
}

/// What of wrun's provides an import; `None` where nothing does.
pub fn provider(module: &str, name: &str, item: &Item) -> Option<&'static str> {
    if module == PREVIEW1
        && let Item::Function(signature) = item
        && sockets::extends(name, signature.params.len())
    {
        return sockets::provides(name, signature).then_some("the socket extension of WasmEdge");
    }
    let row = PROVIDED
        .iter()
        .find(|(of, _, names)| *of == module && names.contains(&name));
    row.map(|(_, provider, _)| *provider)
}

/// Sees that a module which is to be entered at `entry` can be linked. `host` is only asked for types.
pub fn examine(engine: &Engine, module: &Module, entry: String, host: Host) -> Result<GuestKind, Refusal> {
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    let linker = link(engine, module).map_err(link_error)?;
    if sockets::is_wanted(module) {
        let mut store = Store::new(engine, host);
        with_sockets(&linker, &mut store, module)?;
    } else {
        linker.instantiate_pre(module).map_err(link_error)?;
    }
    Ok(GuestKind::CorePreview1 { entry })
}

/// Links the module and runs it to its end; an `Err` may be an [`I32Exit`].
pub async fn run(
    engine: &Engine,
    module: &Module,
    entry: &str,
    mut surroundings: Surroundings,
) -> wasmtime::Result<()> {
    let linker = link(engine, module)?;
    let (limits, dump) = (surroundings.limits.another(), surroundings.core_dump.take());
    let mut store = Store::new(engine, Host::new(surroundings));
    limits.apply(&mut store, |host| &mut host.limits)?;
    let outcome = enter(&mut store, &linker, module, entry).await;
    let outcome = core_dump::leave(&mut store, outcome, dump.as_ref(), &limits);
    // The process ends right after: taking down the guest's address space by hand would only cost time.
    std::mem::forget(store);
    outcome
}

async fn enter(
    store: &mut Store<Host>,
    linker: &Linker<Host>,
    module: &Module,
    entry: &str,
) -> wasmtime::Result<()> {
    let instance = if sockets::is_wanted(module) {
        let imports = with_sockets(linker, store, module).map_err(wasmtime::Error::msg)?;
        Instance::new_async(&mut *store, module, &imports).await?
    } else {
        linker.instantiate_async(&mut *store, module).await?
    };
    if ![START, INITIALIZE].contains(&entry) && module.get_export(INITIALIZE).is_some() {
        call(store, &instance, INITIALIZE).await?;
    }
    call(store, &instance, entry).await
}

async fn call(store: &mut Store<Host>, instance: &Instance, name: &str) -> wasmtime::Result<()> {
    let function = instance
        .get_func(&mut *store, name)
        .ok_or_else(|| wasmtime::format_err!("the module has no function `{name}`"))?;
    let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
    function.call_async(store, &[], &mut results).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload::wasm::kinds::shape::Signature;

    #[test]
    fn what_is_called_provided_is_what_is_linked() {
        let engine = Engine::default();
        let text = r#"(module (import "wasi_unstable" "sched_yield" (func (result i32))))"#;
        let module = Module::new(&engine, text).expect("a module");
        let surroundings = Surroundings {
            wasi: wasmtime_wasi::WasiCtx::builder(),
            limits: Limits::none(),
            core_dump: None,
        };
        let mut store = Store::new(&engine, Host::new(surroundings));
        let linker = link(&engine, &module).expect("linked");
        let linked: BTreeSet<(String, String)> = linker
            .iter(&mut store)
            .map(|(module, name, _)| (module.to_owned(), name.to_owned()))
            .collect();
        let said: BTreeSet<(String, String)> = PROVIDED
            .iter()
            .flat_map(|(module, _, names)| {
                names
                    .iter()
                    .map(|name| ((*module).to_owned(), (*name).to_owned()))
            })
            .collect();
        assert_eq!(said, linked);
    }

    #[test]
    fn providers_are_told_by_name_and_type() {
        let of = |module: &str, name: &str, parameters: usize| {
            let signature = Signature {
                params: vec![(None, "i32".to_owned()); parameters],
                results: vec!["i32".to_owned()],
                ..Signature::default()
            };
            provider(module, name, &Item::Function(signature)).unwrap_or_default()
        };
        assert_eq!(of(PREVIEW1, "fd_write", 4), "WASI preview 1");
        assert_eq!(of(PREVIEW0, "fd_write", 4), "WASI preview 1 in its older form");
        assert_eq!(of("env", "fd_write", 4), "");
        for (name, parameters) in [
            ("sock_open", 3),
            ("sock_accept", 2),
            ("sock_accept_v2", 3),
            ("epoll_oneoff", 4),
        ] {
            assert!(of(PREVIEW1, name, parameters).contains("WasmEdge"), "{name}");
        }
        assert_eq!(of(PREVIEW1, "sock_accept", 3), "WASI preview 1");
        assert_eq!(of(PREVIEW1, "sock_open", 2), "");
        assert_eq!(of(PREVIEW1, "sock_invented", 2), "");
    }
}
