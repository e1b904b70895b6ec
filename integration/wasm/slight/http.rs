//! The server, and what handlers are given beside stores.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(slight_routes_lead_to_handlers),
        test!(slight_any_origin_may_ask),
        test!(slight_a_handler_that_fails_ends_nothing_else),
        test!(slight_only_on_server_init_starts_a_server),
        test!(slight_configs_are_the_environment),
        test!(slight_requests_are_sent),
        test!(slight_a_hundred_at_once),
    ]
}

fn serve_all(case: &Case) -> Served<'_> {
    serve(application(
        case,
        &slightfile(&filesystem()),
        "slight",
        |config| {
            let env = config["process"]["env"].as_array_mut().expect("the environment");
            env.push(json!("GREETING=hello"));
        },
    ))
}

fn slight_routes_lead_to_handlers(case: &Case) {
    let served = serve_all(case);
    // The fields host and connection.
    assert_eq!(served.get("/echo/ann?a=b"), "/echo/ann?a=b\n00\nann\n02\n");
    // And content-length.
    let (status, text) = served.says("POST", "/echo/a%20b/", "body");
    assert_eq!((status, text.as_str()), (200, "/echo/a%20b/\n01\na b\n03\nbody"));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/echo"),
        ("GET", "/echo/a/b"),
        ("DELETE", "/echo/a"),
        ("PUT", "/echo/a"),
    ] {
        assert_eq!(served.says(method, path, "").0, 404, "{method} {path}");
    }
    let output = served.stop();
    assert_eq!(output.stdout, "serving\n");
    assert_eq!(output.stderr, "");
}

fn slight_any_origin_may_ask(case: &Case) {
    let served = serve_all(case);
    for (method, path, status) in [
        ("GET", "/echo/a", 200),
        ("GET", "/none", 404),
        ("GET", "/trap", 500),
        ("OPTIONS", "/echo/a", 204),
    ] {
        let response = served.ask(method, path, b"");
        assert_eq!(response.status, status, "{method} {path}");
        for field in ["origin", "methods", "headers"] {
            let field = format!("access-control-allow-{field}");
            assert_eq!(response.field(&field), Some("*"), "{method} {path}: {field}");
        }
    }
    served.stop();
}

fn slight_a_handler_that_fails_ends_nothing_else(case: &Case) {
    let served = serve_all(case);
    assert_eq!(served.says("GET", "/fail", "").0, 500);
    assert_eq!(served.says("GET", "/trap", "").0, 500);
    // A fresh instance puts its text together from the beginning.
    for _ in 0..3 {
        assert_eq!(served.get("/echo/a"), "/echo/a\n00\na\n02\n");
    }
    let stderr = served.stop().stderr;
    assert!(
        stderr.contains("handler `handle_fail`") && stderr.contains("it cannot be done"),
        "{stderr}"
    );
    assert!(
        stderr.contains("handler `handle_trap`") && stderr.contains("unreachable"),
        "{stderr}"
    );
}

fn slight_only_on_server_init_starts_a_server(case: &Case) {
    let served = serve_all(case);
    let (status, text) = served.says("GET", "/serve", "");
    assert_eq!(
        (status, text.as_str()),
        (554, "a server is started by on-server-init alone")
    );
    served.stop();
    // Where it cannot be started the application ends, and says why.
    let container = application(case, &slightfile(&filesystem()), "slight", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    container.write(
        "app.wasm",
        wat::parse_str(guest::text("slight").replace("\"0.0.0.0:3000\"", "\"10.9.9.9:300\"")).expect("text"),
        0o644,
    );
    let output = container.run().code_is(1);
    assert!(
        output.stderr.contains("on-server-init has failed") && output.stderr.contains("10.9.9.9:300"),
        "{}",
        output.stderr
    );
}

fn slight_configs_are_the_environment(case: &Case) {
    let served = serve_all(case);
    assert_eq!(served.get("/config/any/GREETING"), "hello");
    // not-found and permission-denied.
    assert_eq!(served.says("GET", "/config/any/NONE", "").0, 550);
    assert_eq!(served.says("PUT", "/config/any/GREETING", "bye").0, 552);
    assert_eq!(served.get("/config/any/GREETING"), "hello");
    served.stop();
}

fn slight_requests_are_sent(case: &Case) {
    let served = serve_all(case);
    let fetched = served.says("POST", "/fetch", "http://127.0.0.1:3000/echo/inner");
    // The field host alone.
    assert_eq!(fetched, (200, "/echo/inner\n00\ninner\n01\n".to_owned()));
    assert_eq!(served.says("POST", "/fetch", "http://127.0.0.1:3000/none").0, 404);
    // invalid-url and unexpected-error.
    assert_eq!(served.says("POST", "/fetch", "127.0.0.1").0, 550);
    assert_eq!(served.says("POST", "/fetch", "http://127.0.0.1:1/").0, 554);
    served.stop();
}

fn slight_a_hundred_at_once(case: &Case) {
    let served = serve_all(case);
    let wrong: Vec<String> = within(served.pid, || {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..100)
                .map(|number| {
                    scope.spawn(move || {
                        let path = format!("/echo/n{number}");
                        match get(address(), &path) {
                            Ok(response) if response.text() == format!("{path}\n00\nn{number}\n02\n") => None,
                            other => Some(format!("{path}: {other:?}")),
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
