//! Recognises what an entry point is from its first bytes, and decides how it is run. Pure: reads no file.
//!
//! Some images hold an application instead of a program: several Wasm files, and a manifest at the root that says what
//! they are for. Their entry point is a placeholder, most often `/`. [`application`] is the rule by which they are
//! told:
//!
//! | what is at the entry point | with `/spin.toml` | with `/slightfile.toml` and `/app.wasm` |
//! |---|---|---|
//! | a directory, nothing, or Wasm | a Spin application | a SpiderLightning application |
//! | anything else | the program that it is | the program that it is |
//!
//! Where both manifests are there it is a Spin application, unless `run.oci.handler` is `slight`; that annotation, or
//! its value `spin`, also keeps the other manifest from being looked for at all.

use super::WorkloadError;
use crate::plan::Workload;

/// How many bytes of the entry point [`detect`] wants; a shorter file gives what it has.
pub const HEAD: usize = 16;

/// The `EI_OSABI` with which Wasmtime marks the ELF files it compiles to.
const ELFOSABI_WASMTIME: u8 = 200;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Elf,
    /// `#!`: the kernel starts its interpreter.
    Script,
    /// A core module in the binary format; also one that is cut off or of an unknown version, so that the
    /// compiler can say what is wrong with it.
    WasmModule,
    WasmComponent,
    /// The text format. It has no magic number, so the name decides.
    WasmText,
    /// Compiled code in Wasmtime's ELF form.
    Precompiled,
    Other,
}

impl Format {
    /// Whether the engine takes it.
    pub const fn is_wasm(self) -> bool {
        matches!(self, Self::WasmModule | Self::WasmComponent | Self::WasmText)
    }

    /// For errors: "this is ...".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Elf => "a native executable (ELF)",
            Self::Script => "a script",
            Self::WasmModule => "a Wasm module",
            Self::WasmComponent => "a Wasm component",
            Self::WasmText => "Wasm text",
            Self::Precompiled => "precompiled Wasm",
            Self::Other => "none that is known by its first bytes",
        }
    }
}

/// How the entry point is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Native,
    Wasm,
}

/// An application: what its manifest names is run, in the place of the entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    Spin,
    /// SpiderLightning.
    Slight,
}

impl Application {
    /// What must be at the root of its image; the manifest comes first.
    pub const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Spin => &["/spin.toml"],
            Self::Slight => &["/slightfile.toml", "/app.wasm"],
        }
    }

    /// Where its manifest is.
    pub const fn manifest(self) -> &'static str {
        self.files()[0]
    }
}

/// What is at the entry point, as far as an application's rule asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Nothing,
    Directory,
    Wasm,
    /// A program, or something that cannot be looked at.
    Other,
}

/// Which application the image is, by the rule above; `is_there` tells whether a file is at the root.
pub fn application(workload: Workload, place: Place, is_there: impl Fn(&str) -> bool) -> Option<Application> {
    let candidates: &[Application] = match workload {
        Workload::Native => &[],
        Workload::Spin => &[Application::Spin],
        Workload::Slight => &[Application::Slight],
        Workload::Detect | Workload::DetectByName | Workload::Wasm => {
            &[Application::Spin, Application::Slight]
        }
    };
    let has = |application: &&Application| application.files().iter().all(|file| is_there(file));
    match place {
        Place::Other => None,
        Place::Nothing | Place::Directory | Place::Wasm => candidates.iter().find(has).copied(),
    }
}

/// Tells the format from the first bytes (up to [`HEAD`]) and the file's name.
pub fn detect(head: &[u8], name: &str) -> Format {
    match head {
        [0x7f, b'E', b'L', b'F', rest @ ..] => match rest.get(3) {
            Some(&ELFOSABI_WASMTIME) => Format::Precompiled,
            _ => Format::Elf,
        },
        [b'#', b'!', ..] => Format::Script,
        // Version and layer, two little-endian u16, follow the magic; layer 1 is the component model
        // (component-model design/mvp/Binary.md).
        [0, b'a', b's', b'm', rest @ ..] => match rest {
            [_, _, 1, 0, ..] => Format::WasmComponent,
            _ => Format::WasmModule,
        },
        _ if has_extension(name, "wat") => Format::WasmText,
        _ => Format::Other,
    }
}

