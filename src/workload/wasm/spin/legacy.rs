//! Makes components of the modules of Spin's first SDKs, those of the versions 0 and 1 and all for TinyGo. Called with
//! bytes of an unknown hand, in the confined compiler.
//!
//! Their generator (wit-bindgen 0.2) has functions take and give what the component model has them take and give still:
//! numbers, addresses and counts, and where more than one comes back, an address that it is at. Only names differ, so
//! the module gets those of today and a description of its interfaces, and becomes the component that it describes.
//!
//! | a module's | becomes |
//! |---|---|
//! | import `MODULE.function` of [`INTERFACES`] | `fermyon:spin/INTERFACE`, `function` |
//! | export of [`HANDLERS`] | `fermyon:spin/INTERFACE#function` |
//! | export `canonical_abi_realloc` | `cabi_realloc` |
//!
//! The description is `wit/deps/fermyon-spin.wit`, which says what is provided to components as well.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{ExportSection, ImportSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};

use crate::workload::wasm::kinds::shape::{Export, Import, Item, Shape, Signature};
use crate::workload::wasm::kinds::{Missing, MissingImports, Refusal, origin, read};

/// Modules of imports, and the interfaces of `fermyon:spin` that they became.
const INTERFACES: [(&str, &str); 7] = [
    ("key-value", "key-value"),
    ("outbound-mysql", "mysql"),
    ("outbound-pg", "postgres"),
    ("outbound-redis", "redis"),
    ("spin-config", "config"),
    ("sqlite", "sqlite"),
    ("wasi-outbound-http", "http"),
];
/// There is none of it here.
const LLM: &str = "llm";
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What a module is entered at, and the interfaces and functions that it became.
const HANDLERS: [(&str, &str, &str); 2] = [
    ("handle-http-request", "inbound-http", "handle-request"),
    ("handle-redis-message", "inbound-redis", "handle-message"),
];

/// By which the host has the guest make room, by its old and its new name.
const REALLOC: (&str, &str) = ("canonical_abi_realloc", "cabi_realloc");

const WIT: &str = include_str!("wit/deps/fermyon-spin.wit");

/// Whether a function of this name makes a module one of the first SDKs'.
pub fn is_handler(name: &str) -> bool {
    HANDLERS.iter().any(|(old, ..)| *old == name)
}

/// The module with the names of today, and the description of its interfaces.
pub fn described(module: &[u8]) -> Result<Vec<u8>, Refusal> {
    let shape = read::read(module).map_err(Refusal::invalid)?;
    let mut resolve = Resolve::default();
    resolve
        .push_str("fermyon-spin.wit", WIT)
        .map_err(|error| link(format!("{error:#}")))?;
    let missing: MissingImports = shape
        .imports
        .iter()
        .filter_map(|it| missing(&resolve, it))
        .collect();
    if !missing.shown.is_empty() {
        return Err(Refusal::Imports { missing });
    }
    check_types(&resolve, &shape)?;
    if shape.export(REALLOC.0).is_none() && shape.export(REALLOC.1).is_none() {
        let (old, _) = REALLOC;
        return Err(link(format!("it exports no `{old}`, which its host needs")));
    }
    let world = world(&shape);
    let package = resolve
        .push_str("legacy.wit", &world)
        .and_then(|package| resolve.select_world(&[package], None));
    let world = package.map_err(|error| link(format!("{error:#}")))?;
    let mut renamed = renamed(module, &shape).map_err(|error| link(error.to_string()))?;
    embed_component_metadata(&mut renamed, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| link(format!("{error:#}")))?;
    Ok(renamed)
}

fn link(reason: String) -> Refusal {
    Refusal::Link { reason }
}

/// The interface and the function that an import became.
fn target<'a>(module: &str, name: &'a str) -> Option<(&'static str, &'a str)> {
    let (_, interface) = INTERFACES.iter().find(|(old, _)| *old == module)?;
    Some(match (*interface, name) {
        ("http", "request") => ("http", "send-request"),
        // By its new name it was nobody's.
        ("http", _) => return None,
        (interface, name) => (interface, name),
    })
}

/// The type of a function of `fermyon:spin` as a core module has it.
fn core_type(resolve: &Resolve, variant: AbiVariant, interface: &str, function: &str) -> Option<Signature> {
    let mut interfaces = resolve.interfaces.iter().map(|(_, it)| it);
    let found = interfaces.find(|it| it.name.as_deref() == Some(interface))?;
    let WasmSignature { params, results, .. } =
        resolve.wasm_signature(variant, found.functions.get(function)?);
    let text = |ty: &WasmType| {
        let text = match ty {
            WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
            WasmType::I64 | WasmType::PointerOrI64 => "i64",
            WasmType::F32 => "f32",
            WasmType::F64 => "f64",
        };
        text.to_owned()
    };
    Some(Signature {
        asynchronous: false,
        params: params.iter().map(|ty| (None, text(ty))).collect(),
        results: results.iter().map(text).collect(),
    })
}

