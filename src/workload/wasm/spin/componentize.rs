//! Makes components of core modules, as SDKs before components left it to Spin. Called with bytes of an unknown hand,
//! in the confined compiler.
//!
//! | a module that | becomes |
//! |---|---|
//! | describes its interfaces in sections `component-type…` (SDKs of the versions 2 and 3) | the component it describes |
//! | exports `_start` and describes none (WASI preview 1, for the executor `wagi` and commands) | a command |
//! | exports `handle-http-request` or `handle-redis-message` (SDKs before, and those for TinyGo) | a handler, see [`legacy`] |

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wasmparser::{Encoding, ExternalKind, Parser, Payload};
use wit_component::ComponentEncoder;

use super::legacy;
use crate::workload::wasm::kinds::Refusal;

/// What a binary is before anything is made of it.
#[derive(Debug, Default)]
struct Look {
    is_module: bool,
    describes_interfaces: bool,
    starts: bool,
    legacy: bool,
}

/// The component that a binary is, or that it becomes.
pub fn component(binary: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    let look = look(binary).map_err(Refusal::invalid)?;
    if !look.is_module {
        return Ok(Cow::Borrowed(binary));
    }
    let (module, adapter) = match look {
        Look {
            describes_interfaces: true,
            ..
        } => (Cow::Borrowed(binary), REACTOR),
        Look { legacy: true, .. } => (Cow::Owned(legacy::described(binary)?), REACTOR),
        Look { starts: true, .. } => (Cow::Borrowed(binary), COMMAND),
        _ => {
            return Err(Refusal::Link {
                reason: "it is a core module that says nothing of its interfaces, and has no `_start`"
                    .to_owned(),
            });
        }
    };
    encode(&module, adapter)
        .map(Cow::Owned)
        .map_err(|reason| Refusal::Link {
            reason: crate::workload::wasm::kinds::shape::plain(&reason, 1000),
        })
}

fn encode(module: &[u8], adapter: &[u8]) -> Result<Vec<u8>, String> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder
        .and_then(|encoder| encoder.adapter(PREVIEW1, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("no component can be made of it: {error:#}"))
}

fn look(binary: &[u8]) -> wasmparser::Result<Look> {
    let mut look = Look::default();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(binary) {
        match payload? {
            Payload::Version { encoding, .. } => {
                if depth == 0 {
                    look.is_module = encoding == Encoding::Module;
                }
                depth += 1;
                if !look.is_module {
                    break;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    let function = export.kind == ExternalKind::Func;
                    look.starts |= function && export.name == "_start";
                    look.legacy |= function && legacy::is_handler(export.name);
                }
            }
            Payload::CustomSection(section) => {
                look.describes_interfaces |= section.name().starts_with("component-type");
            }
            _ => {}
        }
    }
    Ok(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<bool, String> {
        let binary = wat::parse_str(text).expect("text");
        component(&binary)
            .map(|made| made.get(4..8) == Some(&[0x0d, 0, 1, 0]))
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_component_stays_what_it_is() {
        assert_eq!(of("(component)"), Ok(true));
    }

    #[test]
    fn a_command_of_preview_1_becomes_a_component() {
        let command = r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 0))))"#;
        assert_eq!(of(command), Ok(true));
    }

    #[test]
    fn what_nothing_can_be_made_of_is_refused() {
        let none = of("(module)").expect_err("refused");
        assert!(none.contains("no `_start`"), "{none}");
        let unknown = r#"(module (import "env" "f" (func)) (memory (export "memory") 1)
            (func (export "_start")))"#;
        let unknown = of(unknown).expect_err("refused");
        assert!(unknown.contains("no component can be made"), "{unknown}");
    }
}
