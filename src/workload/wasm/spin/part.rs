//! A component of an application: what it can be entered at, and what it imports.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi::{p2, p3};

use super::http::inbound;
use super::redis::Generation;
use super::{componentize, host, redis};
use crate::workload::wasm::compile::{failed, not_taken};
use crate::workload::wasm::kinds::http::InstanceSize;
use crate::workload::wasm::kinds::shape::{Export, Import, Shape};
use crate::workload::wasm::kinds::wasi::Host;
use crate::workload::wasm::kinds::{
    GuestKind, Listing, Missing, MissingImports, Refusal, Wasi, command, http, origin, read, wasi,
};

/// What is known of a component once it is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// At least one.
    pub handlers: Vec<Handler>,
    pub size: InstanceSize,
}

/// What a component can be entered at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handler {
    /// A handler of `wasi:http`.
    Http(Wasi),
    /// `fermyon:spin/inbound-http`.
    Inbound,
    /// `wasi:cli/run`.
    Command(Wasi),
    /// A handler of messages from Redis.
    Redis(Generation),
}

impl Part {
    /// The generation of its `wasi:http`.
    pub fn http(&self) -> Option<Wasi> {
        self.handlers.iter().find_map(|handler| match handler {
            Handler::Http(wasi) => Some(*wasi),
            Handler::Inbound | Handler::Command(_) | Handler::Redis(_) => None,
        })
    }

    /// Whether it has the first SDKs' handler of requests.
    pub fn is_inbound(&self) -> bool {
        self.handlers.contains(&Handler::Inbound)
    }

    /// The generation of its `wasi:cli/run`.
    pub fn command(&self) -> Option<Wasi> {
        self.handlers.iter().find_map(|handler| match handler {
            Handler::Command(wasi) => Some(*wasi),
            Handler::Http(_) | Handler::Inbound | Handler::Redis(_) => None,
        })
    }

    /// The generation of its handler of messages.
    pub fn redis(&self) -> Option<Generation> {
        self.handlers.iter().find_map(|handler| match handler {
            Handler::Redis(generation) => Some(*generation),
            Handler::Http(_) | Handler::Inbound | Handler::Command(_) => None,
        })
    }

    /// Whether anything of it is entered as components of WASI 0.3 are, with several calls at once on stacks of their own.
    pub fn is_concurrent(&self) -> bool {
        self.handlers.iter().any(|handler| match handler {
            Handler::Http(wasi) | Handler::Command(wasi) => *wasi == Wasi::V03,
            Handler::Inbound => false,
            Handler::Redis(generation) => *generation == Generation::V3,
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers: Vec<String> = self.handlers.iter().map(Handler::to_string).collect();
        write!(
            f,
            "component of a Spin application with {}",
            handlers.join(" and ")
        )
    }
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(wasi) => write!(f, "a handler of wasi:http {}", wasi.version()),
            Self::Inbound => f.write_str(inbound::INTERFACE),
            Self::Command(wasi) => write!(f, "wasi:cli/run {}", wasi.version()),
            Self::Redis(generation) => write!(f, "{}", generation.interface()),
        }
    }
}

/// Makes a component of the binary where it is none, sees that it fits an application, and compiles it. Called in the
/// confined compiler.
pub fn translate(binary: &[u8], engine: &Engine) -> Result<(Vec<u8>, GuestKind), Refusal> {
    let (binary, handlers) = fitting(binary)?;
    let component = Component::from_binary(engine, &binary).map_err(|error| not_taken(&binary, &error))?;
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    let linked = link(engine, &component)
        .and_then(|linker| linker.instantiate_pre(&component))
        .map_err(link_error)?;
    for handler in &handlers {
        check_handler(*handler, linked.clone()).map_err(link_error)?;
    }
    let size = InstanceSize::of(&component).ok_or_else(|| Refusal::Link {
        reason: "it instantiates modules that it imports".to_owned(),
    })?;
    let code = component.serialize().map_err(failed)?;
    Ok((code, GuestKind::Spin(Part { handlers, size })))
}

/// Sees that it fits an application, by its text alone.
fn fitting(binary: &[u8]) -> Result<(Cow<'_, [u8]>, Vec<Handler>), Refusal> {
    let binary = componentize::component(binary)?;
    let shape = read::read(&binary).map_err(Refusal::invalid)?;
    let handlers = handlers(&shape)?;
    check_imports(&shape)?;
    Ok((binary, handlers))
}

