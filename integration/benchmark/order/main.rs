//! Prints src/order.ld: the code that the commands on native containers run, for the linker to put next to each other.
//! `integration/order` calls it with the linker's map of a program and the program.
//!
//! A start of a container runs some 900 functions of 40,000. Where these lie among all others, each brings a piece of the
//! program of its own into memory (the kernel maps 64 kB at a page fault), and takes a page fault.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../harness/bundle.rs"]
mod bundle;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../harness/installed.rs"]
mod installed;
mod map;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../harness/program.rs"]
mod program;
#[cfg(target_arch = "x86_64")]
mod trace;
#[cfg(not(target_arch = "x86_64"))]
mod trace {
    //! Breakpoints are made for x86-64 alone; the names that are found there are the same elsewhere.

    use std::{collections::BTreeMap, io, path::Path, process::Command};

    pub fn follow(_: &mut Command, _: &Path, _: &BTreeMap<u64, usize>) -> io::Result<Vec<Vec<u64>>> {
        Err(io::Error::other("functions are followed on x86-64 alone"))
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use map::Map;

/// What engines call of a container's life: for `sh`, with the program, a directory for states, a bundle that sleeps and one
/// that ends. It stops itself at first, to be followed from there.
const LIFE: &str = r#"kill -STOP $$
set -e
program=$1 state=$2 sleeping=$3 ending=$4
wrun() { "$program" --root "$state" "$@" </dev/null; }
trap '[ $? = 0 ] || wrun delete --force order' EXIT
wrun create --bundle "$sleeping" order
wrun start order
wrun state order >/dev/null
wrun exec order /bin/true
wrun kill order KILL
until wrun state order | grep -q stopped; do sleep 0.1; done
wrun delete order
wrun run --bundle "$ending" order
wrun run --detach --bundle "$sleeping" order
wrun delete --force order
"#;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [map, program] = &arguments[..] else {
        eprintln!("order MAP PROGRAM");
        return ExitCode::FAILURE;
    };
    match script(map, program) {
        Ok(script) => {
            print!("{script}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("order: {error}");
            ExitCode::FAILURE
        }
    }
}

/// For `sh` in a mount namespace of its own, before the life: the machine's cgroups, and a pure tree of v2.
const TREES: [&str; 2] = [
    "exec \"$@\"",
    "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"",
];

/// Fewer functions run where the program only executes itself anew.
const WHOLE: usize = 100;

const HEAD: &str = "\
/* What the commands on native containers run, next to each other; the linker leaves all else where it was.
   Made by integration/order. Names are without the hashes that compiler and cargo give them; one that is no more does no harm. */
";

fn script(map: &Path, program: &Path) -> Result<String, Box<dyn Error>> {
    let map = Map::read(&std::fs::read_to_string(map)?);
    let place = tempfile::Builder::new().prefix("wrun-order-").tempdir()?;
    // Root of a user namespace goes through it to the root file system.
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o711))?;
    bundle::make_rootfs(&place.path().join("rootfs"));
    let mut runs = Vec::new();
    for users in [false, true] {
        write_bundle(place.path(), "sleeping", &["/bin/sleep", "1000"], users)?;
        write_bundle(place.path(), "ending", &["/bin/true"], users)?;
        // The first life fills the cache of seccomp filters: that need not be fast.
        life(program, place.path(), &map, TREES[0])?;
        for tree in TREES {
            runs.extend(life(program, place.path(), &map, tree)?);
        }
    }
    runs.retain(|run| run.len() > WHOLE);
    Ok(text(&map, &runs))
}

/// What Docker writes for a container, of root or in a user namespace.
fn write_bundle(place: &Path, name: &str, args: &[&str], users: bool) -> Result<(), Box<dyn Error>> {
    let mut config: Value = serde_json::from_str(include_str!("../../fixtures/docker.json"))?;
    config["process"]["args"] = json!(args);
    config["root"]["path"] = json!(place.join("rootfs"));
    if users {
        bundle::map_ids(&mut config, 100_000);
        // The range of the default has ids that are not mapped.
        let sysctls = config["linux"]["sysctl"].as_object_mut();
        sysctls
            .ok_or("the fixture has no sysctls")?
            .remove("net.ipv4.ping_group_range");
    }
    let dir = place.join(name);
    std::fs::create_dir_all(&dir)?;
    bundle::write_config(&dir, &config);
    Ok(())
}

/// Of each execution of the program in [`LIFE`], in a mount namespace of its own: the functions that it runs.
fn life(program: &Path, place: &Path, map: &Map, tree: &str) -> Result<Vec<Vec<u64>>, Box<dyn Error>> {
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", tree, "sh", "sh", "-c", LIFE, "sh"]);
    shell.arg(program);
    shell.args(["state", "sleeping", "ending"].map(|name| place.join(name)));
    shell.env("WRUN_CACHE_DIR", place.join("cache"));
    Ok(trace::follow(&mut shell, program, &map.functions)?)
}

/// The script: first what all commands run, then the rest as it ran first. At the end what cannot be told by its name from
/// much that does not run, the other instances of a generic function.
fn text(map: &Map, runs: &[Vec<u64>]) -> String {
    let sections =
        |run: &Vec<u64>| -> BTreeSet<usize> { run.iter().map(|address| map.functions[address]).collect() };
    let of_all = runs.iter().map(sections).reduce(|all, one| &all & &one);
    let of_all = of_all.unwrap_or_default();
    let ran: BTreeSet<usize> = runs.iter().flat_map(sections).collect();
    let mut sizes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (at, section) in map.code.iter().enumerate() {
        let (running, all) = sizes.entry(section.pattern()).or_default();
        *running += if ran.contains(&at) { section.size } else { 0 };
        *all += section.size;
    }
    let place = |at: &usize| {
        let (running, all) = sizes[&map.code[*at].pattern()];
        if all > 2 * running + 4096 || all > 20 * running {
            2
        } else {
            u8::from(!of_all.contains(at))
        }
    };
    let mut order: Vec<usize> = Vec::new();
    for address in runs.iter().flatten() {
        let at = map.functions[address];
        if !order.contains(&at) {
            order.push(at);
        }
    }
    // Those of a place stay in their order.
    order.sort_by_key(place);
    let code = order.iter().map(|at| map.code[*at].pattern());
    let functions: BTreeSet<String> = order.iter().filter_map(|at| map.code[*at].function()).collect();
    let tables = map.constants.iter().filter(|section| {
        let function = section.function();
        function.is_some_and(|function| functions.contains(&function))
    });
    let archives = order.iter().filter_map(|at| map.code[*at].constants_of_archive());
    let constants = archives.chain(tables.map(map::Section::pattern));
    format!(
        "{HEAD}{}INSERT BEFORE .text;\n{}INSERT AFTER .rodata;\n",
        output(".text.launch", code),
        output(".rodata.launch", constants)
    )
}

/// An output section of each of `patterns`, once.
fn output(name: &str, patterns: impl Iterator<Item = String>) -> String {
    let mut named = BTreeSet::new();
    let lines: String = patterns
        .filter(|pattern| named.insert(pattern.clone()))
        .map(|pattern| format!("    {pattern}\n"))
        .collect();
    format!("SECTIONS {{\n  {name} : {{\n{lines}  }}\n}}\n")
}
