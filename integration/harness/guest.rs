//! The Wasm guests of the tests, from their text.

use std::path::PathBuf;

/// The text of the guest `integration/guests/NAME.wat`.
pub fn text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("integration/guests/{name}.wat"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same in the binary format.
pub fn binary(name: &str) -> Vec<u8> {
    wat::parse_str(text(name)).unwrap_or_else(|error| panic!("{name}.wat: {error}"))
}
