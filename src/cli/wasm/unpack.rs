//! `wrun wasm unpack`.

use std::path::PathBuf;

use super::super::{Invocation, log::Log, write_stdout};
use crate::workload::wasm::{Unpacked, unpack};

/// Make a root file system of a Spin application that is stored as an OCI artifact.
///
/// LAYOUT is an OCI image layout with one image, as `skopeo copy docker://IMAGE oci:LAYOUT` writes it of what `spin
/// registry push` has stored. ROOTFS gets a spin.toml made of the locked application, and its modules and files; with
/// the argument `/` in config.json it runs. All blobs are held to their digests and sizes. ROOTFS must not exist, or be an
/// empty directory; where anything is wrong it is left as it was.
#[derive(Debug, clap::Args)]
pub struct Unpack {
    /// Directory of the image layout.
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,

    /// Directory to make.
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
}

impl Unpack {
    pub fn execute(&self, _invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let unpacked = unpack(&self.layout, &self.rootfs)?;
        write_stdout(account(&unpacked).as_bytes())?;
        Ok(0)
    }
}

fn account(unpacked: &Unpacked) -> String {
    let Unpacked {
        name,
        components,
        files,
        bytes,
    } = unpacked;
    // The name may be anybody's: nothing in it may reach a terminal as it is.
    let name = name.escape_debug();
    format!("{name}: {components} components and {files} files, {bytes} bytes\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_unpacked_is_told_in_a_line() {
        let unpacked = Unpacked {
            name: "shop\x1b".to_owned(),
            components: 2,
            files: 3,
            bytes: 40,
        };
        assert_eq!(
            account(&unpacked),
            "shop\\u{1b}: 2 components and 3 files, 40 bytes\n"
        );
    }
}
