//! The decision how a guest is run, from its shape alone: asked by the compiler's process before it compiles
//! anything, and by `wrun wasm inspect`, so that both say the same.

use std::fmt;

use super::command::RUN;
use super::core::{self, INITIALIZE, START};
use super::origin::origin;
use super::refusal::{Listing, Missing, MissingImports, Refusal};
use super::shape::{Export, Import, Item, Layer, Shape, Signature, printable};
use super::{Wasi, http, wasi};

/// A way to run a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A core module, entered at an exported function.
    Core { entry: String },
    /// A component, entered at its `wasi:cli/run`.
    Command { wasi: Wasi },
    /// A component, whose handler of `wasi:http` is called for each request.
    Http { wasi: Wasi },
    /// A component, entered at an exported function, which may be one of an exported interface's.
    Function {
        interface: Option<String>,
        function: String,
    },
}

impl Way {
    /// The name of the exported function, where there is one to name.
    pub fn entry(&self) -> Option<String> {
        match self {
            Self::Core { entry } => Some(entry.clone()),
            Self::Command { .. } | Self::Http { .. } => None,
            Self::Function {
                interface: Some(interface),
                function,
            } => Some(format!("{interface}#{function}")),
            Self::Function { function, .. } => Some(function.clone()),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core { entry } if entry == START => {
                f.write_str("WASI preview 1 command, entered at `_start`")
            }
            Self::Core { entry } => write!(f, "core module, entered at its function `{}`", printable(entry)),
            Self::Command { wasi } => write!(f, "WASI {} command, entered at `{RUN}`", wasi.version()),
            Self::Http { wasi } => write!(f, "HTTP service, served as wasi:http {}", wasi.version()),
            Self::Function { .. } => {
                let entry = self.entry().unwrap_or_default();
                write!(f, "component, entered at its function `{}`", printable(&entry))
            }
        }
    }
}

/// Decides how a guest is run, at the export that was asked for by name where there is one; or why not.
pub fn decide(shape: &Shape, export: Option<&str>) -> Result<Way, Refusal> {
    let way = match shape.layer {
        Layer::Module => core_entry(shape, export)?,
        Layer::Component => component_entry(shape, export)?,
    };
    let missing: MissingImports = shape.imports.iter().filter_map(missing).collect();
    if missing.shown.is_empty() {
        Ok(way)
    } else {
        Err(Refusal::Imports { missing })
    }
}

/// What of wrun's provides an import; `None` where nothing does.
pub fn provider(import: &Import) -> Option<&'static str> {
    match &import.module {
        Some(module) => core::provider(module, &import.name, &import.item),
        None => wasi::provider(import),
    }
}

fn missing(import: &Import) -> Option<Missing> {
    provider(import).is_none().then(|| Missing {
        name: import.to_string(),
        note: origin(import),
    })
}

fn core_entry(shape: &Shape, export: Option<&str>) -> Result<Way, Refusal> {
    let entry = |name: &str| Way::Core {
        entry: name.to_owned(),
    };
    match export {
        Some(name) if shape.calls(name) => Ok(entry(name)),
        Some(name) => Err(not_callable(shape, name, shape.export(name))),
        None if shape.calls(START) => Ok(entry(START)),
        None => Err(Refusal::NothingToRun {
            wanted: format!(
                "{}; `file.wasm#name` calls a function without parameters",
                without_start(shape)
            ),
            exports: Listing::exports(shape),
        }),
    }
}

fn without_start(shape: &Shape) -> &'static str {
    if shape.export(START).is_some() {
        "its `_start` is no function without parameters"
    } else if shape.export(INITIALIZE).is_some() {
        "no `_start`, but `_initialize`: it is a library, a reactor in the words of WASI"
    } else {
        "no `_start`"
    }
}

