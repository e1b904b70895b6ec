//! Tells the program what it was built with, for `wrun --version`: the compiler's and the engine's versions; and
//! tells the linker where the program begins.
//! It needs no network, no git and nothing but the files of the package.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    // src/sys/entry.rs says why; elsewhere the C library's entry is the first.
    let is = |variable, value: &str| std::env::var(variable).as_deref() == Ok(value);
    let linux = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_OS", "linux");
    println!("cargo::rustc-check-cfg=cfg(known_libc)");
    if linux && has_fixed_address() {
        println!("cargo::rustc-link-arg-bin=wrun=-Wl,--entry=wrun_entry");
        let host = std::env::var("HOST");
        if is("TARGET", "x86_64-unknown-linux-gnu") && host == std::env::var("TARGET") && libc_is_known() {
            println!("cargo::rustc-cfg=known_libc");
        }
    }
    // Linking takes longer with it, which is for the builds that are to be fast. GNU ld and LLD know such scripts.
    let other_linker = ["mold", "gold"]
        .iter()
        .any(|name| flags().contains(&format!("fuse-ld={name}")));
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && has_fixed_address() && !other_linker
    {
        println!("cargo::rerun-if-changed=src/order.ld");
        let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bin=wrun=-T{root}/src/order.ld");
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rust = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.split_whitespace().nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=WRUN_RUST_VERSION={rust}");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    println!(
        "cargo::rustc-env=WRUN_WASMTIME_VERSION={}",
        locked(&lock, "wasmtime").unwrap_or("unknown")
    );
}

/// What cargo gives to the compiler.
fn flags() -> String {
    std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default()
}

/// Whether .cargo/config.toml's flags are used, which RUSTFLAGS and others replace: without them it is not right to begin
/// before the C library does.
fn has_fixed_address() -> bool {
    let flags = flags();
    // The last one counts.
    let model = flags
        .split('\x1f')
        .filter_map(|flag| flag.split_once("relocation-model="))
        .next_back();
    model.is_some_and(|(_, model)| model == "static")
}

/// Whether src/sys/start.rs knows how the C library starts: by the version that its headers tell, which come in one package
/// with what is linked.
fn libc_is_known() -> bool {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(cc)
        .args(["-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"])
        .output();
    let Ok(output) = output else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let is_defined = |line: &str| text.lines().any(|one| one == line);
    is_defined("#define __GLIBC__ 2") && is_defined("#define __GLIBC_MINOR__ 36")
}

/// The version of a package in Cargo.lock.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let entry = lock.split("[[package]]").find(|entry| {
        entry
            .lines()
            .any(|line| line.strip_prefix("name = ") == Some(format!("\"{package}\"").as_str()))
    })?;
    let line = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(line.trim_matches('"'))
}
