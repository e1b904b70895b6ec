//! Golden tests: every slightfile in `spec-fixtures/slight/good` against its whole model, every one in
//! `spec-fixtures/slight/bad` against its error. `BLESS=1` rewrites what is expected; read the difference then.

use super::*;
use crate::workload::wasm::golden::check;

#[test]
fn good_slightfiles_give_their_models() {
    check("slight/good", "model.txt", |text| {
        let slightfile = Slightfile::parse(text).map_err(|error| format!("is refused: {error}"))?;
        Ok(format!("{slightfile:#?}"))
    });
}

#[test]
fn bad_slightfiles_give_their_errors() {
    check("slight/bad", "error.txt", |text| match Slightfile::parse(text) {
        Ok(_) => Err("is accepted".to_owned()),
        Err(error) => Ok(error.to_string()),
    });
}

#[test]
fn there_are_only_so_many_capabilities() {
    let capability = |at| format!("[[capability]]\nresource = \"keyvalue.filesystem\"\nname = \"{at}\"\n");
    let of = |count| {
        let capabilities: String = (0..count).map(capability).collect();
        Slightfile::parse(&format!("specversion = \"0.2\"\n{capabilities}"))
    };
    assert_eq!(
        of(MAX_CAPABILITIES).expect("a slightfile").capabilities.len(),
        256
    );
    let error = of(MAX_CAPABILITIES + 1).expect_err("too many").to_string();
    assert!(error.contains("257"), "{error}");
}
