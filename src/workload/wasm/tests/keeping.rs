//! Looking after the cache: what is told of it, what goes when room is needed, and what is found out.

use std::time::{Duration, SystemTime};

use super::*;
use crate::workload::wasm::cache::Cache;
use crate::workload::wasm::entry::About;
use crate::workload::wasm::key::Key;

/// An entry of `length` bytes that are no code, as compiled for `build`, last used so many days ago.
fn put(cache: &Cache, key: &Key, length: u64, build: Build, days: u64) {
    let kind = GuestKind::CorePreview1 {
        entry: "_start".to_owned(),
    };
    put_about(cache, key, length, &About::new(kind, build), days);
}

fn put_about(cache: &Cache, key: &Key, length: u64, about: &About, days: u64) {
    let code = tempfile::tempfile().expect("a file");
    code.set_len(length).expect("sparse");
    cache.insert(key, &code, length, about).expect("kept");
    age(cache, &key.file("seen"), days);
}

fn age(cache: &Cache, name: &str, days: u64) {
    let file = File::options()
        .write(true)
        .open(cache.path.join(name))
        .expect("it is there");
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    file.set_modified(then).expect("it is ours");
}

fn key(name: &str) -> Key {
    Key::new(
        &blake3::hash(name.as_bytes()),
        Purpose::default(),
        Build::default(),
    )
}

fn keys(cache: &Cache) -> Vec<String> {
    let entries = cache.entries().expect("a list").into_iter();
    entries.map(|entry| entry.key).collect()
}

fn names(cache: &Cache) -> Vec<String> {
    let files = std::fs::read_dir(&cache.path).expect("the cache").flatten();
    files
        .map(|file| file.file_name().into_string().expect("UTF-8"))
        .collect()
}

#[test]
fn the_least_recently_used_goes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    for (name, days) in [("old", 9), ("older", 20), ("new", 0)] {
        put(&cache, &key(name), 10_000, Build::default(), days);
    }
    let order = ["new", "old", "older"].map(|name| key(name).to_hex());
    assert_eq!(keys(&cache), order);
    cache.trim(25_000).expect("trimmed");
    assert_eq!(keys(&cache), order[..2]);
    let week = Bounds {
        age: Some(Duration::from_secs(7 * 24 * 3600)),
        ..Bounds::default()
    };
    let freed = cache.prune(&week).expect("pruned");
    assert_eq!(
        freed.iter().map(|entry| &entry.key).collect::<Vec<_>>(),
        [&order[1]]
    );
    assert!(freed[0].size > 10_000);
    assert_eq!(keys(&cache), order[..1]);
    cache
        .prune(&Bounds {
            all: true,
            ..Bounds::default()
        })
        .expect("pruned");
    assert!(names(&cache).is_empty());
}

#[test]
fn quickly_compiled_code_is_of_no_use_beside_optimised_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    let baseline = Build {
        tier: Tier::Baseline,
        ..Build::default()
    };
    let (done, alone) = (key("done"), key("alone"));
    put(&cache, &done.provisional(), 5000, baseline, 0);
    put(&cache, &alone.provisional(), 5000, baseline, 3);
    put(&cache, &done, 5000, Build::default(), 5);
    // As a supervisor leaves it that was killed between its last two steps.
    cache.trim(1 << 20).expect("trimmed");
    assert_eq!(keys(&cache), [alone.provisional().to_hex(), done.to_hex()]);
}

#[test]
fn what_was_compiled_for_another_engine_is_not_found_and_can_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    let kind = GuestKind::CorePreview1 {
        entry: "_start".to_owned(),
    };
    let ours = About::new(kind, Build::default());
    let other = About {
        engine: "wasmtime 47.0.0".to_owned(),
        fingerprint: "0".repeat(64),
        ..ours.clone()
    };
    // Its key has the engine in it, so that it is not the key of anything now.
    put_about(&cache, &key("by the old engine"), 5000, &other, 1);
    put_about(&cache, &key("by ours"), 5000, &ours, 2);
    let entries = cache.entries().expect("a list");
    let fits: Vec<_> = entries
        .iter()
        .map(|entry| (entry.fits(), entry.verified))
        .collect();
    assert_eq!(fits, [(false, true), (true, true)]);
    assert_eq!(cache.verify().expect("read").sound, 2);
    assert_eq!(
        cache
            .prune(&Bounds {
                size: Some(0),
                ..Bounds::default()
            })
            .expect("pruned")
            .len(),
        2
    );
}

/// Optimised code for another engine has another key; quickly compiled code may have the same.
#[test]
fn quickly_compiled_code_for_another_engine_is_not_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    let build = Build {
        tier: Tier::Baseline,
        ..Build::default()
    };
    let kind = GuestKind::CorePreview1 {
        entry: "_start".to_owned(),
    };
    let ours = About::new(kind, build);
    let other = About {
        fingerprint: "0".repeat(64),
        ..ours.clone()
    };
    let code = tempfile::tempfile().expect("a file");
    code.set_len(5000).expect("sparse");
    let place = key("upgraded").provisional();
    assert!(cache.insert(&place, &code, 5000, &other).is_err());
    assert!(!names(&cache).contains(&place.file("code")), "it is removed");
    cache.insert(&place, &code, 5000, &ours).expect("kept");
    assert!(cache.lookup(&place).expect("looked up").is_some());
}

#[test]
fn notes_and_locks_do_not_pile_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    let (kept, gone) = (key("kept"), key("gone"));
    put(&cache, &kept, 5000, Build::default(), 0);
    let note = |number: usize, of: &Key| {
        let name = Key::new(
            &blake3::hash(&number.to_le_bytes()),
            Purpose::default(),
            Build::default(),
        )
        .file("file");
        std::fs::write(cache.path.join(&name), of.to_hex()).expect("written");
        name
    };
    let useful = note(1, &kept);
    let useless = note(2, &gone);
    let old = note(3, &kept);
    age(&cache, &old, 31);
    let held = cache.claim_background(&kept).expect("claimed").expect("free");
    let lock = cache.lock(&gone).expect("locked");
    let left = key("killed").file("background");
    std::fs::write(cache.path.join(&left), "").expect("as a killed process leaves it");
    std::fs::write(cache.path.join(gone.file("seen")), "").expect("as an evicted entry leaves it");
    cache.trim(1 << 20).expect("trimmed");
    let after = names(&cache);
    for (name, stays) in [
        (&useful, true),
        (&useless, true),
        (&old, false),
        (&left, true),
        (&gone.file("seen"), false),
    ] {
        assert_eq!(after.contains(name), stays, "{name}");
    }
    cache
        .prune(&Bounds {
            size: Some(1 << 20),
            ..Bounds::default()
        })
        .expect("pruned");
    let after = names(&cache);
    for (name, stays) in [(&useful, true), (&useless, false), (&left, false)] {
        assert_eq!(after.contains(name), stays, "{name}");
    }
    assert!(
        after.contains(&kept.file("background")) && after.contains(&gone.file("lock")),
        "they are held"
    );
    assert!(cache.claim_background(&kept).expect("asked").is_none());
    drop(lock);
    cache.release(held);
    assert!(cache.claim_background(&kept).expect("asked").is_some());
}

#[test]
fn a_planted_pipe_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = cache_in(&dir).expect("a cache");
    let planted = key("planted");
    let path = cache.path.join(planted.file("code"));
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
    assert!(cache.entries().expect("a list")[0].about.is_none());
    assert!(cache.lookup(&planted).expect("looked up").is_none());
    assert!(!path.exists(), "it is not of our making");
}
