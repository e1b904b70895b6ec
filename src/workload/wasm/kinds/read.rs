//! Reads a guest's shape from its binary. The bytes are untrusted: this is called where nothing can be lost,
//! in the confined processes that compile and inspect.

use std::fmt::Write as _;

use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::types::{EntityType, Types, TypesRef};
use wasmparser::{CompositeInnerType, MemoryType, Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::shape::{Export, Import, Item, Layer, Shape, Signature};

/// Most bytes that the text of one type may have, and how deep it is told: a few bytes of a binary can
/// describe a type as large as they like.
const MAX_TYPE: usize = 160;
const MAX_DEPTH: usize = 4;

/// Reads the shape; the error says what is wrong with the bytes, and where.
///
/// Every proposal is taken, and the bodies of functions are not looked at: whether the engine takes the guest
/// is another question ([`super::super::proposals`]).
pub fn read(binary: &[u8]) -> Result<Shape, String> {
    // All but the names of a proposal that changes what other names mean.
    let features = WasmFeatures::all().difference(WasmFeatures::CM_CANON_NAMES);
    let mut validator = Validator::new_with_features(features);
    let mut names = Names::default();
    let mut depth = 0usize;
    let mut end = None;
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload.map_err(|error| error.to_string())?;
        if depth == 0 {
            names.note(&payload).map_err(|error| error.to_string())?;
        }
        match validator.payload(&payload).map_err(|error| error.to_string())? {
            ValidPayload::Parser(_) => depth += 1,
            ValidPayload::End(types) => {
                depth = depth.saturating_sub(1);
                end = Some(types);
            }
            ValidPayload::Ok | ValidPayload::Func(..) => {}
        }
    }
    // The last to end is the outermost.
    let types = end.ok_or("it ends before it is complete")?;
    Ok(shape(&types, &names))
}

