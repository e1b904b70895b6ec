//! Golden tests: every manifest in `spec-fixtures/spin/good` against its whole model, every one in
//! `spec-fixtures/spin/bad` against its error. `BLESS=1` rewrites what is expected; read the difference then.

use super::*;
use crate::workload::wasm::golden::{check, folder};

#[test]
fn good_manifests_give_their_models() {
    check("spin/good", "model.txt", |text| {
        let manifest = Manifest::parse(text).map_err(|error| format!("is refused: {error}"))?;
        Ok(format!("{manifest:#?}"))
    });
}

#[test]
fn bad_manifests_give_their_errors() {
    check("spin/bad", "error.txt", |text| match Manifest::parse(text) {
        Ok(_) => Err("is accepted".to_owned()),
        Err(error) => Ok(error.to_string()),
    });
}

#[test]
fn what_is_retained_is_all_that_is_left() {
    let text =
        std::fs::read_to_string(folder("spin/good").join("three-components.toml")).expect("a manifest");
    let manifest = Manifest::parse(&text).expect("a manifest");
    let retained = |ids: &[&str]| {
        let mut manifest = manifest.clone();
        let result = manifest.retain(&ids.iter().copied().collect());
        result.map(|()| manifest)
    };
    let one = retained(&["api"]).expect("retained");
    assert_eq!(one.components.keys().collect::<Vec<_>>(), ["api"]);
    assert!(one.http.iter().all(|trigger| trigger.component() == Some("api")));
    let error = retained(&["api", "none"])
        .expect_err("there is no such")
        .to_string();
    assert!(error.contains("`none`"), "{error}");
}

fn error_of(text: &str) -> String {
    Manifest::parse(text).expect_err("it is refused").to_string()
}

const HEAD: &str = "spin_manifest_version = 2\n[application]\nname = 'a'\n";

/// Names are found for them by counting, which must not be done for more than are run.
#[test]
fn there_are_only_so_many_triggers() {
    let trigger = "[[trigger.http]]\nroute = {private=true}\ncomponent = {source='a'}\n";
    let started = std::time::Instant::now();
    let error = error_of(&format!("{HEAD}{}", trigger.repeat(15_000)));
    assert!(
        error.starts_with("trigger: there are 15000, and at most 1024"),
        "{error}"
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn patterns_are_as_long_as_paths_at_most_and_not_too_many() {
    let of = |key: &str, patterns: &[String]| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| format!("'{pattern}'")).collect();
        let trigger = "[[trigger.http]]\nroute = '/'\ncomponent = 'a'\n[component.a]\nsource = 'a'\n";
        Manifest::parse(&format!("{HEAD}{trigger}{key} = [{}]\n", patterns.join(",")))
    };
    for key in ["files", "exclude_files"] {
        of(key, &["?".repeat(4096)]).expect("a pattern");
        let error = of(key, &["?".repeat(4097)]).expect_err("too long").to_string();
        assert!(
            error.starts_with(&format!("component.a.{key}[0]: has 4097 bytes")),
            "{error}"
        );
        of(key, &vec!["*".to_owned(); 1024]).expect("patterns");
        let error = of(key, &vec!["*".to_owned(); 1025])
            .expect_err("too many")
            .to_string();
        assert!(
            error.starts_with(&format!("component.a.{key}: there are 1025")),
            "{error}"
        );
    }
}

#[test]
fn keys_are_only_so_deep() {
    for text in [
        "a.".repeat(100_000) + "a = 1",
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(!error_of(&text).is_empty());
    }
    assert!(!error_of(&format!("a = {}", "[".repeat(500_000))).is_empty());
}
