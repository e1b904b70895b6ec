//! What `inspect` tells, as plain data: the form of its JSON, whose keys stay as they are once released.

use serde::{Deserialize, Serialize};

/// All about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub kind: Kind,
    /// Whether the file is its text; sizes other than the file's are then those of its binary.
    pub text: bool,
    /// Bytes of the file.
    pub size: u64,
    /// What a container would do with it.
    pub run: Run,
    /// Of what is not valid: what is wrong. All that follows is then empty.
    pub error: Option<String>,
    pub imports: Vec<ImportGroup>,
    pub exports: Vec<Item>,
    /// The world of a component, in WIT; `None` for others, and where it cannot be told.
    pub world: Option<String>,
    /// The core module; of a component, each that is in it.
    pub modules: Vec<CoreModule>,
    /// Outermost ones first; those of modules in a component too.
    pub custom_sections: Vec<Section>,
    /// What made it, by its own account, without repetitions; the first thousand.
    pub producers: Vec<Producer>,
    /// Whether it has names for its functions.
    pub names: bool,
    /// Whether it has DWARF, by which a trap is told with file and line.
    pub dwarf: bool,
    /// The proposals that it uses.
    pub proposals: Vec<Proposal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Module,
    Component,
    /// Text that is neither module nor component, being wrong.
    Text,
    Precompiled,
    Native,
    Script,
    Unknown,
}

/// Whether it would be run, in words that may change, and as what, in words that do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Whether a container would start.
    pub runs: bool,
    /// As what; or the error with which it would be refused.
    pub text: String,
    /// The exported function that is entered, where it has a name of its own.
    pub entry: Option<String>,
    /// Of what is refused by itself: what it is within an application, which a container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// The imports from one module or interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportGroup {
    /// The module's or the interface's name.
    pub from: String,
    pub items: Vec<ImportItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportItem {
    /// Empty for an interface that is imported as a whole.
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    /// What of wrun's gives it; `None` where nothing does.
    pub provided_by: Option<String>,
    /// What it belongs to, where nothing gives it and that is known.
    pub belongs_to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
}

/// The sizes of one core module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoreModule {
    /// Bytes.
    pub size: u64,
    pub functions: u64,
    /// Bytes of code.
    pub code: u64,
    pub data_segments: u64,
    /// Bytes of data.
    pub data: u64,
    pub memories: Vec<Memory>,
    pub tables: Vec<String>,
    /// Index of the function that runs when it is instantiated.
    pub start: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    pub imported: bool,
    /// Bytes at the beginning.
    pub initial: u64,
    /// Bytes that it may grow to.
    pub maximum: Option<u64>,
    /// The same in words.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub name: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// language, sdk or processed-by.
    pub field: String,
    pub name: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub name: String,
    /// Whether wrun's engine has it on.
    pub on: bool,
}

impl Report {
    /// One of what is no Wasm that could be looked into.
    pub fn of_other(kind: Kind, size: u64, run: Run) -> Self {
        Self {
            kind,
            text: kind == Kind::Text,
            size,
            run,
            error: None,
            imports: Vec::new(),
            exports: Vec::new(),
            world: None,
            modules: Vec::new(),
            custom_sections: Vec::new(),
            producers: Vec::new(),
            names: false,
            dwarf: false,
            proposals: Vec::new(),
        }
    }
}
