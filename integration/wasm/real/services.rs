//! Services of `wasi:http`, of WASI 0.2 and 0.3.

use std::io::Read;

use super::*;
use crate::harness::command::wait_for_exit;

pub fn tests() -> Vec<Test> {
    vec![
        test!(service_of_wasi_02),
        test!(service_of_wasi_03),
        test!(services_ask_others),
    ]
}

fn service_of_wasi_02(case: &Case) {
    let (container, run) = service(case, "http-02", "Hello from WASI 0.2\n");
    answers_by_path(&container);
    let passwd = container.read("etc/passwd");
    within(container.pid(), || {
        let file = http::get(local(8080), "/file?path=/etc/passwd").expect("an answer");
        assert_eq!(file.text(), passwd);
        let arguments = http::get(local(8080), "/args").expect("an answer");
        assert_eq!(arguments.text(), "/http-02.wasm\n");
        let logged = http::get(local(8080), "/log?text=from-the-handler").expect("an answer");
        assert_eq!(logged.text(), "logged\n");
        // A trap is the end of its request alone.
        for path in ["/trap", "/silent"] {
            let response = http::get(local(8080), path).expect("an answer");
            assert_eq!(response.status, 500, "{path}");
        }
        http::get(local(8080), "/late-trap").expect_err("the body does not end");
        assert_eq!(
            http::get(local(8080), "/status?code=418")
                .expect("an answer")
                .status,
            418
        );
    });
    stops_in_time(&container, &run);
    let output = run.wait();
    assert!(output.lines().contains(&"from-the-handler"), "{output}");
}

fn service_of_wasi_03(case: &Case) {
    let (container, run) = service(case, "http-03", "Hello from WASI 0.3\n");
    answers_by_path(&container);
    within(container.pid(), || {
        assert_eq!(http::get(local(8080), "/trap").expect("an answer").status, 500);
        assert_eq!(
            http::get(local(8080), "/status?code=418")
                .expect("an answer")
                .status,
            418
        );
    });
    stops_in_time(&container, &run);
    run.wait();
}

/// Starts a service of `wasi:http`, which says nothing when it is ready, and waits until it greets.
fn service<'case>(case: &'case Case, name: &str, greeting: &str) -> (Container<'case>, Running) {
    let container = guest_with(case, name, &[], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=a=b c"]);
    });
    let run = case.start(container.command("run", &[]));
    let pid = eventually("the container is running", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
    });
    let response = within(pid, || http::get_eventually(local(8080), "/"));
    assert_eq!((response.status, response.text().as_str()), (200, greeting));
    (container, run)
}

/// The paths that the services of both versions have.
fn answers_by_path(container: &Container<'_>) {
    let sent = megabyte();
    within(container.pid(), || {
        let get = |path: &str| http::get(local(8080), path).expect("an answer");
        let response = http::post(local(8080), "/echo", &sent).expect("an answer");
        assert_eq!((response.status, response.body.len()), (200, sent.len()));
        assert!(response.body == sent, "other bytes came back");
        let request = http::request(local(8080), "PUT", "/request?a=b", &["x-own: value"], b"body");
        let text = request.expect("an answer").text();
        for line in [
            "path /request?a=b",
            "authority 127.0.0.1:8080",
            "field x-own: value",
        ] {
            assert!(text.lines().any(|own| own == line), "{line:?}: {text}");
        }
        assert!(text.starts_with("method Method::Put\n"), "{text}");
        assert_eq!(
            get("/stream?chunks=3&ms=20").text(),
            "chunk 1\nchunk 2\nchunk 3\n"
        );
        assert_eq!(get("/big?bytes=3000000").body.len(), 3_000_000);
        let env = get("/env").text();
        assert!(env.starts_with("ONE=1\nTWO=a=b c\n"), "{env}");
        assert_eq!(get("/nothing").status, 404);
        assert_eq!(get("/fail").status, 500);
        assert_eq!(get("/sleep?ms=10").status, 200);
        let count = get("/count").text();
        assert!(
            count.trim().parse::<u32>().is_ok_and(|count| count > 0),
            "{count}"
        );
        many_at_once(local(8080), "/echo");
    });
}

/// A request that is under way when the service is told to stop is answered, and then the service ends.
fn stops_in_time(container: &Container<'_>, run: &Running) {
    let stream = within(container.pid(), || {
        http::begin(local(8080), "/stream?chunks=10&ms=100").expect("it accepts")
    });
    let mut first = [0; 1];
    (&stream).read_exact(&mut first).expect("it has begun to answer");
    container.kill("TERM").ok();
    let response = http::finish_after(&first, stream).expect("a whole answer");
    assert_eq!(response.text().lines().last(), Some("chunk 10"));
    assert!(wait_for_exit(run.pid(), LIMIT), "it still runs");
}

/// From one container to another that shares its network: the WASI 0.3 service asks the 0.2 one, and that a guest
/// made for WasmEdge.
fn services_ask_others(case: &Case) {
    let server = Server::start(case, "hyper-echo", &[], &["PORT=8090"], "listening on port 8090");
    let pid = server.container.pid();
    let mut runs = Vec::new();
    let chain = [
        ("http-02", 8091, 8090, "Send a body to /echo with POST"),
        ("http-03", 8092, 8091, "Hello from WASI 0.2"),
    ];
    for (name, port, target, expected) in chain {
        let container = guest_with(case, name, &[], |config| {
            set_namespace(config, "network", Some(&format!("/proc/{pid}/ns/net")));
            let address = format!("WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:{port}");
            config["process"]["env"] = json!([address]);
        });
        runs.push((case.start(container.command("run", &[])), container));
        within(pid, || {
            http::get_eventually(local(port), "/");
            let path = format!("/out?url=http://127.0.0.1:{target}/");
            let text = http::get(local(port), &path).expect("an answer").text();
            assert_eq!(text, format!("200\n{expected}\n"));
            let refused = http::get(local(port), "/out?url=http://127.0.0.1:9/").expect("an answer");
            assert_eq!(refused.status, 502, "{}", refused.text());
        });
    }
    for (run, container) in runs {
        container.kill("KILL").ok();
        run.wait().code_is(137);
    }
    server.stop();
}
