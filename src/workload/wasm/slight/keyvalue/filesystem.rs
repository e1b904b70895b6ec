//! Stores that are directories: a file for each key, with the value in it, as slight has it.

use std::io;

use super::{Error, Result};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::slight::directory::{Directory, is_name};

/// A key is the name of a file.
fn check(key: &str) -> Result<()> {
    if is_name(key) {
        return Ok(());
    }
    let key = printable(key);
    Err(Error::InvalidKey(format!("`{key}` cannot be the name of a file")))
}

fn failed(key: &str, error: &io::Error) -> Error {
    let text = format!("{}: {error}", printable(key));
    match error.kind() {
        io::ErrorKind::NotFound => Error::KeyNotFound(text),
        _ => Error::Io(text),
    }
}

pub fn get(directory: &Directory, key: &str) -> Result<Vec<u8>> {
    check(key)?;
    directory.read(key).map_err(|error| failed(key, &error))
}

pub fn set(directory: &Directory, key: &str, value: &[u8]) -> Result<()> {
    check(key)?;
    directory
        .write(key, value)
        .map_err(|error| Error::Io(format!("{}: {error}", printable(key))))
}

pub fn keys(directory: &Directory) -> Result<Vec<String>> {
    directory.names().map_err(|error| Error::Io(error.to_string()))
}

pub fn delete(directory: &Directory, key: &str) -> Result<()> {
    check(key)?;
    directory.remove(key).map_err(|error| failed(key, &error))
}
