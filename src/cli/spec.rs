//! `wrun spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Serialize as _;

use super::{Invocation, log::Log};
use crate::host::Host;
use crate::spec::example::example;

/// Write an example config.json.
///
/// It runs sh with a terminal, in the root file system in the directory rootfs beside it, and is meant to be
/// edited. For a Wasm program it is enough to put the module into the root file system and its path into
/// process.args. An existing config.json is not overwritten.
#[derive(Debug, clap::Args)]
pub struct Spec {
    /// Directory into which config.json is written.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    /// Make a config.json that the calling user can run without root's rights.
    ///
    /// It has a user namespace in which the caller is root, and no network namespace.
    #[arg(long)]
    rootless: bool,
}

impl Spec {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        let rootless = self.rootless.then(|| {
            (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            )
        });
        let host = Host::probe(invocation.global.rootless);
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        example(rootless, host.unified_cgroup())
            .serialize(&mut serde_json::Serializer::with_formatter(&mut text, indent))
            .context("cannot write the example as JSON")?;
        text.push(b'\n');

        let path = self.bundle.join("config.json");
        // create_new: what exists is not touched, nor followed where it is a link.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(&text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} exists; remove it first", path.display())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
        Ok(0)
    }
}
