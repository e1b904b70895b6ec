//! The seeds, and some changes of them: that the targets do not rot, and that what was mended stays so.

use std::collections::BTreeSet;

use super::*;

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

/// Pieces that mean something to a loader, and what is no text.
const PIECES: [&[u8]; 26] = [
    b"{{",
    b"}}",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b":",
    b",",
    b"\n",
    b"#",
    b"../",
    b"/...",
    b"/*",
    b":a",
    b"**",
    b"2",
    b"true",
    b"null",
    b"\0",
    "\u{e9}".as_bytes(),
    b"\xff",
    b"[component.x]\n",
    b"spin.internal",
];

/// The input, changed in a few places: pieces added, removed, moved.
fn changed(input: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=numbers.below(6) {
        let from = numbers.below(input.len() + 1);
        let to = (from + numbers.below(40)).min(input.len());
        let piece = PIECES[numbers.below(PIECES.len())].to_vec();
        let (range, piece) = match numbers.below(4) {
            0 => (from..from, piece),
            1 => (from..to, Vec::new()),
            2 => (from..from, input[from..to].to_vec()),
            _ => (from..to, piece),
        };
        input.splice(range, piece);
    }
    input
}

fn examine_all(target: Target) {
    let rounds = std::env::var("WRUN_TEST_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place::new(directory.path()).expect("a place");
    let seeds = target.seeds();
    assert!(!seeds.is_empty());
    for (at, path) in seeds.iter().enumerate() {
        let seed = fs::read(path).expect("a seed");
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ (at as u64 + 1));
        let changes = (0..rounds).map(|_| changed(&seed, &mut numbers));
        for input in [seed.clone()].into_iter().chain(changes) {
            let said =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target.examine(&input, &place)));
            assert!(
                said.is_ok(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&input)
            );
        }
    }
}

#[test]
fn any_manifest_gets_an_answer() {
    examine_all(Target::Spin);
}

#[test]
fn any_runtime_configuration_gets_an_answer() {
    examine_all(Target::RuntimeConfig);
}

#[test]
fn any_locked_application_gets_an_answer() {
    examine_all(Target::Locked);
}

#[test]
fn any_slightfile_gets_an_answer() {
    examine_all(Target::Slight);
}

#[test]
fn each_target_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = Target::ALL.iter().map(|target| target.name()).collect();
    assert_eq!(names.len(), Target::ALL.len());
    assert!(
        Target::ALL
            .iter()
            .all(|target| Target::named(target.name()) == Some(*target))
    );
    assert_eq!(Target::named("none"), None);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fuzz");
    let script = fs::read_to_string(script).expect("the script");
    let tried = format!("\ntargets=({})\n", Target::ALL.map(Target::name).join(" "));
    assert!(
        script.contains(&tried),
        "integration/fuzz does not try them: {tried}"
    );
}
