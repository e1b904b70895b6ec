//! The world of a component, in WIT. The libraries that make it are written for developers' own files, and
//! may panic on others': called in a process of its own alone.

use std::io;

use wit_component::{DecodedWasm, WitPrinter};

use crate::workload::wasm::kinds;

/// The world that a component is made for, as WIT; of a WIT package in binary form, the package.
pub fn world(bytes: &[u8]) -> io::Result<String> {
    let binary = kinds::binary(bytes).map_err(io::Error::other)?;
    let decoded = wit_component::decode(&binary).map_err(io::Error::other)?;
    let (resolve, package) = match &decoded {
        DecodedWasm::WitPackage(resolve, package) => (resolve, *package),
        DecodedWasm::Component(resolve, world) => {
            let package = resolve.worlds[*world].package;
            (
                resolve,
                package.ok_or_else(|| io::Error::other("the world belongs to no package"))?,
            )
        }
    };
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &[]).map_err(io::Error::other)?;
    Ok(printer.output.to_string())
}
