//! A daemon that maps its containers' ids, as `userns-remap` in daemon.json asks.

use std::fs;
use std::path::Path;

use super::super::case::text;
use super::super::runtime::Runtime;
use super::{Daemon, known};

impl Daemon {
    /// Starts a daemon whose containers' ids are the host's in `ranges`, each with its first and their number, one range
    /// after the other. It has images of busybox and of `guests`, and its default runtime is `runtime`.
    pub fn remapped(dir: &Path, runtime: &Runtime, ranges: &[(u32, u32)], guests: &[&str]) -> Self {
        fs::create_dir_all(dir).expect("a directory for the daemon");
        let lines = ranges
            .iter()
            .flat_map(|(first, count)| ["nobody", "nogroup"].map(|name| format!("{name}:{first}:{count}\n")));
        let subids = dir.join("subids");
        fs::write(&subids, lines.collect::<String>()).expect("a file");
        let mut flags = known(std::slice::from_ref(runtime));
        let more = [
            "--default-runtime",
            &runtime.name,
            "--userns-remap",
            "nobody:nogroup",
        ];
        flags.extend(more.map(str::to_owned));
        let daemon = Self::launch(dir, flags, vec![("SUBIDS", text(&subids))]);
        daemon.import_native();
        guests.iter().for_each(|name| daemon.import_guest(name));
        daemon
    }
}