/// Decides how a file of this format is run under what the plan asks for.
pub fn choose(workload: Workload, format: Format, name: &str) -> Result<Choice, WorkloadError> {
    let precompiled = || WorkloadError::Precompiled {
        path: name.to_owned(),
    };
    match (workload, format) {
        (Workload::Native, _) => Ok(Choice::Native),
        (Workload::DetectByName, Format::Precompiled) if is_wasm_name(name) => Err(precompiled()),
        (Workload::DetectByName, format) if format.is_wasm() && is_wasm_name(name) => Ok(Choice::Wasm),
        (Workload::DetectByName, _) => Ok(Choice::Native),
        (_, Format::Precompiled) => Err(precompiled()),
        (_, format) if format.is_wasm() => Ok(Choice::Wasm),
        (Workload::Detect, _) => Ok(Choice::Native),
        (Workload::Wasm | Workload::Spin | Workload::Slight, format) => Err(WorkloadError::NotWasm {
            path: name.to_owned(),
            found: format.describe(),
        }),
    }
}

/// The ways to read `module.wasm#function`, at its last `#` first: both a file's name and that of an interface's
/// function may have one. To be tried only where no file has the whole name; the first that is there counts.
pub fn split_entry(argument: &str) -> impl Iterator<Item = (&str, &str)> {
    let places = argument.rmatch_indices('#');
    places.filter_map(|(at, _)| {
        let (path, export) = (&argument[..at], &argument[at + 1..]);
        (!path.is_empty() && !export.is_empty()).then_some((path, export))
    })
}

