//! Looks into a guest's bytes: the shape that decides how it is run, and what else its sections tell. Never
//! compiles; called with untrusted bytes, in a process that can lose nothing.

use std::borrow::Cow;

use wasmparser::{
    BinaryReader, CustomSectionReader, MemoryType, Parser, Payload, ProducersSectionReader, TableType,
    TypeRef,
};

use super::report::{
    CoreModule, ImportGroup, ImportItem, Item as Named, Kind, Memory, Producer, Proposal, Report, Run,
    Section,
};
use crate::workload::detect::{self, Format};
use crate::workload::wasm::kinds::shape::{Item, Layer, Shape};
use crate::workload::wasm::kinds::{self, Refusal, Wasi, read, wasi};
use crate::workload::wasm::proposals;
#[cfg(feature = "spin")]
use crate::workload::wasm::spin;

/// A page of memory, in bytes, where the module does not say otherwise.
const PAGE: u64 = 64 << 10;

/// Most producers that are told: each is compared with those before it.
const MAX_PRODUCERS: usize = 1000;

/// Looks at bytes that are Wasm, or text where `text` says so.
pub fn look(bytes: &[u8], export: Option<&str>) -> Report {
    let size = bytes.len() as u64;
    let broken = |kind, refusal: &Refusal| {
        let mut report = Report::of_other(kind, size, refused(refusal));
        report.error = Some(refusal.to_string());
        report
    };
    let binary = match kinds::binary(bytes) {
        Ok(binary) => binary,
        Err(refusal) => return broken(Kind::Text, &refusal),
    };
    let kind = match detect::detect(&binary, "") {
        Format::WasmComponent => Kind::Component,
        _ => Kind::Module,
    };
    let shape = match read::read(&binary) {
        Ok(shape) => shape,
        Err(reason) => return broken(kind, &Refusal::invalid(reason)),
    };
    let used = proposals::used(&binary).unwrap_or_default();
    let mut report = Report::of_other(kind, size, run(&shape, &binary, export));
    report.text = matches!(binary, Cow::Owned(_));
    report.imports = imports(&shape, report.run.part.is_some());
    report.exports = exports(&shape);
    report.proposals = used
        .iter()
        .map(|proposal| Proposal {
            name: proposal.name.to_owned(),
            on: proposal.on,
        })
        .collect();
    if let Err(error) = sections(&binary, &mut report) {
        report.error = Some(error.to_string());
    }
    report
}

fn refused(refusal: &Refusal) -> Run {
    Run {
        runs: false,
        text: refusal.to_string(),
        entry: None,
        part: None,
    }
}

/// What a container would say, decided as it decides it.
fn run(shape: &Shape, binary: &[u8], export: Option<&str>) -> Run {
    let decided = kinds::decide(shape, export).and_then(|way| match proposals::explain(binary) {
        None => Ok(way),
        Some(refusal) => Err(refusal),
    });
    match decided {
        Ok(way) => Run {
            runs: true,
            text: way.to_string(),
            entry: way.entry(),
            part: None,
        },
        Err(refusal) => Run {
            part: match export {
                None if proposals::explain(binary).is_none() => part(binary),
                _ => None,
            },
            ..refused(&refusal)
        },
    }
}

#[cfg(feature = "spin")]
fn part(binary: &[u8]) -> Option<String> {
    spin::describe(binary)
}

#[cfg(not(feature = "spin"))]
fn part(_: &[u8]) -> Option<String> {
    None
}

/// What gives a component of an application what it imports, of which nothing is missing.
fn provider_of_parts(from: &str) -> &'static str {
    match wasi::parse(from) {
        (_, Some(Wasi::V02)) => "WASI 0.2",
        (_, Some(Wasi::V03)) => "WASI 0.3",
        (_, None) => "Spin",
    }
}

/// `part` where they are a component's of an application.
fn imports(shape: &Shape, part: bool) -> Vec<ImportGroup> {
    let mut groups: Vec<ImportGroup> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for import in &shape.imports {
        let from = import.module.clone().unwrap_or_else(|| import.name.clone());
        let at = *places.entry(from.clone()).or_insert_with(|| {
            groups.push(ImportGroup {
                from,
                items: Vec::new(),
            });
            groups.len() - 1
        });
        let provided_by = kinds::provider(import)
            .or_else(|| part.then(|| provider_of_parts(&groups[at].from)))
            .map(str::to_owned);
        let belongs_to = match provided_by {
            Some(_) => None,
            None => kinds::origin(import),
        };
        groups[at].items.push(ImportItem {
            name: import
                .module
                .as_ref()
                .map(|_| import.name.clone())
                .unwrap_or_default(),
            ty: text(&import.item),
            provided_by,
            belongs_to,
        });
    }
    groups
}

