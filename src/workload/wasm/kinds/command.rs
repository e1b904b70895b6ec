//! Components that are commands: they export `wasi:cli/run` of WASI 0.2 or 0.3.

use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store, StoreLimits};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{self as p2, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView, p3};
use wasmtime_wasi_io::bindings::wasi::io;

use super::{GuestKind, Missing, Refusal, Surroundings, Wasi};

const RUN: &str = "wasi:cli/run";

/// The state behind a guest's imports.
pub struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl Host {
    pub fn new(mut surroundings: Surroundings) -> Self {
        Self {
            limits: surroundings.limits(),
            wasi: surroundings.wasi.build(),
            table: ResourceTable::new(),
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Access to the resource table alone, which is all that `wasi:io` needs.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

type Add = fn(&mut Linker<Host>) -> wasmtime::Result<()>;

/// What is provided of WASI 0.2. Linking an interface costs time at each start, so only those that a
/// component imports are linked.
const WASI_02: [(&str, Add); 27] = [
    ("wasi:io/error", |l| {
        io::error::add_to_linker::<_, Io>(l, |t| t.ctx().table)
    }),
    ("wasi:io/poll", |l| {
        io::poll::add_to_linker::<_, Io>(l, |t| t.ctx().table)
    }),
    ("wasi:io/streams", |l| {
        io::streams::add_to_linker::<_, Io>(l, |t| t.ctx().table)
    }),
    ("wasi:cli/environment", |l| {
        cli::environment::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/exit", |l| {
        cli::exit::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/stdin", |l| {
        cli::stdin::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/stdout", |l| {
        cli::stdout::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/stderr", |l| {
        cli::stderr::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/terminal-input", |l| {
        cli::terminal_input::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/terminal-output", |l| {
        cli::terminal_output::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/terminal-stdin", |l| {
        cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/terminal-stdout", |l| {
        cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:cli/terminal-stderr", |l| {
        cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Host::cli)
    }),
    ("wasi:clocks/wall-clock", |l| {
        clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, Host::clocks)
    }),
    ("wasi:clocks/monotonic-clock", |l| {
        clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, Host::clocks)
    }),
    ("wasi:filesystem/types", |l| {
        filesystem::types::add_to_linker::<_, WasiFilesystem>(l, Host::filesystem)
    }),
    ("wasi:filesystem/preopens", |l| {
        filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, Host::filesystem)
    }),
    ("wasi:random/random", |l| {
        random::random::add_to_linker::<_, WasiRandom>(l, |t| {
            wasmtime_wasi::random::WasiRandomView::random(t)
        })
    }),
    ("wasi:random/insecure", |l| {
        random::insecure::add_to_linker::<_, WasiRandom>(l, |t| {
            wasmtime_wasi::random::WasiRandomView::random(t)
        })
    }),
    ("wasi:random/insecure-seed", |l| {
        random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |t| {
            wasmtime_wasi::random::WasiRandomView::random(t)
        })
    }),
    ("wasi:sockets/network", |l| {
        let options = sockets::network::LinkOptions::default();
        sockets::network::add_to_linker::<_, WasiSockets>(l, &options, Host::sockets)
    }),
    ("wasi:sockets/instance-network", |l| {
        sockets::instance_network::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
    ("wasi:sockets/ip-name-lookup", |l| {
        sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
    ("wasi:sockets/tcp", |l| {
        sockets::tcp::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
    ("wasi:sockets/tcp-create-socket", |l| {
        sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
    ("wasi:sockets/udp", |l| {
        sockets::udp::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
    ("wasi:sockets/udp-create-socket", |l| {
        sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, Host::sockets)
    }),
];

/// What is provided of WASI 0.3, linked as a whole where a component imports any of it.
const WASI_03: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/types",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:sockets/types",
];
const WASI_03_LOOKUP: &str = "wasi:sockets/ip-name-lookup";

/// `wasi:cli/run@0.2.3` as interface and generation of WASI.
fn parse(name: &str) -> (&str, Option<Wasi>) {
    match name.split_once('@') {
        Some((interface, version)) if version.starts_with("0.2.") => (interface, Some(Wasi::V02)),
        Some((interface, version)) if version.starts_with("0.3.") => (interface, Some(Wasi::V03)),
        Some((interface, _)) => (interface, None),
        None => (name, None),
    }
}

fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut linked_03 = false;
    let ty = component.component_type();
    for (name, _) in ty.imports(engine) {
        match parse(name) {
            (interface, Some(Wasi::V02)) => {
                if let Some((_, add)) = WASI_02.iter().find(|(provided, _)| *provided == interface) {
                    add(&mut linker)?;
                }
            }
            (_, Some(Wasi::V03)) if !linked_03 => {
                p3::add_to_linker(&mut linker)?;
                linked_03 = true;
            }
            _ => {}
        }
    }
    Ok(linker)
}

fn provides(name: &str) -> bool {
    match parse(name) {
        (interface, Some(Wasi::V02)) => WASI_02.iter().any(|(provided, _)| *provided == interface),
        (interface, Some(Wasi::V03)) => interface == WASI_03_LOOKUP || WASI_03.contains(&interface),
        (_, None) => false,
    }
}

/// Sees that the component is a command and that every import can be linked.
pub fn examine(engine: &Engine, component: &Component, export: Option<&str>) -> Result<GuestKind, Refusal> {
    let ty = component.component_type();
    let exports: Vec<String> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    if let Some(name) = export {
        return Err(Refusal::NoSuchExport {
            name: name.to_owned(),
            exports,
        });
    }
    let generation = exports.iter().find_map(|name| match parse(name) {
        (RUN, generation) => generation,
        _ => None,
    });
    let Some(wasi) = generation else {
        if let Some(handler) = exports.iter().find(|name| name.starts_with("wasi:http/")) {
            return Err(Refusal::Unsupported {
                what: format!("an HTTP handler (it exports {handler})"),
            });
        }
        return Err(Refusal::NothingToRun {
            wanted: format!("no `{RUN}` of WASI 0.2 or 0.3"),
            exports,
        });
    };
    let names = ty.imports(engine).map(|(name, _)| name);
    let missing: Vec<Missing> = names
        .filter(|name| !provides(name))
        .map(|name| Missing {
            name: name.to_owned(),
            note: origin(name).map(str::to_owned),
        })
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::Imports { missing });
    }
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    let linker = link(engine, component).map_err(link_error)?;
    linker.instantiate_pre(component).map_err(link_error)?;
    Ok(GuestKind::Command { wasi })
}

/// What an interface that is not provided belongs to, as far as the field knows it.
fn origin(name: &str) -> Option<&'static str> {
    let (package, _) = name.split_once('/')?;
    Some(match package {
        "wasi:http" => "wasi-http, which wrun does not serve yet",
        "wasi:nn" => "wasi-nn",
        "wasi:keyvalue" | "wasi:config" | "wasi:tls" | "wasi:blobstore" | "wasi:messaging" => {
            "a WASI proposal that wrun does not provide"
        }
        "fermyon:spin" | "spin:up" => "Spin",
        _ if name.starts_with("wasi:") && !name.contains("@0.2.") && !name.contains("@0.3.") => {
            "neither WASI 0.2 nor 0.3"
        }
        _ => return None,
    })
}

/// Links the component and runs it to its end; an `Err` may be an [`I32Exit`].
pub async fn run(
    engine: &Engine,
    component: &Component,
    wasi: Wasi,
    surroundings: Surroundings,
) -> wasmtime::Result<()> {
    let linker = link(engine, component)?;
    let mut store = Store::new(engine, Host::new(surroundings));
    store.limiter(|host| &mut host.limits);
    let outcome = match wasi {
        Wasi::V02 => {
            let command = p2::Command::instantiate_async(&mut store, component, &linker).await?;
            command.wasi_cli_run().call_run(&mut store).await
        }
        Wasi::V03 => {
            let command = p3::bindings::Command::instantiate_async(&mut store, component, &linker).await?;
            let run = async |accessor: &_| command.wasi_cli_run().call_run(accessor).await;
            store.run_concurrent(run).await.and_then(|outcome| outcome)
        }
    };
    // The process ends right after: taking down the guest's address space by hand would only cost time.
    std::mem::forget(store);
    // `result` without a payload: the guest says only that it failed.
    outcome?.map_err(|()| I32Exit(1).into())
}