fn is_wasm_name(name: &str) -> bool {
    has_extension(name, "wasm") || has_extension(name, "wat")
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, last)| !stem.is_empty() && last == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn formats_are_told_by_content() {
        assert_eq!(detect(MODULE, "/app"), Format::WasmModule);
        assert_eq!(detect(COMPONENT, "/app"), Format::WasmComponent);
        assert_eq!(detect(b"\0asm", "cut off"), Format::WasmModule);
        assert_eq!(detect(b"\0asm\x01\0", "cut off"), Format::WasmModule);
        assert_eq!(detect(b"\0as", "too short"), Format::Other);
        assert_eq!(detect(b"#!/bin/sh\n", "/app.wasm"), Format::Script);
        assert_eq!(detect(b"\x7fELF\x02\x01\x01\0", "/app.wat"), Format::Elf);
        assert_eq!(
            detect(b"\x7fELF\x02\x01\x01\xc8", "/app.cwasm"),
            Format::Precompiled
        );
        assert_eq!(detect(b"\x7fELF", "/cut"), Format::Elf);
        assert_eq!(detect(b"", "/empty"), Format::Other);
    }

    #[test]
    fn text_is_told_by_name() {
        assert_eq!(detect(b"(module)", "/app.wat"), Format::WasmText);
        assert_eq!(detect(b"", "a.wat"), Format::WasmText);
        assert_eq!(detect(b"(module)", "/app.wasm"), Format::Other);
        assert_eq!(detect(b"(module)", "wat"), Format::Other);
        assert_eq!(detect(b"(module)", ".wat"), Format::Other);
    }

    #[test]
    fn the_plan_and_the_format_choose() {
        use Workload::{Detect, DetectByName, Native, Wasm};
        let ok = |workload, format, name| choose(workload, format, name).expect("a choice");
        assert_eq!(ok(Detect, Format::WasmModule, "/app"), Choice::Wasm);
        assert_eq!(ok(Detect, Format::Other, "/app.wasm"), Choice::Native);
        assert_eq!(ok(DetectByName, Format::WasmModule, "/app"), Choice::Native);
        assert_eq!(ok(DetectByName, Format::WasmModule, "/app.wasm"), Choice::Wasm);
        assert_eq!(ok(DetectByName, Format::Elf, "/app.wasm"), Choice::Native);
        assert_eq!(ok(DetectByName, Format::Precompiled, "/app"), Choice::Native);
        for required in [Wasm, Workload::Spin, Workload::Slight] {
            assert_eq!(ok(required, Format::WasmComponent, "/app"), Choice::Wasm);
        }
        assert_eq!(ok(Native, Format::WasmModule, "/app.wasm"), Choice::Native);
        assert_eq!(ok(Native, Format::Precompiled, "/app.wasm"), Choice::Native);
    }

    #[test]
    fn refusals_name_the_file() {
        for workload in [Workload::Detect, Workload::Wasm, Workload::Spin, Workload::Slight] {
            let error = choose(workload, Format::Precompiled, "/app.cwasm").expect_err("refused");
            assert!(
                matches!(&error, WorkloadError::Precompiled { path } if path == "/app.cwasm"),
                "{error}"
            );
        }
        let error = choose(Workload::DetectByName, Format::Precompiled, "/app.wasm").expect_err("refused");
        assert!(matches!(error, WorkloadError::Precompiled { .. }));
        let error = choose(Workload::Wasm, Format::Elf, "/bin/true").expect_err("refused");
        assert!(
            error.to_string().contains("/bin/true") && error.to_string().contains("ELF"),
            "{error}"
        );
    }

    #[test]
    fn an_application_is_told_by_its_manifest_where_nothing_native_is_the_entry() {
        const SPIN: &[&str] = &["/spin.toml"];
        const SLIGHT: &[&str] = &["/slightfile.toml", "/app.wasm"];
        const BOTH: &[&str] = &["/spin.toml", "/slightfile.toml", "/app.wasm"];
        let of = |workload, place, files: &[&str]| application(workload, place, |file| files.contains(&file));
        for workload in [Workload::Detect, Workload::DetectByName, Workload::Wasm] {
            for place in [Place::Nothing, Place::Directory, Place::Wasm] {
                assert_eq!(of(workload, place, SPIN), Some(Application::Spin));
                assert_eq!(of(workload, place, SLIGHT), Some(Application::Slight));
                assert_eq!(of(workload, place, BOTH), Some(Application::Spin));
                assert_eq!(of(workload, place, &["/slightfile.toml"]), None);
                assert_eq!(of(workload, place, &[]), None);
            }
            assert_eq!(of(workload, Place::Other, BOTH), None);
        }
        assert_eq!(of(Workload::Native, Place::Directory, BOTH), None);
        assert_eq!(
            of(Workload::Slight, Place::Directory, BOTH),
            Some(Application::Slight)
        );
        assert_eq!(of(Workload::Slight, Place::Directory, SPIN), None);
        assert_eq!(of(Workload::Spin, Place::Wasm, SLIGHT), None);
        assert_eq!(of(Workload::Spin, Place::Other, SPIN), None);
    }

    #[test]
    fn an_export_is_split_off_at_each_hash() {
        let split = |argument| split_entry(argument).collect::<Vec<_>>();
        assert_eq!(split("/app.wasm#run"), [("/app.wasm", "run")]);
        assert_eq!(
            split("/a#b.wasm#run"),
            [("/a#b.wasm", "run"), ("/a", "b.wasm#run")]
        );
        assert_eq!(
            split("/app.wasm#a:b/c#run"),
            [("/app.wasm#a:b/c", "run"), ("/app.wasm", "a:b/c#run")]
        );
        assert_eq!(split("/app.wasm"), []);
        assert_eq!(split("/app.wasm#"), []);
        assert_eq!(split("#run"), []);
    }
}