/// What a binary is in an application that has it as a component; `None` where it does not fit one. Nothing is
/// compiled, and so no type is checked.
pub fn describe(binary: &[u8]) -> Option<String> {
    let (_, handlers) = fitting(binary).ok()?;
    let part = Part {
        handlers,
        size: InstanceSize::default(),
    };
    Some(part.to_string())
}

fn handlers(shape: &Shape) -> Result<Vec<Handler>, Refusal> {
    let handler = |export: &Export| match wasi::parse(&export.name) {
        (http::HANDLER_02, Some(Wasi::V02)) => Some(Handler::Http(Wasi::V02)),
        (http::HANDLER_03, Some(Wasi::V03)) => Some(Handler::Http(Wasi::V03)),
        (command::RUN, Some(wasi)) => Some(Handler::Command(wasi)),
        (inbound::INTERFACE, None) if export.name == inbound::INTERFACE => Some(Handler::Inbound),
        _ => Generation::of(&export.name).map(Handler::Redis),
    };
    let handlers: Vec<Handler> = shape.exports.iter().filter_map(handler).collect();
    if handlers.is_empty() {
        let old = shape.exports.iter().find(|export| is_of_an_old_sdk(&export.name));
        let hint = old.map_or("", |_| {
            " (nor are those of the snapshots before WASI 0.2.0 run, 0.2.0-rc-2023-10-18 and 0.2.0-rc-2023-11-10: \
             build it with a newer SDK)"
        });
        return Err(Refusal::NothingToRun {
            wanted: format!(
                "no handler of `wasi:http`, of WASI 0.2 or 0.3, nor `{}`, `{}` or a handler of messages from Redis{hint}",
                inbound::INTERFACE,
                command::RUN
            ),
            exports: Listing::exports(shape),
        });
    }
    Ok(handlers)
}

/// What components of SDK 2.0 are entered at.
fn is_of_an_old_sdk(export: &str) -> bool {
    export.starts_with("wasi:http/incoming-handler@0.2.0-rc-")
}

fn check_imports(shape: &Shape) -> Result<(), Refusal> {
    let missing: MissingImports = shape.imports.iter().filter_map(missing).collect();
    if missing.shown.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Imports { missing })
    }
}

fn missing(import: &Import) -> Option<Missing> {
    let provided = wasi::provider(import).is_some() || host::find::<Host>(&import.name).is_some();
    (!provided).then(|| Missing {
        name: import.to_string(),
        note: host::unsupported(&import.name)
            .map(str::to_owned)
            .or_else(|| origin(import)),
    })
}

fn check_handler(handler: Handler, linked: InstancePre<Host>) -> wasmtime::Result<()> {
    match handler {
        Handler::Http(wasi) => http::handler(linked, wasi).map(drop),
        Handler::Inbound => inbound::find(linked.component()).map(drop),
        Handler::Command(Wasi::V02) => p2::bindings::CommandPre::new(linked).map(drop),
        Handler::Command(Wasi::V03) => p3::bindings::CommandPre::new(linked).map(drop),
        Handler::Redis(generation) => redis::find(linked.component(), generation).map(drop),
    }
}

/// What is imported of WASI and of Spin, and no more.
pub fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<Host>> {
    let mut linker = wasi::link(engine, component)?;
    let mut linked = Vec::new();
    for (name, _) in component.component_type().imports(engine) {
        if let Some(interface) = host::find::<Host>(name)
            && !linked.contains(&interface.name)
        {
            (interface.add)(&mut linker)?;
            linked.push(interface.name);
        }
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_wasi_0_3_counts_as_a_handler_of_it_does() {
        let part = |handlers: &[Handler]| Part {
            handlers: handlers.to_vec(),
            size: InstanceSize::default(),
        };
        assert!(part(&[Handler::Command(Wasi::V03)]).is_concurrent());
        assert!(part(&[Handler::Http(Wasi::V02), Handler::Command(Wasi::V03)]).is_concurrent());
        assert!(part(&[Handler::Http(Wasi::V03)]).is_concurrent());
        assert!(!part(&[Handler::Http(Wasi::V02), Handler::Command(Wasi::V02)]).is_concurrent());
    }

    #[test]
    fn what_old_sdks_export_is_known() {
        for (name, known) in [
            ("fermyon:spin/inbound-http", false),
            ("wasi:http/incoming-handler@0.2.0-rc-2023-10-18", true),
            ("wasi:http/incoming-handler@0.2.0-rc-2023-11-10", true),
            ("wasi:http/incoming-handler@0.2.0", false),
            ("fermyon:spin/inbound-redis", false),
        ] {
            assert_eq!(is_of_an_old_sdk(name), known, "{name}");
        }
    }
}
