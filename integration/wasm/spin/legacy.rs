//! Components of Spin's first SDKs: modules for its interfaces before there were components, and components that are
//! entered as those were.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_modules_of_the_first_sdks_answer),
        test!(spin_modules_of_the_first_sdks_have_what_they_were_granted),
        test!(spin_modules_of_the_first_sdks_send_requests_where_they_may),
        test!(spin_modules_of_the_first_sdks_that_fail_are_told),
        test!(spin_a_hundred_requests_at_modules_of_the_first_sdks),
        test!(spin_components_of_the_first_sdks_answer),
        test!(spin_modules_with_other_interfaces_are_told_by_create),
    ]
}

pub const LEGACY: &str = r#"
[variables]
user = { required = true }
[[trigger.http]]
route = "/..."
component = "old"
[[trigger.http]]
route = "/robots.txt"
static_response = { headers = { x-own = "value" }, body = "Disallow: /" }
[component.old]
source = "spin-legacy.wasm"
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["http://127.0.0.1:80"]
[component.old.variables]
greeting = "Hello, {{ user }}!"
"#;

fn legacy(case: &Case) -> Served<'_> {
    let edit = |config: &mut Value| {
        config["process"]["env"] = json!(["USER=Ann"]);
    };
    serve(application(case, &manifest(LEGACY), &["spin-legacy"], edit))
}

fn spin_modules_of_the_first_sdks_answer(case: &Case) {
    let served = legacy(case);
    let response = served.request("PUT", "/echo/x?a=b", &["x-own: 1", "x-own: 2"], "the body");
    assert_eq!(
        (response.status, response.text().as_str()),
        (201, "2\n/echo/x?a=b\nthe body")
    );
    // The request's, with what Spin adds, but none of the connection's.
    let own = response.fields.iter().filter(|(name, _)| name == "x-own");
    assert_eq!(
        own.map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(response.field("spin-matched-route"), Some("/..."));
    assert_eq!(response.field("host"), Some("127.0.0.1:80"));
    assert_eq!(response.field("spin-path-info"), Some("/echo/x"));
    let long = "x".repeat(1 << 20);
    let response = served.request("POST", "/whole", &[], &long);
    assert!(
        response.status == 200 && response.text() == long,
        "{}",
        response.status
    );
    let response = served.request("POST", "/whole", &[], &"x".repeat((16 << 20) + 1));
    assert_eq!(response.status, 413);
    assert_eq!(served.request("TRACE", "/echo", &[], "").status, 405);
    assert_eq!(served.request("GET", "/nothing", &[], "").status, 404);
    assert_eq!(served.told("/print", "a line"), (200, String::new()));
    let output = served.stop();
    assert_eq!(output.stdout, "a line\n");
}

fn spin_modules_of_the_first_sdks_have_what_they_were_granted(case: &Case) {
    let served = legacy(case);
    let ok = |text: &str| (200, text.to_owned());
    assert_eq!(served.says("/config/greeting"), ok("Hello, Ann!"));
    // Errors `provider` and `invalid-key`, which have a text.
    for (key, wanted) in [("other", 550), ("Other", 551)] {
        let (status, text) = served.says(&format!("/config/{key}"));
        assert!(status == wanted && text.contains(key), "{key}: {status} {text}");
    }
    assert_eq!(served.told("/set/one", "1"), ok(""));
    assert_eq!(served.told("/set/two", ""), ok(""));
    assert_eq!(served.says("/get/one"), ok("1"));
    assert_eq!(served.says("/get/two"), ok(""));
    assert_eq!(
        (served.says("/have/one"), served.says("/have/none")),
        (ok("yes"), ok("no"))
    );
    let (_, keys) = served.says("/keys");
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["one", "two"]);
    assert_eq!(served.told("/delete/one", ""), ok(""));
    // Error `no-such-key`.
    assert_eq!(served.says("/get/one").0, 554);
    assert_eq!(served.told("/query", "CREATE TABLE t (a)"), ok(""));
    assert_eq!(served.told("/query", "INSERT INTO t VALUES ('a text')"), ok(""));
    assert_eq!(served.told("/query", "SELECT a FROM t"), ok("a text"));
    let (status, text) = served.told("/query", "SELECT none");
    assert!(
        status == 554 && text.contains("no such column"),
        "{status} {text}"
    );
    served.stop();
}