/// What nothing here provides.
fn missing(resolve: &Resolve, import: &Import) -> Option<Missing> {
    let module = import.module.as_deref().unwrap_or_default();
    let provided = match target(module, &import.name) {
        Some((interface, function)) => {
            core_type(resolve, AbiVariant::GuestImport, interface, function).is_some()
        }
        // What of it there is, is seen when it is adapted.
        None => module == PREVIEW1,
    };
    let note = || match module {
        LLM => Some("there are no models here".to_owned()),
        _ if INTERFACES.iter().any(|(old, _)| *old == module) => {
            Some("no function of that interface".to_owned())
        }
        _ => origin(import),
    };
    (!provided).then(|| Missing {
        name: import.to_string(),
        note: note(),
    })
}

/// Sees that functions have the types that they should have, which an adapter would tell by other names.
fn check_types(resolve: &Resolve, shape: &Shape) -> Result<(), Refusal> {
    let import = |import: &'_ Import| {
        let (interface, function) = target(import.module.as_deref()?, &import.name)?;
        let wanted = core_type(resolve, AbiVariant::GuestImport, interface, function)?;
        wrong(&import.to_string(), &import.item, &wanted)
    };
    let export = |export: &'_ Export| {
        let (.., interface, function) = HANDLERS.iter().find(|(old, ..)| *old == export.name)?;
        let wanted = core_type(resolve, AbiVariant::GuestExport, interface, function)?;
        wrong(&export.name, &export.item, &wanted)
    };
    let found = shape.imports.iter().find_map(import);
    match found.or_else(|| shape.exports.iter().find_map(export)) {
        Some(reason) => Err(link(reason)),
        None => Ok(()),
    }
}

fn wrong(name: &str, item: &Item, wanted: &Signature) -> Option<String> {
    let wanted_text = wanted.with_name(name);
    match item {
        Item::Function(own) if own == wanted => None,
        Item::Function(own) => Some(format!(
            "it has `{}`, which must be `{wanted_text}`",
            own.with_name(name)
        )),
        Item::Instance(_) | Item::Other(_) => Some(format!("its `{name}` is no function `{wanted_text}`")),
    }
}

/// What the module imports and exports, as a world.
fn world(shape: &Shape) -> String {
    let imports = shape.imports.iter().filter_map(|import| {
        let (interface, _) = target(import.module.as_deref()?, &import.name)?;
        Some(interface)
    });
    let imports: BTreeSet<&str> = imports.collect();
    let mut text = "package wrun:legacy;\nworld legacy {\n".to_owned();
    for interface in imports {
        // Writing to a text does not fail.
        let _ = writeln!(text, "  import fermyon:spin/{interface};");
    }
    for (_, interface, _) in HANDLERS.iter().filter(|(old, ..)| shape.export(old).is_some()) {
        let _ = writeln!(text, "  export fermyon:spin/{interface};");
    }
    text.push_str("}\n");
    text
}

/// The module with other names.
fn renamed(module: &[u8], shape: &Shape) -> Result<Vec<u8>, wasm_encoder::reencode::Error> {
    let has_new_realloc = shape.export(REALLOC.1).is_some();
    let mut result = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(wasm_encoder::reencode::Error::ParseError)?;
        match payload {
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                for import in section.into_imports() {
                    let import = import.map_err(wasm_encoder::reencode::Error::ParseError)?;
                    let ty = RoundtripReencoder.entity_type(import.ty)?;
                    match target(import.module, import.name) {
                        Some((interface, function)) => {
                            imports.import(&format!("fermyon:spin/{interface}"), function, ty)
                        }
                        None => imports.import(import.module, import.name, ty),
                    };
                }
                result.section(&imports);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export.map_err(wasm_encoder::reencode::Error::ParseError)?;
                    let name = new_name(export.name, has_new_realloc);
                    let kind = RoundtripReencoder.export_kind(export.kind)?;
                    exports.export(&name, kind, export.index);
                }
                result.section(&exports);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = module.get(range).unwrap_or_default();
                    result.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(result.finish())
}

