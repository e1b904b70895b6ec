//! What an application answers.

use std::io::{ErrorKind, Read as _};

use super::*;
use crate::harness::http::begin;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_routes_lead_to_components),
        test!(spin_health_and_info),
        test!(spin_only_what_the_manifest_gives_is_seen),
        test!(spin_requests_go_where_they_may),
        test!(spin_components_call_each_other),
        test!(spin_a_program_answers_as_cgi_has_it),
        test!(spin_a_trap_names_its_component),
        test!(spin_a_hundred_at_once),
        test!(spin_instances_that_compute_leave_others_their_turns),
        test!(spin_an_instance_does_not_compute_for_nobody_for_ever),
        test!(spin_a_part_of_it_is_run_elsewhere),
        test!(spin_exec_runs_what_it_is_told),
        test!(spin_a_store_in_a_volume_outlives_its_container),
        test!(spin_instances_have_as_much_memory_as_is_said),
    ]
}

/// Three components, a wildcard, a private route, a reply, files and environments.
pub const SHOP: &str = r#"
[[trigger.http]]
route = "/request"
component = "front"
[[trigger.http]]
route = "/out"
component = "front"
[[trigger.http]]
route = "/user/:name/..."
component = "front"
[[trigger.http]]
route = "/:page"
component = "site"
[[trigger.http]]
route = { private = true }
component = "store"
[[trigger.http]]
route = "/robots.txt"
static_response = { status_code = 203, headers = { x-own = "value" }, body = "Disallow: /" }

[component.front]
source = "http-02.wasm"
allowed_outbound_hosts = ["http://store.spin.internal", "http://127.0.0.1:80"]
[component.site]
source = "http-02.wasm"
environment = { MODE = "site" }
files = ["assets/**/*.css", { source = "page.txt", destination = "/pages/one" }]
exclude_files = ["assets/secret/*"]
[component.store]
source = "http-02.wasm"
environment = { MODE = "store" }
files = [{ source = "assets", destination = "/" }]
"#;

fn shop<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = application(case, &manifest(SHOP), &["http-02"], edit);
    for directory in ["assets", "assets/deep", "assets/secret"] {
        fs::create_dir(container.rootfs(directory)).expect("a directory");
    }
    for (path, text) in [
        ("assets/a.css", "a"),
        ("assets/a.txt", "text"),
        ("assets/deep/b.css", "b"),
        ("assets/secret/c.css", "c"),
        ("page.txt", "one"),
    ] {
        container.write(path, text, 0o644);
    }
    container
}

fn spin_routes_lead_to_components(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    assert_eq!(shop.says("/env"), (200, "MODE=site\n".to_owned()));
    let reply = shop.get("/robots.txt");
    assert_eq!((reply.status, reply.text().as_str()), (203, "Disallow: /"));
    assert_eq!(reply.field("x-own"), Some("value"));
    let (status, text) = shop.says("/request?a=b");
    assert_eq!(status, 200);
    let fields: Vec<&str> = text.lines().collect();
    for wanted in [
        "field spin-path-info: ",
        "field spin-full-url: http://127.0.0.1:80/request?a=b",
        "field spin-matched-route: /request",
        "field spin-component-route: /request",
        "field spin-base-path: /",
    ] {
        assert!(
            fields.contains(&wanted.trim_end()) || fields.contains(&wanted),
            "{wanted}: {text}"
        );
    }
    // Its own 404, with a body; and ours, without.
    assert_eq!(shop.says("/user/ann/x"), (404, "no such path\n".to_owned()));
    assert_eq!(shop.says("/a/b/c"), (404, String::new()));
    assert_eq!(shop.says("/"), (404, String::new()));
    let forged = within(shop.pid, || {
        let fields = ["spin-client-addr: forged", "spin-path-match-x: forged"];
        request(shop.address, "GET", "/request", &fields, &[])
    });
    let text = forged.expect("an answer").text();
    assert!(
        !text.contains("forged") && text.contains("field spin-client-addr: 127.0.0.1:"),
        "{text}"
    );
    shop.stop();
}

fn spin_health_and_info(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    assert_eq!(shop.says("/.well-known/spin/health"), (200, "OK".to_owned()));
    let info = shop.get("/.well-known/spin/info");
    let info: Value = serde_json::from_slice(&info.body).expect("JSON");
    assert_eq!(info, json!({ "name": "shop", "version": "1.2.0" }));
    assert_eq!(shop.says("/.well-known/spin/other").0, 404);
    shop.stop();
}

