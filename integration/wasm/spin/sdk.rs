//! Components made with Spin's SDKs, of each of their generations.

use std::io::Read as _;

use super::*;
use crate::harness::http::{begin, finish_after};
use crate::wasm::real::megabyte;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_components_of_sdk_3),
        test!(spin_components_of_sdk_5),
        test!(spin_components_of_the_current_sdk),
        test!(spin_the_current_sdk_reads_and_streams),
        test!(spin_the_current_sdk_sends_where_it_may),
        test!(spin_a_hundred_at_once_of_the_current_sdk),
        test!(spin_calls_of_one_instance_share_it),
        test!(spin_calls_of_the_current_sdk_have_as_much_memory_as_is_said),
        test!(spin_interfaces_of_the_current_sdk_that_are_not_here_are_named),
    ]
}

/// Variables from the container's environment, a store, files: by what an SDK makes of the interfaces.
fn by_an_sdk(case: &Case, guest: &str, name: &str) {
    let text = manifest(&format!(
        "[variables]\ngreeting = {{ default = \"hello\" }}\nuser = {{ required = true }}\n\
         [[trigger.http]]\nroute = \"/sdk/...\"\ncomponent = \"sdk\"\n\
         [component.sdk]\nsource = \"{guest}.wasm\"\nfiles = [{{ source = \"assets\", destination = \"/\" }}]\n\
         key_value_stores = [\"default\"]\n\
         [component.sdk.variables]\ntext = \"{{{{ greeting }}}}, {{{{ user }}}}!\"\n"
    ));
    let container = application(case, &text, &[guest], |config| {
        let env = config["process"]["env"].as_array_mut().expect("the environment");
        env.push(json!("USER=Ann"));
    });
    fs::create_dir(container.rootfs("assets")).expect("a directory");
    container.write("assets/file", "shown\n", 0o644);
    let served = serve(container);
    let hello = format!("Hello from {name} at /sdk\n");
    assert_eq!(served.says("/sdk"), (200, hello));
    assert_eq!(
        served.says("/sdk/variable/text"),
        (200, "hello, Ann!\n".to_owned())
    );
    assert_eq!(served.says("/sdk/variable/user").0, 404);
    assert_eq!(served.says("/sdk/file/file"), (200, "shown\n".to_owned()));
    for count in 1..4 {
        assert_eq!(served.says("/sdk/count/visits"), (200, format!("{count}\n")));
    }
    served.stop();
}

fn spin_components_of_sdk_3(case: &Case) {
    by_an_sdk(case, "spin-sdk-3", "SDK 3");
}

fn spin_components_of_sdk_5(case: &Case) {
    by_an_sdk(case, "spin-sdk-02", "SDK 5");
}

fn spin_components_of_the_current_sdk(case: &Case) {
    by_an_sdk(case, "spin-sdk-03", "SDK 7");
}

/// Two components, which have what the current SDK is made for.
const CURRENT: &str = r#"
[variables]
word = { default = "said" }
[[trigger.http]]
route = "/sdk/..."
component = "sdk"
[[trigger.http]]
route = "/other/..."
component = "other"
[[trigger.http]]
route = "/robots.txt"
static_response = { body = "Disallow: /" }
[component.sdk]
source = "spin-sdk-03.wasm"
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["http://127.0.0.1:80", "http://other.spin.internal", "http://self"]
variables = { word = "{{ word }}" }
[component.other]
source = "spin-sdk-03.wasm"
"#;

pub fn current<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Served<'case> {
    serve(application(case, &manifest(CURRENT), &["spin-sdk-03"], edit))
}

fn spin_the_current_sdk_reads_and_streams(case: &Case) {
    let served = current(case, |_| {});
    let asked = || request(served.address, "PUT", "/sdk/request/x?a=b", &["x-own: 1"], &[]);
    let text = within(served.pid, asked).expect("an answer").text();
    for line in [
        "method PUT",
        "path /sdk/request/x",
        "query a=b",
        "field x-own: 1",
        "field spin-path-info: /request/x",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}: {text}");
    }
    let sent = megabyte();
    let asked = || request(served.address, "POST", "/sdk/echo", &[], &sent);
    let answer = within(served.pid, asked).expect("an answer");
    assert!(
        answer.status == 200 && answer.body == sent,
        "other bytes came back"
    );
    // A line is here before the last is made.
    within(served.pid, || {
        let mut stream = begin(served.address, "/sdk/lines/50").expect("asked");
        let mut start = Vec::new();
        while !start.windows(7).any(|window| window == b"line 1\n") {
            let mut piece = [0; 100];
            let length = stream.read(&mut piece).expect("a piece");
            start.extend_from_slice(&piece[..length]);
        }
        assert!(!start.windows(8).any(|window| window == b"line 50\n"));
        let answer = finish_after(&start, stream).expect("the rest");
        let wanted: String = (1..=50).map(|number| format!("line {number}\n")).collect();
        assert_eq!(answer.text(), wanted);
    });
    served.stop();
}

fn spin_the_current_sdk_sends_where_it_may(case: &Case) {
    let served = current(case, |_| {});
    let robots = (200, "200\nDisallow: /".to_owned());
    let hello = (200, "200\nHello from SDK 7 at \n".to_owned());
    for (url, expected) in [
        ("http://127.0.0.1:80/robots.txt", &robots),
        ("http://self.alt/robots.txt", &robots),
        ("http://other.spin.internal/", &hello),
    ] {
        assert_eq!(&served.told("/sdk/out", url), expected, "{url}");
    }
    for url in [
        "http://127.0.0.1:81/",
        "http://one.test/",
        "http://sdk.spin.internal/",
    ] {
        let (status, text) = served.told("/sdk/out", url);
        assert!(
            status == 502 && text.contains("HttpRequestDenied"),
            "{url}: {status} {text}"
        );
    }
    assert_eq!(served.told("/other/out", "http://127.0.0.1:80/").0, 502);
    let fields = ["x-address: http://127.0.0.1:80/other/echo"];
    let sent = served.request("POST", "/sdk/forward", &fields, "sent on");
    assert_eq!((sent.status, sent.text().as_str()), (200, "sent on"));
    let output = served.stop();
    let told = "component `sdk` may not send a request to http://one.test";
    assert!(output.stderr.contains(told), "{output}");
}

