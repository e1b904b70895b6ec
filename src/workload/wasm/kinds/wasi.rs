//! What wrun provides of WASI 0.2 and 0.3 to components of every kind, and the state behind it.
//!
//! Linking an interface costs time at each start, so only those that a component imports are linked.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Request, Response};
use wasmtime::component::{Component, HasData, InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p3};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::{
    RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::bindings::wasi::io;

use super::http::{Clients, Permits};
use super::shape::{Import, Item};
use super::{Refusal, Surroundings, Wasi};
use crate::workload::wasm::limits::Limits;
#[cfg(feature = "spin")]
use crate::workload::wasm::spin;

/// Bytes of an HTTP body that are taken from a guest at once; as many again may wait for a slow receiver.
const BODY_CHUNK: usize = 64 << 10;

/// The state behind a guest's imports.
pub struct Host {
    wasi: Context,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Hooks,
    limits: Limits,
    /// Of the requests that it serves.
    clients: Clients,
    /// What stands behind Spin's interfaces; only a component of an application has it.
    #[cfg(feature = "spin")]
    spin: Option<Box<spin::host::SpinCtx>>,
}

/// Makes the context of one more guest with the same surroundings.
pub type MakeContext = Arc<dyn Fn() -> WasiCtx + Send + Sync>;

/// A guest's surroundings.
pub enum Context {
    Made(Box<WasiCtx>),
    /// Many a request is answered without a look at the environment or the clock.
    Later(MakeContext),
}

impl Host {
    pub fn new(mut surroundings: Surroundings) -> Self {
        Self {
            limits: surroundings.limits,
            wasi: Context::Made(Box::new(surroundings.wasi.build())),
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { outbound: None },
            clients: Clients::default(),
            #[cfg(feature = "spin")]
            spin: None,
        }
    }

    /// One of many guests in this process, whose memory counts against a limit that they share.
    pub fn one_of_many(wasi: MakeContext, limits: Limits) -> Self {
        Self {
            limits,
            wasi: Context::Later(wasi),
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: Hooks { outbound: None },
            clients: Clients::default(),
            #[cfg(feature = "spin")]
            spin: None,
        }
    }

    /// An instance of an application's component.
    #[cfg(feature = "spin")]
    pub fn of_component(
        wasi: Context,
        limits: Limits,
        spin: spin::host::SpinCtx,
        outbound: Arc<dyn Outbound>,
    ) -> Self {
        Self {
            limits,
            wasi,
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: Hooks {
                outbound: Some(outbound),
            },
            clients: Clients::default(),
            spin: Some(Box::new(spin)),
        }
    }

    /// It is for this request too.
    pub fn serve(&mut self, request: &Permits) {
        self.clients.serve(request);
    }

    /// Called where an instance has computed for so long that others have their turn.
    ///
    /// # Errors
    /// It has computed for long since its last client left, and would keep its place for ever.
    pub fn turn(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.clients.turn()?;
        Ok(UpdateDeadline::Yield(1))
    }

    /// For `Limits::apply`.
    pub fn limits(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        if let Context::Later(make) = &self.wasi {
            self.wasi = Context::Made(Box::new(make()));
        }
        let Context::Made(ctx) = &mut self.wasi else {
            unreachable!("it was made just now")
        };
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

#[cfg(feature = "spin")]
impl spin::host::SpinView for Host {
    fn spin(&mut self) -> spin::host::SpinCtxView<'_> {
        let Some(ctx) = &mut self.spin else {
            unreachable!("only components of applications are linked with Spin's interfaces")
        };
        spin::host::SpinCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

/// What comes of a request that a guest sends: the answer, and what is to be driven while its body is read.
pub type Sent = wasmtime_wasi_http::Result<(Response<WasiBody>, Box<dyn Future<Output = Drained> + Send>)>;
pub type Drained = wasmtime_wasi_http::Result<()>;

/// Another way of sending a guest's requests.
pub trait Outbound: Send + Sync {
    fn send(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Box<dyn Future<Output = Sent> + Send>;
}

/// Sends a request in the engine's own way: HTTP/1.1, with TLS by the root certificates of Mozilla, which are compiled
/// in.
pub async fn send(request: Request<WasiBody>, options: Option<RequestOptions>) -> Sent {
    let (response, io) = wasmtime_wasi_http::default_send_request(request, options).await?;
    Ok((response.map(BodyExt::boxed_unsync), Box::new(io)))
}

/// How a guest's requests are sent, and how much of a body may wait.
struct Hooks {
    /// `None` for the engine's own way.
    outbound: Option<Arc<dyn Outbound>>,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Drained> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        match &self.outbound {
            Some(outbound) => outbound.send(request, options),
            None => Box::new(send(request, options)),
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

/// Access to the resource table alone, which is all that `wasi:io` needs.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

type Add = fn(&mut Linker<Host>) -> wasmtime::Result<()>;

/// What is provided of WASI 0.2.
const WASI_02: [(&str, Add); 29] = [
    ("wasi:io/error", |l| io::error::add_to_linker::<_, Io>(l, table)),
    ("wasi:io/poll", |l| io::poll::add_to_linker::<_, Io>(l, table)),
    ("wasi:io/streams", |l| {
        io::streams::add_to_linker::<_, Io>(l, table)
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
    ("wasi:http/types", |l| {
        let options = http::types::LinkOptions::default();
        http::types::add_to_linker::<_, WasiHttp>(l, &options, Host::http)
    }),
    ("wasi:http/outgoing-handler", |l| {
        http::outgoing_handler::add_to_linker::<_, WasiHttp>(l, Host::http)
    }),
];

/// Not by way of the context, which is not made for it.
fn table(host: &mut Host) -> &mut ResourceTable {
    &mut host.table
}

/// What is provided of WASI 0.3, linked as a whole where a component imports any of it; `wasi:http` apart.
const WASI_03: [&str; 22] = [
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
    "wasi:http/types",
    "wasi:http/client",
];
const HTTP: &str = "wasi:http/";
const WASI_03_LOOKUP: &str = "wasi:sockets/ip-name-lookup";

/// `wasi:cli/run@0.2.3` as interface and generation of WASI. A release candidate is of none: no release is
/// compatible with it.
pub fn parse(name: &str) -> (&str, Option<Wasi>) {
    match name.split_once('@') {
        Some((interface, version)) if version.contains('-') => (interface, None),
        Some((interface, version)) if version.starts_with("0.2.") => (interface, Some(Wasi::V02)),
        Some((interface, version)) if version.starts_with("0.3.") => (interface, Some(Wasi::V03)),
        Some((interface, _)) => (interface, None),
        None => (name, None),
    }
}

pub fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let (mut linked_03, mut linked_http_03) = (false, false);
    let ty = component.component_type();
    for (name, _) in ty.imports(engine) {
        match parse(name) {
            (interface, Some(Wasi::V02)) => {
                if let Some((_, add)) = WASI_02.iter().find(|(provided, _)| *provided == interface) {
                    add(&mut linker)?;
                }
            }
            (interface, Some(Wasi::V03)) => {
                let http = interface.starts_with(HTTP);
                let linked = if http { &mut linked_http_03 } else { &mut linked_03 };
                if !std::mem::replace(linked, true) {
                    if http {
                        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
                    } else {
                        p3::add_to_linker(&mut linker)?;
                    }
                }
            }
            (_, None) => {}
        }
    }
    Ok(linker)
}

/// What of wrun's provides an import; `None` where nothing does.
pub fn provider(import: &Import) -> Option<&'static str> {
    // A type that stands by itself needs nobody: it only names what an interface has.
    if matches!(&import.item, Item::Other(what) if what == "type") {
        return Some("the component itself");
    }
    let (interface, generation) = parse(&import.name);
    let (provided, provider) = match generation? {
        Wasi::V02 => (WASI_02.iter().any(|(name, _)| *name == interface), "WASI 0.2"),
        Wasi::V03 => (
            interface == WASI_03_LOOKUP || WASI_03.contains(&interface),
            "WASI 0.3",
        ),
    };
    provided.then_some(provider)
}

/// Sees that the imports of a component have the types that they are linked with.
pub fn check(engine: &Engine, component: &Component) -> Result<InstancePre<Host>, Refusal> {
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    let linker = link(engine, component).map_err(link_error)?;
    linker.instantiate_pre(component).map_err(link_error)
}