fn spin_only_what_the_manifest_gives_is_seen(case: &Case) {
    let edit = |config: &mut Value| {
        let env = config["process"]["env"].as_array_mut().expect("the environment");
        env.push(json!("OF_THE_CONTAINER=1"));
    };
    let shop = serve(shop(case, edit));
    assert_eq!(shop.says("/env"), (200, "MODE=site\n".to_owned()));
    for (path, text) in [
        ("/assets/a.css", "a"),
        ("/assets/deep/b.css", "b"),
        ("/pages/one", "one"),
    ] {
        assert_eq!(
            shop.says(&format!("/file?path={path}")),
            (200, text.to_owned()),
            "{path}"
        );
    }
    for path in [
        "/assets/a.txt",
        "/assets/secret/c.css",
        "/spin.toml",
        "/page.txt",
        "/etc/passwd",
    ] {
        let (_, text) = shop.says(&format!("/file?path={path}"));
        assert!(text.contains("os error"), "{path}: {text}");
    }
    let (_, text) = shop.says("/out?url=http://store.spin.internal/file?path=/deep/b.css");
    assert!(text.ends_with('b'), "{text}");
    shop.stop();
}

fn spin_requests_go_where_they_may(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let (status, text) = shop.says("/out?url=http://127.0.0.1:80/robots.txt");
    assert!(status == 200 && text.contains("Disallow: /"), "{status} {text}");
    for url in [
        "http://127.0.0.1:81/",
        "http://one.test/",
        "https://127.0.0.1:80/",
    ] {
        let (_, text) = shop.says(&format!("/out?url={url}"));
        assert!(text.contains("HttpRequestDenied"), "{url}: {text}");
    }
    let output = shop.stop();
    let told = "component `front` may not send a request to http://one.test";
    assert!(output.stderr.contains(told), "{output}");
}

fn spin_components_call_each_other(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let (status, text) = shop.says("/out?url=http://store.spin.internal/env");
    assert!(status == 200 && text.contains("MODE=store"), "{status} {text}");
    let (_, text) = shop.says("/out?url=http://site.spin.internal/env");
    assert!(text.contains("HttpRequestDenied"), "{text}");
    // Nobody outside gets in by such a name: it leads where any other does.
    let outside = within(shop.pid, || {
        let stream = std::net::TcpStream::connect(shop.address)?;
        std::io::Write::write_all(
            &mut &stream,
            b"GET /env HTTP/1.1\r\nhost: store.spin.internal\r\nconnection: close\r\n\r\n",
        )?;
        crate::harness::http::finish(stream)
    });
    let outside = outside.expect("an answer");
    assert_eq!((outside.status, outside.text()), (200, "MODE=site\n".to_owned()));
    shop.stop();
}

fn spin_a_program_answers_as_cgi_has_it(case: &Case) {
    let text = manifest(
        "[[trigger.http]]\nroute = \"/cgi/...\"\ncomponent = \"cgi\"\n\
         executor = { type = \"wagi\", argv = \"${SCRIPT_NAME} own ${ARGS}\" }\n\
         [component.cgi]\nsource = \"wagi.wasm\"\nenvironment = { MODE = \"cgi\", PATH_INFO = \"forged\" }\n",
    );
    let served = serve(application(case, &text, &["wagi"], |_| {}));
    let response = within(served.pid, || {
        request(
            served.address,
            "POST",
            "/cgi/x?a=1&b=2",
            &["x-from: test"],
            b"input",
        )
    });
    let response = response.expect("an answer");
    assert_eq!((response.status, response.field("x-own")), (202, Some("wagi")));
    let text = response.text();
    let parts: Vec<&str> = text.split('\0').collect();
    assert_eq!(parts[..4], ["/cgi/x", "own", "a=1", "b=2"]);
    assert_eq!(parts.last(), Some(&"input"));
    for wanted in [
        "REQUEST_METHOD=POST",
        "QUERY_STRING=a=1&b=2",
        "PATH_INFO=/x",
        "CONTENT_LENGTH=5",
        "HTTP_X_FROM=test",
        "X_MATCHED_ROUTE=/cgi/...",
        "MODE=cgi",
    ] {
        assert!(parts.contains(&wanted), "{wanted}: {parts:?}");
    }
    assert!(!text.contains("forged"), "{text}");
    served.stop();
}

fn spin_a_trap_names_its_component(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    assert_eq!(shop.says("/trap").0, 500);
    assert_eq!(shop.says("/env"), (200, "MODE=site\n".to_owned()));
    let output = shop.stop();
    assert!(output.stderr.contains("component `site` trapped: "), "{output}");
}

