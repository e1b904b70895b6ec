//! The Wasm guests of the tests: from their text, or as they were built from Rust and C.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A file of `integration/guests`.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("integration/guests")
        .join(name)
}

/// The text of the guest `integration/guests/NAME.wat`.
pub fn text(name: &str) -> String {
    let path = path(&format!("{name}.wat"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A guest in the binary format: what `integration/guests/build` has made of the directory `NAME`, or else the text of
/// `NAME.wat`.
pub fn binary(name: &str) -> Vec<u8> {
    let built = path(&format!("{name}.wasm"));
    if built.exists() {
        return std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    }
    wat::parse_str(text(name)).unwrap_or_else(|error| panic!("{name}.wat: {error}"))
}

/// Size, in bytes, from which on wrun takes a module for large.
pub const LARGE: usize = 256 << 10;

/// [`binary`] with so much in a custom section, which no compiler looks at, that the module is large.
pub fn large(name: &str) -> Vec<u8> {
    let mut bytes = binary(name);
    let mut content = b"\x07padding".to_vec();
    content.resize(LARGE, 0);
    bytes.push(0);
    // Its length, as LEB128.
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(content);
    bytes
}

/// `integration/guests/build ARGUMENTS`, which makes the built ones.
pub fn build_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(path("build"));
    command.args(arguments).stdin(Stdio::null());
    command
}
