//! `wrun --version`, in the form that engines parse: `runc version X` and lines `name: value`.

use std::fmt::Write as _;

/// The newest version of the runtime specification that wrun follows.
pub(super) const SPEC_VERSION: &str = "1.3.0";

/// wrun's own version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the engine.
pub(super) const WASMTIME: &str = env!("WRUN_WASMTIME_VERSION");

/// The commit that wrun was built from: what `WRUN_COMMIT` held at build. A build that asked git would fail,
/// or tell an old commit, where there is no git.
pub(super) fn commit() -> Option<&'static str> {
    option_env!("WRUN_COMMIT").filter(|commit| !commit.is_empty())
}

/// The version of libseccomp.
pub(super) fn libseccomp() -> Option<String> {
    let version = libseccomp::ScmpVersion::current().ok()?;
    Some(format!("{}.{}.{}", version.major, version.minor, version.micro))
}

pub(super) fn text() -> String {
    let mut text = format!("wrun version {VERSION}\n");
    for (name, value) in [
        ("commit", commit().map(str::to_owned)),
        ("spec", Some(SPEC_VERSION.into())),
        ("rust", Some(env!("WRUN_RUST_VERSION").into())),
        ("libseccomp", libseccomp()),
        ("wasmtime", Some(WASMTIME.into())),
    ] {
        if let Some(value) = value {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_has_the_form_of_runcs() {
        let text = super::text();
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some(concat!("wrun version ", env!("CARGO_PKG_VERSION")))
        );
        let named: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        for name in ["spec", "rust", "libseccomp", "wasmtime"] {
            let value = named
                .iter()
                .find(|(it, _)| *it == name)
                .unwrap_or_else(|| panic!("{name}: {text}"))
                .1;
            assert_eq!(value.split('.').count(), 3, "{name}: {value}");
        }
    }
}