/// Of each path an answer of its own, which is right for all of those who ask.
fn spin_a_hundred_at_once_of_the_current_sdk(case: &Case) {
    let served = current(case, |_| {});
    let address = served.address;
    assert_eq!(served.told("/sdk/set", "key=value").0, 200);
    for statement in ["CREATE TABLE t (a)", "INSERT INTO t VALUES (7)"] {
        assert_eq!(served.told("/sdk/sqlite", statement).0, 200, "{statement}");
    }
    let urls = "http://127.0.0.1:80/robots.txt\n".repeat(5);
    let asked = [
        ("/sdk", "", "Hello from SDK 7 at /sdk\n"),
        ("/sdk/variable/word", "", "said\n"),
        ("/sdk/get", "key", "value"),
        (
            "/sdk/sqlite",
            "SELECT a FROM t",
            "RowResult { values: [Value::Integer(7)] }\n",
        ),
        (
            "/sdk/out",
            "http://other.spin.internal/",
            "200\nHello from SDK 7 at \n",
        ),
        ("/sdk/many", &urls, "5\n"),
        ("/sdk/echo", "sent", "sent"),
        ("/sdk/lines/3", "", "line 1\nline 2\nline 3\n"),
        (
            "/other/out",
            "http://127.0.0.1:80/",
            "ErrorCode::HttpRequestDenied\n",
        ),
        ("/sdk/sleep/50", "", "\n"),
    ];
    let wrong: Vec<String> = within(served.pid, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..100)
                .map(|number| {
                    let (path, body, wanted) = asked[number % asked.len()];
                    scope.spawn(
                        move || match request(address, "POST", path, &[], body.as_bytes()) {
                            Ok(response) if response.text().ends_with(wanted) => None,
                            Ok(response) => {
                                Some(format!("{path}: {} {:?}", response.status, response.text()))
                            }
                            Err(error) => Some(format!("{path}: {error}")),
                        },
                    )
                })
                .collect();
            let ends = clients.into_iter().map(|client| client.join().expect("no panic"));
            ends.flatten().collect()
        })
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    served.stop();
}

/// What this many say who ask at once.
pub fn at_once(served: &Served<'_>, path: &str, clients: usize) -> Vec<(u16, String)> {
    let address = served.address;
    within(served.pid, || {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..clients)
                .map(|_| scope.spawn(move || get(address, path).expect("an answer")))
                .collect();
            let answers = asking.into_iter().map(|client| client.join().expect("no panic"));
            answers.map(|answer| (answer.status, answer.text())).collect()
        })
    })
}

/// It is called again while it answers, but not without end.
fn spin_calls_of_one_instance_share_it(case: &Case) {
    let served = current(case, |_| {});
    let said = at_once(&served, "/sdk/sleep/1000", 40);
    let counts: Vec<u32> = said
        .iter()
        .map(|(status, text)| {
            assert_eq!(*status, 200, "{text}");
            text.trim().parse().expect("a number")
        })
        .collect();
    let most = counts.iter().max().expect("some");
    assert!((2..=16).contains(most), "{counts:?}");
    served.stop();
}

fn spin_calls_of_the_current_sdk_have_as_much_memory_as_is_said(case: &Case) {
    const MIB: u32 = 1 << 20;
    let taken = |served: &Served<'_>| {
        let (status, text) = served.says("/sdk/take/1000000000");
        assert_eq!(status, 200, "{text}");
        text.trim().parse::<u32>().expect("a number")
    };
    let served = current(case, |config| {
        let env = config["process"]["env"].as_array_mut().expect("the environment");
        env.push(json!(format!("SPIN_MAX_INSTANCE_MEMORY={}", 20 * MIB)));
    });
    for _ in 0..3 {
        assert!((10 * MIB..20 * MIB).contains(&taken(&served)));
    }
    served.stop();
    let served = current(case, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 128 * MIB, "swap": 128 * MIB });
    });
    for _ in 0..3 {
        assert!((20 * MIB..100 * MIB).contains(&taken(&served)));
    }
    served.stop();
}

/// A component that has a handler of requests, and imports this.
fn importing(interface: &str) -> Vec<u8> {
    let text = format!(
        "(component (import \"{interface}\" (instance)) (instance $handler)
           (export \"wasi:http/handler@0.3.0\" (instance $handler)))"
    );
    wat::parse_str(text).expect("a component")
}

fn spin_interfaces_of_the_current_sdk_that_are_not_here_are_named(case: &Case) {
    for (interface, why) in [
        ("fermyon:spin/llm@2.0.0", "there are no models here"),
        ("wasi:otel/tracing@0.2.0-rc.2", "there is nobody who takes traces"),
        ("wasi:http/handler@0.3.0", ""),
        (
            "spin:key-value/key-value@4.0.0",
            "this version of the interface is not known",
        ),
    ] {
        let text = manifest(
            "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n[component.one]\nsource = \"one.wasm\"\n",
        );
        let container = application(case, &text, &[], |_| {});
        container.write("one.wasm", importing(interface), 0o644);
        let error = container.try_create(&[]).error();
        assert!(
            error.contains("component `one`") && error.contains(interface) && error.contains(why),
            "{interface}: {error}"
        );
    }
}
