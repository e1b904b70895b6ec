//! Golden tests: every manifest in `spec-fixtures/spin/good` against its whole model, every one in
//! `spec-fixtures/spin/bad` against its error. `BLESS=1` rewrites what is expected; read the difference then. And a
//! loader that takes what comes: whatever is done to these manifests, it answers.

use super::*;
use crate::workload::wasm::golden::{check, folder, names};

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

/// A generator of numbers that a failure can be repeated with (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Pieces that mean something to the loader.
const PIECES: [&str; 22] = [
    "{{",
    "}}",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "#",
    "..",
    "/...",
    "/*",
    ":a",
    "**",
    "2",
    "true",
    "\u{0}",
    "\u{e9}",
    "[component.x]\n",
    "spin.internal",
];

/// The manifest, changed in a few places: pieces added, removed, moved.
fn changed(text: &str, numbers: &mut Numbers) -> String {
    let mut text = text.to_owned();
    for _ in 0..=numbers.below(6) {
        let mut place = |text: &str| {
            let mut at = numbers.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (one, two) = (place(&text), place(&text));
        let (from, to) = (one.min(two), one.max(two).min(one.min(two) + 40));
        let to = (to..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len());
        match numbers.below(4) {
            0 => text.insert_str(from, PIECES[numbers.below(PIECES.len())]),
            1 => text.replace_range(from..to, ""),
            2 => {
                let piece = text[from..to].to_owned();
                text.insert_str(from, &piece);
            }
            _ => text.replace_range(from..to, PIECES[numbers.below(PIECES.len())]),
        }
    }
    text
}

/// Whatever a manifest says, the loader answers, with one line; and what it takes, the router takes as well.
#[test]
fn any_text_gets_an_answer() {
    let rounds = std::env::var("WRUN_TEST_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let rounds: usize = rounds.unwrap_or(300);
    let mut texts = Vec::new();
    for path in ["spin/good", "spin/bad"] {
        let folder = folder(path);
        for file in names(&folder).iter().filter(|file| file.ends_with(".toml")) {
            texts.push(std::fs::read_to_string(folder.join(file)).expect("a manifest"));
        }
    }
    for (at, text) in texts.iter().enumerate() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (at as u64 + 1));
        for _ in 0..rounds {
            let text = changed(text, &mut numbers);
            match Manifest::parse(&text) {
                Ok(manifest) => {
                    for trigger in &manifest.http {
                        let spec = trigger.route.spec().expect("it was checked");
                        // Matches without a panic.
                        let _ = spec.map(|spec| spec.matches("/a/b.c/d").is_some());
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(!error.is_empty() && !error.contains('\n'), "{text}\n---\n{error}");
                }
            }
        }
    }
}