fn spin_modules_of_the_first_sdks_send_requests_where_they_may(case: &Case) {
    let served = legacy(case);
    let response = served.request("POST", "/out", &[], "http://127.0.0.1:80/robots.txt");
    assert_eq!((response.status, response.text().as_str()), (200, "Disallow: /"));
    assert_eq!(response.field("x-own"), Some("value"));
    // Errors `destination-not-allowed` and `invalid-url`.
    for (url, status) in [
        ("http://127.0.0.1:81/", 551),
        ("http://one.test/", 551),
        ("ftp://127.0.0.1:80/", 552),
    ] {
        assert_eq!(served.told("/out", url).0, status, "{url}");
    }
    // Error `error`, of no server that the manifest names.
    assert_eq!(served.told("/redis/key", "redis://127.0.0.1:6379").0, 551);
    for path in ["/postgres", "/mysql"] {
        let (status, text) = served.told(path, "host=127.0.0.1 user=u");
        assert_eq!(status, 551, "{path}: {text}");
    }
    let output = served.stop();
    let told = "component `old` may not send a request to http://one.test";
    assert!(output.stderr.contains(told), "{output}");
}

fn spin_modules_of_the_first_sdks_that_fail_are_told(case: &Case) {
    let served = legacy(case);
    assert_eq!(served.says("/trap").0, 500);
    assert_eq!(served.says("/wrong").0, 500);
    assert_eq!(served.says("/echo").0, 201);
    let output = served.stop();
    for told in [
        "component `old` trapped: ",
        "its answer has the status 42, which is none",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
}

/// Each of them right.
fn spin_a_hundred_requests_at_modules_of_the_first_sdks(case: &Case) {
    let served = legacy(case);
    let address = served.address;
    let wrong: Vec<String> = within(served.pid, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..100)
                .map(|number| {
                    scope.spawn(move || {
                        let body = format!("number {number}");
                        let wanted = format!("1\n/echo\n{body}");
                        match request(address, "POST", "/echo", &[], body.as_bytes()) {
                            Ok(response) if response.text() == wanted => None,
                            Ok(response) => Some(format!("{number}: {response:?}")),
                            Err(error) => Some(format!("{number}: {error}")),
                        }
                    })
                })
                .collect();
            let ends = clients.into_iter().map(|client| client.join().expect("no panic"));
            ends.flatten().collect()
        })
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    served.stop();
}

fn spin_components_of_the_first_sdks_answer(case: &Case) {
    let text = manifest(
        "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"old\"\n[component.old]\nsource = \"spin-inbound.wasm\"\n",
    );
    let served = serve(application(case, &text, &["spin-inbound"], |_| {}));
    let response = served.request("POST", "/path?a", &[], " and a body");
    assert_eq!(
        (response.status, response.text().as_str(), response.field("x-own")),
        (202, "/path?a and a body", Some("inbound"))
    );
    served.stop();
}

fn spin_modules_with_other_interfaces_are_told_by_create(case: &Case) {
    let good = guest::text("spin-legacy");
    let told_of = |from: &str, to: &str, told: &str| {
        assert!(good.contains(from), "{from}");
        let container = case.container(&["/"]);
        container.write(
            "spin.toml",
            manifest(LEGACY).replace("required = true", "default = ''"),
            0o644,
        );
        let module = wat::parse_str(good.replace(from, to)).expect("text");
        container.write("spin-legacy.wasm", module, 0o644);
        let error = container.try_create(&[]).error();
        assert!(
            error.contains("/spin.toml: component `old`: /spin-legacy.wasm: ") && error.contains(told),
            "{told}: {error}"
        );
    };
    told_of(
        r#""key-value" "exists""#,
        r#""key-value" "watch""#,
        "`key-value.watch` (no function of that interface)",
    );
    told_of(
        r#""key-value" "exists""#,
        r#""llm" "infer""#,
        "`llm.infer` (there are no models here)",
    );
    told_of(
        r#"(import "key-value" "close" (func $kv_close (param i32)))"#,
        r#"(import "key-value" "close" (func $kv_close (param i32) (result i32)))"#,
        "`key-value.close(i32) -> i32`, which must be `key-value.close(i32)`",
    );
    told_of(
        r#"(export "handle-redis-message") (param $at i32) (param $length i32) (result i32)"#,
        r#"(export "handle-redis-message") (param $at i32) (param $length i32) (param i32) (result i32)"#,
        "`handle-redis-message(i32, i32, i32) -> i32`, which must be `handle-redis-message(i32, i32) -> i32`",
    );
    told_of(
        r#"(func (export "canonical_abi_realloc")"#,
        r#"(func (export "another")"#,
        "it exports no `canonical_abi_realloc`",
    );
}