/// The names of what a component imports and exports, which its types do not list.
#[derive(Default)]
struct Names {
    component: bool,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Names {
    fn note(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.component = matches!(encoding, wasmparser::Encoding::Component);
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn shape(types: &Types, names: &Names) -> Shape {
    let types = types.as_ref();
    if !names.component {
        return module(types);
    }
    let imports = names.imports.iter().filter_map(|name| {
        let item = types.component_item_for_import(name)?;
        Some(Import {
            module: None,
            name: name.clone(),
            item: component_item(types, &item.ty, true),
        })
    });
    let exports = names.exports.iter().filter_map(|name| {
        let item = types.component_item_for_export(name)?;
        Some(Export {
            name: name.clone(),
            item: component_item(types, &item.ty, true),
        })
    });
    Shape {
        layer: Layer::Component,
        imports: imports.collect(),
        exports: exports.collect(),
    }
}

fn module(types: TypesRef<'_>) -> Shape {
    let imports = types.core_imports().into_iter().flatten();
    let exports = types.core_exports().into_iter().flatten();
    Shape {
        layer: Layer::Module,
        imports: imports
            .map(|(module, name, ty)| Import {
                module: Some(module.to_owned()),
                name: name.to_owned(),
                item: core_item(types, ty),
            })
            .collect(),
        exports: exports
            .map(|(name, ty)| Export {
                name: name.to_owned(),
                item: core_item(types, ty),
            })
            .collect(),
    }
}

fn core_item(types: TypesRef<'_>, ty: EntityType) -> Item {
    match ty {
        EntityType::Func(id) | EntityType::FuncExact(id) => match &types[id].composite_type.inner {
            CompositeInnerType::Func(function) => Item::Function(Signature {
                asynchronous: false,
                params: function
                    .params()
                    .iter()
                    .map(|ty| (None, ty.to_string()))
                    .collect(),
                results: function.results().iter().map(ToString::to_string).collect(),
            }),
            // Cannot be, by the validator.
            other => Item::Other(other.to_string()),
        },
        EntityType::Table(table) => {
            let limits = range(table.initial, table.maximum);
            Item::Other(format!("table of {}, {limits} elements", table.element_type))
        }
        EntityType::Memory(memory) => Item::Other(format!("memory of {}", memory_limits(&memory))),
        EntityType::Global(global) => {
            let mutable = if global.mutable { "mutable " } else { "" };
            Item::Other(format!("{mutable}global {}", global.content_type))
        }
        EntityType::Tag(_) => Item::Other("exception tag".to_owned()),
    }
}

/// The limits of a memory, in pages.
pub fn memory_limits(memory: &MemoryType) -> String {
    let mut text = format!("{} pages", range(memory.initial, memory.maximum));
    if let Some(log2) = memory.page_size_log2 {
        // Writing into a String cannot fail.
        let _ = write!(text, " of {} bytes", 1u64.checked_shl(log2).unwrap_or(0));
    }
    if memory.memory64 {
        text.push_str(", 64-bit");
    }
    if memory.shared {
        text.push_str(", shared");
    }
    text
}

/// `1`, `1 to 2` or `1 and more`.
pub fn range(least: u64, most: Option<u64>) -> String {
    match most {
        Some(most) if most == least => least.to_string(),
        Some(most) => format!("{least} to {most}"),
        None => format!("{least} and more"),
    }
}

/// `outer`: instances within instances are named and no more.
fn component_item(types: TypesRef<'_>, ty: &ComponentEntityType, outer: bool) -> Item {
    let named = |what: &str| Item::Other(what.to_owned());
    match ty {
        ComponentEntityType::Func(id) => Item::Function(component_function(types, *id)),
        ComponentEntityType::Instance(id) if outer => {
            let exports = types[*id].exports.iter().map(|(name, item)| Export {
                name: name.clone(),
                item: component_item(types, &item.ty, false),
            });
            Item::Instance(exports.collect())
        }
        ComponentEntityType::Instance(_) => named("instance"),
        ComponentEntityType::Module(_) => named("core module"),
        ComponentEntityType::Component(_) => named("component"),
        ComponentEntityType::Value(_) => named("value"),
        ComponentEntityType::Type { created, .. } => match created {
            wasmparser::component_types::ComponentAnyTypeId::Resource(_) => named("resource"),
            _ => named("type"),
        },
    }
}

fn component_function(types: TypesRef<'_>, id: ComponentFuncTypeId) -> Signature {
    let function = &types[id];
    let text = |ty: &ComponentValType| {
        let mut text = String::new();
        value(types, ty, 0, &mut text);
        text
    };
    Signature {
        asynchronous: function.async_,
        params: function
            .params
            .iter()
            .map(|(name, ty)| (Some(name.to_string()), text(ty)))
            .collect(),
        results: function.result.iter().map(text).collect(),
    }
}

/// Appends a type as WIT writes it; names of types are not kept in the binary where this looks.
fn value(types: TypesRef<'_>, ty: &ComponentValType, depth: usize, text: &mut String) {
    if depth > MAX_DEPTH || text.len() > MAX_TYPE {
        text.push('…');
        return;
    }
    let id = match ty {
        ComponentValType::Primitive(primitive) => {
            text.push_str(&primitive.to_string());
            return;
        }
        ComponentValType::Type(id) => *id,
    };
    let next = depth + 1;
    let mut generic = |name: &str, parts: &[Option<&ComponentValType>]| {
        text.push_str(name);
        if parts.iter().all(Option::is_none) {
            return;
        }
        text.push('<');
        for (at, part) in parts.iter().enumerate() {
            let last = parts[at..].iter().all(Option::is_none);
            if last {
                break;
            }
            if at > 0 {
                text.push_str(", ");
            }
            match part {
                Some(ty) => value(types, ty, next, text),
                None => text.push('_'),
            }
        }
        text.push('>');
    };
    match &types[id] {
        ComponentDefinedType::Primitive(primitive) => generic(&primitive.to_string(), &[]),
        ComponentDefinedType::Record(_) => generic("record", &[]),
        ComponentDefinedType::Variant(_) => generic("variant", &[]),
        ComponentDefinedType::Flags(_) => generic("flags", &[]),
        ComponentDefinedType::Enum(_) => generic("enum", &[]),
        ComponentDefinedType::Own(_) => generic("own", &[]),
        ComponentDefinedType::Borrow(_) => generic("borrow", &[]),
        ComponentDefinedType::List { element, .. }
        | ComponentDefinedType::FixedLengthList { element, .. } => {
            generic("list", &[Some(element)]);
        }
        ComponentDefinedType::Map { key, value, .. } => generic("map", &[Some(key), Some(value)]),
        ComponentDefinedType::Tuple(tuple) => {
            generic(
                "tuple",
                &tuple.types.iter().take(16).map(Some).collect::<Vec<_>>(),
            );
        }
        ComponentDefinedType::Option { ty, .. } => generic("option", &[Some(ty)]),
        ComponentDefinedType::Result { ok, err, .. } => generic("result", &[ok.as_ref(), err.as_ref()]),
        ComponentDefinedType::Future { ty, .. } => generic("future", &[ty.as_ref()]),
        ComponentDefinedType::Stream { ty, .. } => generic("stream", &[ty.as_ref()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        read(&wat::parse_str(text).expect("text")).expect("a shape")
    }

    #[test]
    fn a_module_is_read() {
        let shape = shape(
            r#"(module
                (import "env" "f" (func (param i32 i64) (result f32)))
                (import "env" "memory" (memory 1 2))
                (global (export "g") (mut i32) (i32.const 0))
                (table (export "t") 1 funcref)
                (func (export "_start")))"#,
        );
        assert_eq!(shape.layer, Layer::Module);
        let imports: Vec<String> = shape.imports.iter().map(ToString::to_string).collect();
        assert_eq!(imports, ["env.f", "env.memory"]);
        assert!(
            matches!(&shape.imports[0].item, Item::Function(it) if it.with_name("f") == "f(i32, i64) -> f32")
        );
        assert!(matches!(&shape.imports[1].item, Item::Other(it) if it == "memory of 1 to 2 pages"));
        assert!(matches!(shape.export("g"), Some(Item::Other(it)) if it == "mutable global i32"));
        assert!(
            matches!(shape.export("t"), Some(Item::Other(it)) if it.starts_with("table of funcref, 1 and"))
        );
        assert!(shape.calls("_start") && !shape.calls("g") && !shape.calls("nothing"));
    }

    #[test]
    fn a_component_is_read() {
        let shape = shape(
            r#"(component
                (import "a:b/c@1.0.0" (instance
                    (export "r" (type (sub resource)))
                    (export "f" (func (param "x" u32) (param "y" (list string)) (result (result string (error u8)))))))
                (import "g" (func async (result (option (tuple u8 bool)))))
                (core module $nested (import "no" "matter" (func)) (func (export "hidden"))))"#,
        );
        assert_eq!(shape.layer, Layer::Component);
        assert_eq!(shape.exports, []);
        let Item::Instance(exports) = &shape.imports[0].item else {
            panic!("{shape:?}")
        };
        assert_eq!(exports[0].item, Item::Other("resource".to_owned()));
        let Item::Function(signature) = &exports[1].item else {
            panic!("{exports:?}")
        };
        assert_eq!(
            signature.with_name("f"),
            "f(x: u32, y: list<string>) -> result<string, u8>"
        );
        let Item::Function(signature) = &shape.imports[1].item else {
            panic!("{shape:?}")
        };
        assert_eq!(signature.with_name("g"), "async g() -> option<tuple<u8, bool>>");
    }

    #[test]
    fn what_is_broken_is_placed() {
        for bytes in [
            &b"\0asm\x01\0\0\0\x01"[..],
            b"\0asm",
            b"",
            b"\0asm\x0d\0\x01\0\x07\xff",
        ] {
            let error = read(bytes).expect_err("broken");
            assert!(error.contains("offset") || error.contains("complete"), "{error}");
        }
    }
}