fn component_entry(shape: &Shape, export: Option<&str>) -> Result<Way, Refusal> {
    let Some(name) = export else {
        return component_default(shape);
    };
    if let Some(wasi) = command_named(shape, name) {
        return Ok(Way::Command { wasi });
    }
    match function(shape, name) {
        Some((interface, function, signature)) if signature.params.is_empty() => Ok(Way::Function {
            interface: interface.map(str::to_owned),
            function: function.to_owned(),
        }),
        Some((.., signature)) => Err(Refusal::parameters(name, signature)),
        None => Err(not_callable(shape, name, shape.export(name))),
    }
}

/// What a component is by its exports. One that is both is served: as a command it would have ended before the
/// first request.
fn component_default(shape: &Shape) -> Result<Way, Refusal> {
    let names: Vec<String> = shape.exports.iter().map(|export| export.name.clone()).collect();
    if let Some(wasi) = http::generation(&names) {
        return Ok(Way::Http { wasi });
    }
    let generation = names.iter().find_map(|name| match wasi::parse(name) {
        (RUN, generation) => generation,
        _ => None,
    });
    if let Some(wasi) = generation {
        return Ok(Way::Command { wasi });
    }
    let known = |name: &&String| matches!(wasi::parse(name).0, RUN | http::HANDLER_02 | http::HANDLER_03);
    let wanted = match names.iter().find(known) {
        Some(name) => format!("its `{}` is neither of WASI 0.2 nor of 0.3", printable(name)),
        None => format!(
            "neither `{RUN}` nor a handler of `wasi:http`, of WASI 0.2 or 0.3; `file.wasm#name` calls a function \
             without parameters"
        ),
    };
    Err(Refusal::NothingToRun {
        wanted,
        exports: Listing::exports(shape),
    })
}

/// The generation of the `wasi:cli/run` that is asked for by its own name, with or without the version.
fn command_named(shape: &Shape, name: &str) -> Option<Wasi> {
    shape
        .exports
        .iter()
        .find_map(|export| match wasi::parse(&export.name) {
            (RUN, generation) if name == RUN || name == export.name => generation,
            _ => None,
        })
}

/// Finds a component's function by its name, after `#`, `.` or `/` behind its interface's, whose version may
/// be left out.
fn function<'a>(shape: &'a Shape, name: &str) -> Option<(Option<&'a str>, &'a str, &'a Signature)> {
    let direct = shape.exports.iter().find_map(|export| match &export.item {
        Item::Function(signature) if export.name == name => Some((None, export.name.as_str(), signature)),
        _ => None,
    });
    direct.or_else(|| {
        let interfaces = || shape.exports.iter().filter_map(interface);
        let exact =
            interfaces().find_map(|(interface, exports)| function_of(interface, interface, exports, name));
        exact.or_else(|| {
            interfaces().find_map(|(interface, exports)| {
                let (short, _) = interface.split_once('@')?;
                function_of(interface, short, exports, name)
            })
        })
    })
}

fn interface(export: &Export) -> Option<(&str, &[Export])> {
    match &export.item {
        Item::Instance(exports) => Some((&export.name, exports)),
        Item::Function(_) | Item::Other(_) => None,
    }
}

fn function_of<'a>(
    interface: &'a str,
    called: &str,
    exports: &'a [Export],
    name: &str,
) -> Option<(Option<&'a str>, &'a str, &'a Signature)> {
    let function = name.strip_prefix(called)?.strip_prefix(['#', '.', '/'])?;
    exports.iter().find_map(|export| match &export.item {
        Item::Function(signature) if export.name == function => {
            Some((Some(interface), export.name.as_str(), signature))
        }
        _ => None,
    })
}

fn not_callable(shape: &Shape, name: &str, found: Option<&Item>) -> Refusal {
    match found {
        Some(Item::Function(signature)) => Refusal::parameters(name, signature),
        _ => Refusal::NoSuchExport {
            name: printable(name),
            exports: Listing::exports(shape),
        },
    }
}

#[cfg(test)]
mod tests;
