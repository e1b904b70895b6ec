//! Key-value stores: files, and a real Redis.

use super::*;
use crate::harness::facts::Need;

pub fn tests() -> Vec<Test> {
    vec![
        test!(slight_values_are_files),
        test!(slight_keys_lead_nowhere_else),
        test!(slight_values_outlive_the_container_in_a_volume),
        test!(slight_values_in_redis).needs(Need::RedisServer),
        test!(slight_a_program_of_version_1),
    ]
}

/// What a store does, whatever it is.
#[track_caller]
fn exercise(served: &Served, store: &str) {
    let at = |key: &str| format!("/kv/{store}/{key}");
    // key-not-found
    assert_eq!(served.says("GET", &at("one"), "").0, 550);
    assert_eq!(served.says("PUT", &at("one"), "1").0, 201);
    assert_eq!(served.says("PUT", &at("two"), "2").0, 201);
    assert_eq!(served.says("PUT", &at("two"), "\u{e9}").0, 201);
    assert_eq!(
        (served.get(&at("one")), served.get(&at("two"))),
        ("1".to_owned(), "\u{e9}".to_owned())
    );
    let keys = served.get(&format!("/keys/{store}"));
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["one", "two"]);
    assert_eq!(served.says("DELETE", &at("one"), "").0, 201);
    assert_eq!(served.says("GET", &at("one"), "").0, 550);
    let large = vec![7_u8; 1 << 20];
    assert_eq!(served.ask("PUT", &at("large"), &large).status, 201);
    assert!(
        served.ask("GET", &at("large"), b"").body == large,
        "it has changed"
    );
}

fn slight_values_are_files(case: &Case) {
    let served = serve(application(case, &slightfile(&filesystem()), "slight", |_| {}));
    exercise(&served, "files");
    assert_eq!(served.container.read("tmp/files/two"), "\u{e9}");
    // unexpected-error: no such store.
    let (status, text) = served.says("GET", "/kv/other/one", "");
    assert!(status == 557 && text.contains("`other`"), "{status}: {text}");
    served.stop();
}

fn slight_keys_lead_nowhere_else(case: &Case) {
    let container = application(case, &slightfile(&filesystem()), "slight", |_| {});
    container.write("secret", "secret", 0o644);
    let served = serve(container);
    assert_eq!(served.says("PUT", "/kv/files/one", "1").0, 201);
    // invalid-key
    for key in ["..", "%2e%2e"] {
        let path = format!("/kv/files/{key}");
        assert_eq!(served.says("GET", &path, "").0, 551, "{key}");
        assert_eq!(served.says("PUT", &path, "x").0, 551, "{key}");
        assert_eq!(served.says("DELETE", &path, "").0, 551, "{key}");
    }
    // io-error: a link is no value, wherever it leads.
    symlink("/secret", served.container.rootfs("tmp/files/link")).expect("a link");
    let (status, text) = served.says("GET", "/kv/files/link", "");
    assert!(status == 556 && !text.contains("secret"), "{status}: {text}");
    served.stop();
}

fn slight_values_outlive_the_container_in_a_volume(case: &Case) {
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    let run = || {
        serve(application(
            case,
            &slightfile(&filesystem()),
            "slight",
            |config| {
                add_mount(
                    config,
                    "/tmp",
                    "bind",
                    volume.to_str().expect("text"),
                    &["bind", "rw"],
                );
            },
        ))
    };
    let first = run();
    assert_eq!(first.says("PUT", "/kv/files/kept", "value").0, 201);
    first.stop();
    let second = run();
    assert_eq!(second.get("/kv/files/kept"), "value");
    second.stop();
}

fn slight_values_in_redis(case: &Case) {
    let store = |name| {
        let store = capability("keyvalue.redis", name);
        format!("{store}[capability.configs]\nREDIS_ADDRESS = \"${{envvars.REDIS}}\"\n")
    };
    let text = slightfile(&(store("one") + &store("t*o") + &capability("messaging.filesystem", "queue")));
    let served = serve(application(case, &text, "slight", |config| {
        let env = config["process"]["env"].as_array_mut().expect("the environment");
        env.push(json!("REDIS=redis://127.0.0.1:6379/1"));
    }));
    // connection-error
    let (status, text) = served.says("GET", "/kv/one/key", "");
    assert!(
        status == 553 && text.contains("127.0.0.1:6379"),
        "{status}: {text}"
    );
    let dir = case.path("");
    let arguments = [
        "--port",
        "6379",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        &dir,
    ];
    let server = served.start_server("redis-server", &arguments, 6379);
    exercise(&served, "one");
    // The name of a store is no pattern of others'.
    assert_eq!(served.says("PUT", "/kv/t*o/key", "other").0, 201);
    assert_eq!(served.get("/keys/t*o"), "key\n");
    end(server);
    // What was said to it is gone; a new connection is made.
    let server = served.start_server("redis-server", &arguments, 6379);
    assert_eq!(served.says("GET", "/kv/one/two", "").0, 550);
    assert_eq!(served.says("PUT", "/kv/one/two", "2").0, 201);
    end(server);
    served.stop();
}

fn slight_a_program_of_version_1(case: &Case) {
    let text = "specversion = \"0.1\"\n[[capability]]\nname = \"kv.filesystem\"\n";
    let container = application(case, text, "slight-start", |_| {});
    assert_eq!(container.run().ok().stdout, "the value\n");
    assert_eq!(container.read("tmp/store/key"), "the value\n");
    // Where there is no room the older interface has one error.
    let container = application(case, text, "slight-start", |config| {
        config["root"]["readonly"] = json!(true);
    });
    let output = container.run().code_is(10);
    assert!(
        output.stdout.contains("Read-only file system"),
        "{}",
        output.stdout
    );
}
