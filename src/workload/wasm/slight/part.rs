//! The module of an application: what it imports, and what it can be entered at.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::{Engine, Module};

use super::link::{self, Interface};
use crate::workload::wasm::compile::{failed, not_taken};
use crate::workload::wasm::kinds::core::START;
use crate::workload::wasm::kinds::http::InstanceSize;
use crate::workload::wasm::kinds::shape::{Import, Item, Layer, Shape, Signature};
use crate::workload::wasm::kinds::{GuestKind, Listing, Missing, MissingImports, Refusal, origin, read};

/// What starts a server.
pub const INIT: &str = "on-server-init";

/// What is known of a module once it is compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Those that it imports functions of.
    pub interfaces: BTreeSet<Interface>,
    /// Whether it can be entered at `on-server-init`, and at `_start`: at one of them at least.
    pub serves: bool,
    pub starts: bool,
    pub size: InstanceSize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = match (self.serves, self.starts) {
            (true, true) => "`on-server-init` or `_start`",
            (true, false) => "`on-server-init`",
            (false, _) => "`_start`",
        };
        write!(f, "module of a SpiderLightning application, entered at {entries}")
    }
}

/// Sees that a module fits an application, and compiles it. Called in the confined compiler.
pub fn translate(binary: &[u8], engine: &Engine) -> Result<(Vec<u8>, GuestKind), Refusal> {
    let shape = read::read(binary).map_err(Refusal::invalid)?;
    if shape.layer == Layer::Component {
        return Err(Refusal::Link {
            reason: "it is a component, and SpiderLightning's interfaces are those of core modules"
                .to_owned(),
        });
    }
    let (serves, starts) = entries(&shape)?;
    check_imports(&shape)?;
    let module = Module::from_binary(engine, binary).map_err(|error| not_taken(binary, &error))?;
    let link_error = |error: wasmtime::Error| Refusal::Link {
        reason: format!("{error:#}"),
    };
    link::link(engine, &module)
        .and_then(|linker| linker.instantiate_pre(&module))
        .map_err(link_error)?;
    let part = Part {
        interfaces: link::interfaces(&module),
        serves,
        starts,
        size: InstanceSize::of_module(&module),
    };
    let code = module.serialize().map_err(failed)?;
    Ok((code, GuestKind::Slight(part)))
}

fn entries(shape: &Shape) -> Result<(bool, bool), Refusal> {
    let serves = match shape.export(INIT) {
        Some(Item::Function(Signature { params, results, .. })) => params.is_empty() && *results == ["i32"],
        _ => false,
    };
    let starts = shape.calls(START);
    if serves || starts {
        return Ok((serves, starts));
    }
    Err(Refusal::NothingToRun {
        wanted: format!("neither `{INIT}() -> i32` nor `{START}()`"),
        exports: Listing::exports(shape),
    })
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
    let provided = import
        .module
        .as_deref()
        .is_some_and(|module| link::provides(module, &import.name));
    (!provided).then(|| Missing {
        name: import.to_string(),
        note: origin(import),
    })
}