/// Each of them right, the calls between components too.
fn spin_a_hundred_at_once(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let asked = [
        ("/env", "MODE=site\n"),
        ("/robots.txt", "Disallow: /"),
        ("/file?path=/assets/a.css", "a"),
        ("/out?url=http://store.spin.internal/env", "MODE=store\n"),
    ];
    let address = shop.address;
    let wrong: Vec<String> = within(shop.pid, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..100)
                .map(|number| {
                    let (path, wanted) = asked[number % asked.len()];
                    scope.spawn(move || match get(address, path) {
                        Ok(response) if response.text().ends_with(wanted) => None,
                        Ok(response) => Some(format!("{path}: {} {:?}", response.status, response.text())),
                        Err(error) => Some(format!("{path}: {error}")),
                    })
                })
                .collect();
            let ends = clients.into_iter().map(|client| client.join().expect("no panic"));
            ends.flatten().collect()
        })
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    shop.stop();
}

/// More of them than there are threads, and none that ends.
fn spin_instances_that_compute_leave_others_their_turns(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let address = shop.address;
    let before = shop.processor_time();
    let computing: Vec<_> = within(shop.pid, || {
        (0..8).map(|_| begin(address, "/spin").expect("asked")).collect()
    });
    shop.wait_for_computing(before);
    for _ in 0..5 {
        assert_eq!(shop.says("/env"), (200, "MODE=site\n".to_owned()));
        assert_eq!(shop.says("/.well-known/spin/health").0, 200);
    }
    for mut stream in computing {
        stream.set_nonblocking(true).expect("a socket option");
        let read = stream.read(&mut [0]);
        let waits = matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock);
        assert!(waits, "it computes no more: {read:?}");
    }
    shop.container.kill("KILL").ok();
    shop.run.wait().code_is(137);
}

/// It would keep its place, which here would keep the application from its end.
fn spin_an_instance_does_not_compute_for_nobody_for_ever(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let (address, before) = (shop.address, shop.processor_time());
    let computing = within(shop.pid, || begin(address, "/spin").expect("asked"));
    shop.wait_for_computing(before);
    drop(computing);
    let output = shop.stop();
    let told = "component `site` failed: it went on computing after its client had left";
    assert!(output.stderr.contains(told), "{output}");
}

fn spin_a_part_of_it_is_run_elsewhere(case: &Case) {
    let edit = |config: &mut Value| {
        let env = config["process"]["env"].as_array_mut().expect("the environment");
        env.push(json!("SPIN_COMPONENTS_TO_RETAIN=site"));
        env.push(json!("SPIN_HTTP_LISTEN_ADDR=127.0.0.1:3000"));
    };
    let shop = serve_at(shop(case, edit), 3000);
    assert_eq!(shop.says("/env"), (200, "MODE=site\n".to_owned()));
    // Are there no more: what is left of the routes is the site's.
    assert_eq!(shop.says("/robots.txt").1, "no such path\n");
    shop.stop();
}

fn spin_exec_runs_what_it_is_told(case: &Case) {
    let shop = serve(shop(case, |_| {}));
    let output = case.call(&["exec", &shop.container.id, "/bin/echo", "native"]);
    assert_eq!(output.ok().stdout, "native\n");
    let error = case.call(&["exec", &shop.container.id, "/"]).error();
    assert!(error.contains("is a directory"), "{error}");
    shop.stop();
}

fn spin_a_store_in_a_volume_outlives_its_container(case: &Case) {
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    let text = manifest(
        "[[trigger.http]]\nroute = \"/sdk/...\"\ncomponent = \"sdk\"\n\
         [component.sdk]\nsource = \"spin-sdk-02.wasm\"\nkey_value_stores = [\"default\"]\n",
    );
    for count in 1..4 {
        let container = application(case, &text, &["spin-sdk-02"], |config| {
            let source = case.path("volume");
            add_mount(config, "/.spin", "bind", &source, &["bind", "rw"]);
        });
        let served = serve(container);
        assert_eq!(served.says("/sdk/count/visits"), (200, format!("{count}\n")));
        served.stop();
    }
    assert!(volume.join("sqlite_key_value.db").exists());
}

/// A component starts with a page of 64 KiB at least, and wants more for a large answer.
fn spin_instances_have_as_much_memory_as_is_said(case: &Case) {
    for (bytes, status) in [("1000", 503), ("100000000", 200)] {
        let edit = |config: &mut Value| {
            let env = config["process"]["env"].as_array_mut().expect("the environment");
            env.push(json!(format!("SPIN_MAX_INSTANCE_MEMORY={bytes}")));
        };
        let shop = serve(shop(case, edit));
        assert_eq!(shop.says("/env").0, status, "{bytes}");
        shop.stop();
    }
}