fn exports(shape: &Shape) -> Vec<Named> {
    let named = |name: String, item: &Item| Named { name, ty: text(item) };
    let mut exports = Vec::new();
    for export in &shape.exports {
        exports.push(named(export.name.clone(), &export.item));
        if let (Layer::Component, Item::Instance(inner)) = (shape.layer, &export.item) {
            let inner = inner
                .iter()
                .map(|it| named(format!("{}#{}", export.name, it.name), &it.item));
            exports.extend(inner);
        }
    }
    exports
}

fn text(item: &Item) -> String {
    match item {
        Item::Function(signature) => signature.with_name("func"),
        Item::Instance(_) => "interface".to_owned(),
        Item::Other(what) => what.clone(),
    }
}

/// Sizes and custom sections, of modules within a component too.
fn sections(binary: &[u8], report: &mut Report) -> wasmparser::Result<()> {
    // What is open: a module's place in the report, or a component.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut size = binary.len();
    for payload in Parser::new(0).parse_all(binary) {
        match payload? {
            Payload::Version { encoding, .. } => {
                let module = matches!(encoding, wasmparser::Encoding::Module);
                open.push(module.then_some(report.modules.len()));
                if module {
                    report.modules.push(CoreModule {
                        size: size as u64,
                        ..CoreModule::default()
                    });
                }
            }
            // The version of the module itself comes next.
            Payload::ModuleSection { unchecked_range, .. } => size = unchecked_range.len(),
            Payload::End(_) => {
                open.pop();
            }
            Payload::CustomSection(section) => custom(&section, report),
            other => {
                let module = open.last().copied().flatten();
                if let Some(module) = module.and_then(|at| report.modules.get_mut(at)) {
                    measure(&other, module)?;
                }
            }
        }
    }
    Ok(())
}

/// Adds what a section tells of its module.
fn measure(payload: &Payload<'_>, module: &mut CoreModule) -> wasmparser::Result<()> {
    match payload {
        Payload::ImportSection(section) => {
            for import in section.clone().into_imports() {
                match import?.ty {
                    TypeRef::Memory(ty) => module.memories.push(memory(&ty, true)),
                    TypeRef::Table(ty) => module.tables.push(table(&ty)),
                    _ => {}
                }
            }
        }
        Payload::MemorySection(section) => {
            for ty in section.clone() {
                module.memories.push(memory(&ty?, false));
            }
        }
        Payload::TableSection(section) => {
            for it in section.clone() {
                module.tables.push(table(&it?.ty));
            }
        }
        Payload::StartSection { func, .. } => module.start = Some(*func),
        Payload::CodeSectionStart { count, range, .. } => {
            module.functions = u64::from(*count);
            module.code = range.len() as u64;
        }
        Payload::DataSection(section) => {
            for segment in section.clone() {
                module.data_segments += 1;
                module.data += segment?.data.len() as u64;
            }
        }
        _ => {}
    }
    Ok(())
}

fn table(ty: &TableType) -> String {
    let limits = read::range(ty.initial, ty.maximum);
    format!("{limits} of {}", ty.element_type)
}

fn memory(ty: &MemoryType, imported: bool) -> Memory {
    let page = match ty.page_size_log2 {
        Some(log2) => 1u64.checked_shl(log2).unwrap_or(u64::MAX),
        None => PAGE,
    };
    Memory {
        imported,
        initial: ty.initial.saturating_mul(page),
        maximum: ty.maximum.map(|pages| pages.saturating_mul(page)),
        text: read::memory_limits(ty),
    }
}

/// Notes a custom section. What cannot be read of it is left out: it means nothing to the engine either.
fn custom(section: &CustomSectionReader<'_>, report: &mut Report) {
    let name = section.name();
    report.custom_sections.push(Section {
        name: name.to_owned(),
        size: section.data().len() as u64,
    });
    report.names |= matches!(name, "name" | "component-name");
    report.dwarf |= name == ".debug_line";
    if name == "producers" {
        let reader = BinaryReader::new(section.data(), section.data_offset());
        let fields = ProducersSectionReader::new(reader)
            .into_iter()
            .flatten()
            .flatten();
        let values = fields.flat_map(|field| {
            let name = field.name;
            field.values.into_iter().flatten().map(move |value| Producer {
                field: name.to_owned(),
                name: value.name.to_owned(),
                version: value.version.to_owned(),
            })
        });
        for value in values {
            if report.producers.len() < MAX_PRODUCERS && !report.producers.contains(&value) {
                report.producers.push(value);
            }
        }
    }
}