fn new_name(export: &str, has_new_realloc: bool) -> Cow<'_, str> {
    if export == REALLOC.0 && !has_new_realloc {
        return Cow::Borrowed(REALLOC.1);
    }
    match HANDLERS.iter().find(|(old, ..)| *old == export) {
        Some((_, interface, function)) => Cow::Owned(format!("fermyon:spin/{interface}#{function}")),
        None => Cow::Borrowed(export),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::wasm::spin::componentize;

    const REQUEST: &str = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
    const MEMORY: &str = r#"(memory (export "memory") 1)
        (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "canonical_abi_free") (param i32 i32 i32))"#;

    /// A component of a module with this beside its memory: what it imports and exports.
    fn made_of(imports: &str, exports: &str) -> Result<Shape, String> {
        let binary = wat::parse_str(format!("(module {imports} {exports})")).expect("text");
        let component = componentize::component(&binary).map_err(|refusal| refusal.to_string())?;
        Ok(read::read(&component).expect("a component"))
    }

    fn handler(imports: &str) -> Result<Shape, String> {
        let handler = format!(r#"{MEMORY} (func (export "handle-http-request") {REQUEST} unreachable)"#);
        made_of(imports, &handler)
    }

    #[test]
    fn handlers_become_those_of_components() {
        let shape = handler("").expect("a component");
        assert!(shape.export("fermyon:spin/inbound-http").is_some(), "{shape:?}");
        assert!(shape.export("fermyon:spin/inbound-redis").is_none(), "{shape:?}");
        let both = format!(
            r#"{MEMORY} (func (export "handle-http-request") {REQUEST} unreachable)
               (func (export "handle-redis-message") (param i32 i32) (result i32) unreachable)"#
        );
        let shape = made_of("", &both).expect("a component");
        assert!(shape.export("fermyon:spin/inbound-http").is_some(), "{shape:?}");
        assert!(shape.export("fermyon:spin/inbound-redis").is_some(), "{shape:?}");
    }

    #[test]
    fn every_function_is_imported_by_its_new_name() {
        let mut resolve = Resolve::default();
        resolve.push_str("fermyon-spin.wit", WIT).expect("the interfaces");
        let mut count = 0;
        for (module, interface) in INTERFACES {
            let (_, found) = resolve
                .interfaces
                .iter()
                .find(|(_, it)| it.name.as_deref() == Some(interface))
                .expect(interface);
            for function in found.functions.keys() {
                let ty =
                    core_type(&resolve, AbiVariant::GuestImport, interface, function).expect("it is there");
                let params: Vec<String> = ty.params.iter().map(|(_, ty)| ty.clone()).collect();
                let (params, results) = (params.join(" "), ty.results.join(" "));
                let old = if function == "send-request" {
                    "request"
                } else {
                    function
                };
                let import =
                    format!(r#"(import "{module}" "{old}" (func (param {params}) (result {results})))"#);
                let shape = handler(&import).unwrap_or_else(|error| panic!("{module}.{old}: {error}"));
                let new = format!("fermyon:spin/{interface}");
                let named = shape.imports.iter().find(|it| it.name == new);
                assert!(
                    matches!(named.map(|it| &it.item), Some(Item::Instance(items)) if items.iter().any(|it| it.name == *function)),
                    "{new} {function}: {shape:?}"
                );
                count += 1;
            }
        }
        assert_eq!(count, 7 + 2 + 2 + 9 + 1 + 3 + 1);
    }

    #[test]
    fn what_is_not_there_is_refused_by_its_name() {
        for (import, told) in [
            (
                r#"(import "llm" "infer" (func (param i32)))"#,
                "`llm.infer` (there are no models here)",
            ),
            (
                r#"(import "key-value" "watch" (func (param i32)))"#,
                "`key-value.watch` (no function of that interface)",
            ),
            (
                r#"(import "wasi-outbound-http" "send-request" (func (param i32)))"#,
                "`wasi-outbound-http.send-request`",
            ),
            (r#"(import "own" "function" (func))"#, "`own.function`"),
            (
                r#"(import "wasi_snapshot_preview1" "sock_send_all" (func (param i32)))"#,
                "sock_send_all",
            ),
        ] {
            let error = handler(import).expect_err(import);
            assert!(error.contains(told), "{told}: {error}");
        }
    }

    #[test]
    fn a_wrong_type_is_told_with_the_right_one() {
        let error = handler(r#"(import "spin-config" "get-config" (func (param i32) (result i32)))"#);
        let error = error.expect_err("a wrong import");
        assert!(
            error.contains("`spin-config.get-config(i32) -> i32`")
                && error.contains("must be `spin-config.get-config(i32, i32, i32)`"),
            "{error}"
        );
        let error = made_of("", &format!(r#"{MEMORY} (func (export "handle-http-request"))"#));
        let error = error.expect_err("a wrong export");
        assert!(
            error.contains("`handle-http-request()`, which must be `handle-http-request(i32, i32, "),
            "{error}"
        );
        let error = handler(r#"(import "key-value" "open" (memory 1))"#).expect_err("no function");
        assert!(error.contains("`key-value.open` is no function"), "{error}");
    }

    #[test]
    fn a_module_without_room_for_what_it_is_given_is_refused() {
        let module = format!(
            r#"(memory (export "memory") 1) (func (export "handle-http-request") {REQUEST} unreachable)"#
        );
        let error = made_of("", &module).expect_err("no realloc");
        assert!(error.contains("no `canonical_abi_realloc`"), "{error}");
        let module = format!(
            r#"(func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
               (func (export "handle-http-request") {REQUEST} unreachable)"#
        );
        let error = made_of("", &module).expect_err("no memory");
        assert!(error.contains("memory"), "{error}");
    }
}
