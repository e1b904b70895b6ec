//! `wrun wasm compile`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::super::{Invocation, log::Log, write_stdout};
use super::{open, open_cache};
use crate::plan::{GuestOptions, Workload};
use crate::workload::detect;
use crate::workload::wasm::{self, Cache, Confine, Provided, Request, World};

/// Compile WebAssembly into the cache, ahead of its first start.
///
/// A container whose program has the same bytes, under whatever name, then starts from the cache. For each
/// file a line is printed: its name, what it is, the size of its code in the cache, and the time that compiling
/// took (`cached` where the code was there). A file that no container could run is refused for the reason that
/// the container would give; those named before it are kept.
#[derive(Debug, clap::Args)]
pub struct Compile {
    /// Modules, components or text (.wat) to compile.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Exported function that is to be called, for containers whose program is FILE#FUNCTION.
    #[arg(long, value_name = "FUNCTION")]
    export: Option<String>,

    /// Compile for containers with a limit on fuel (the annotation org.wrun.wasm.fuel), whose code counts.
    #[arg(long)]
    fuel: bool,
}

impl Compile {
    pub fn execute(&self, invocation: &Invocation, _log: &Log) -> anyhow::Result<u8> {
        for path in &self.files {
            let begin = Instant::now();
            let provided = self.compile(path, open_cache(invocation)?)?;
            let time = provided.compiled.then(|| begin.elapsed());
            let size = rustix::fs::fstat(&provided.code)?.st_size;
            write_stdout(line(path, &provided.kind.to_string(), size, time).as_bytes())?;
        }
        Ok(0)
    }

    fn compile(&self, path: &Path, cache: Cache) -> anyhow::Result<Provided> {
        let name = path.display().to_string();
        let file = open(path).with_context(|| format!("cannot open {name}"))?;
        require_wasm(&file, &name)?;
        let options = GuestOptions {
            // How much is for the container to say; here only that its code must count.
            fuel: self.fuel.then_some(u64::MAX),
            wait_for_optimized: true,
            ..GuestOptions::default()
        };
        let request = Request {
            name: &name,
            export: self.export.as_deref(),
            world: World::Wasi,
            options: &options,
        };
        let provided = wasm::provide(file, &request, Ok(cache), &Confine::outside_containers())?;
        match provided.uncached {
            // Nothing else was asked for.
            Some(trouble) => Err(trouble).context(format!("{name}: compiled, but not kept")),
            None => Ok(provided),
        }
    }
}

/// A container would run anything else as a native program.
fn require_wasm(file: &File, name: &str) -> anyhow::Result<()> {
    let mut head = Vec::new();
    let mut beginning = file.take(detect::HEAD as u64);
    let read = beginning.read_to_end(&mut head);
    read.with_context(|| format!("cannot read {name}"))?;
    detect::choose(Workload::Wasm, detect::detect(&head, name), name)?;
    Ok(())
}

fn line(path: &Path, kind: &str, size: i64, time: Option<Duration>) -> String {
    let time = time.map_or_else(|| "cached".to_owned(), |time| format!("{} ms", time.as_millis()));
    format!("{}: {kind}, {size} bytes, {time}\n", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_whether_anything_was_compiled() {
        let line = |time| line(Path::new("a.wasm"), "core module", 7, time);
        assert_eq!(line(None), "a.wasm: core module, 7 bytes, cached\n");
        let took = Some(Duration::from_micros(12_345));
        assert_eq!(line(took), "a.wasm: core module, 7 bytes, 12 ms\n");
    }
}
