//! What clients and guests say to each other.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(http_answers),
        test!(http_answers_before_its_code_is_optimised),
        test!(http_keep_alive_with_fresh_instances),
        test!(http_instances_of_03_are_used_again),
        test!(http2_without_negotiation),
        test!(http_bodies_stream_both_ways),
        test!(http_a_large_body_comes_back),
        test!(http_a_trap_costs_one_answer),
        test!(http_bad_requests),
        test!(http_address_of_the_environment),
        test!(http_bad_address),
        test!(http_core_dump_is_refused_at_create),
        test!(http_address_in_use),
        test!(http_access_log),
        test!(http_outgoing_requests_of_a_service),
        test!(http_outgoing_request_of_a_command),
    ]
}

fn http_answers(case: &Case) {
    let service = serve(case, "http", |_| {});
    assert_eq!(service.get("/"), (200, "request 1 of this instance\n".to_owned()));
    let output = service.stop();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
}

fn http_answers_before_its_code_is_optimised(case: &Case) {
    let serve_large = |tier: &str| {
        let container = guest_with(case, "http", &[], |_| {});
        container.write("http.wasm", guest::large("http"), 0o644);
        let mut command = container.command("run", &[]);
        command.env("WRUN_HOLD", "background:entered");
        let service = serve_by(container, command);
        assert_eq!(service.get("/"), (200, "request 1 of this instance\n".to_owned()));
        assert_eq!(crate::wasm::tiers::tiers(case), [tier]);
        service.stop();
        case.cache_is_quiet();
    };
    serve_large("baseline");
    serve_large("optimized");
}

fn http_keep_alive_with_fresh_instances(case: &Case) {
    let service = serve(case, "http", |_| {});
    let mut client = Client::connect(&service);
    for _ in 0..3 {
        client.ask("/");
        assert_eq!(client.status(), "HTTP/1.1 200 OK");
        assert_eq!(client.chunk(), "request 1 of this instance\n");
        assert_eq!(client.chunk(), "");
    }
    service.stop();
}

fn http_instances_of_03_are_used_again(case: &Case) {
    let service = serve(case, "http-03", |_| {});
    let counts: Vec<u32> = (0..5)
        .map(|_| service.get("/count").1.trim().parse().expect("a number"))
        .collect();
    assert!(counts.is_sorted() && counts[4] >= 5, "{counts:?}");
    service.stop();
}

fn http2_without_negotiation(case: &Case) {
    let service = serve(case, "http", |_| {});
    let mut client = Client::connect(&service);
    client.begin_http2();
    // Of the static table: GET, http and the path `/`; then `:authority: here` in full.
    let head = b"\x82\x86\x84\x41\x04here";
    for stream in [1, 3] {
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, head));
    }
    let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
    let mut ended = 0;
    while ended < 2 {
        let frame = client.frame();
        match frame.kind {
            HEADERS => assert_eq!(frame.payload[0], OK),
            DATA => bodies.entry(frame.stream).or_default().extend(frame.payload),
            _ => continue,
        }
        ended += usize::from(frame.flags & END_STREAM != 0);
    }
    let body = b"request 1 of this instance\n".to_vec();
    assert_eq!(bodies, BTreeMap::from([(1, body.clone()), (3, body)]));
    service.stop();
}

fn http_bodies_stream_both_ways(case: &Case) {
    let service = serve(case, "http", |_| {});
    let mut client = Client::connect(&service);
    client.send("POST /echo HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(client.status(), "HTTP/1.1 200 OK");
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        // Back before the next is sent.
        assert_eq!(client.chunk(), piece);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), "");
    service.stop();
}

fn http_a_large_body_comes_back(case: &Case) {
    let service = serve(case, "http", |_| {});
    let body: Vec<u8> = (0..1 << 20).map(|number: u32| number as u8).collect();
    let response = service
        .within(|| post(local(8080), "/echo", &body))
        .expect("an answer");
    assert_eq!(response.status, 200);
    assert!(response.body == body, "{} bytes came back", response.body.len());
    service.stop();
}

fn http_a_trap_costs_one_answer(case: &Case) {
    let service = serve(case, "http", |_| {});
    let (status, _) = service.get("/trap");
    assert_eq!(status, 500);
    let (status, _) = service.get("/none");
    assert_eq!(status, 500);
    assert_eq!(service.get("/").0, 200);
    let output = service.stop();
    let told: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("wrun: "))
        .collect();
    assert_eq!(told.len(), 2, "{output}");
    assert!(
        told[0].contains("the guest trapped") && output.stderr.contains("unreachable"),
        "{output}"
    );
    assert!(told[1].contains("response-outparam"), "{output}");
}

fn http_bad_requests(case: &Case) {
    let service = serve(case, "http", |_| {});
    let answer_to = |head: &str| {
        let mut client = Client::connect(&service);
        client.send(head);
        client.status()
    };
    assert_eq!(answer_to("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(answer_to("nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let long = format!(
        "GET / HTTP/1.1\r\nhost: here\r\nlong: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    // Refused before it is read to its end, so the connection may be reset before the answer is seen.
    let large = service.within(|| connect(local(8080))).expect("a connection");
    let mut answer = Vec::new();
    let _ = (&large).write_all(long.as_bytes());
    let _ = (&large).read_to_end(&mut answer);
    let refused = b"HTTP/1.1 431 ";
    assert!(
        answer.is_empty() || answer.starts_with(refused),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(service.get("/").0, 200);
    assert_eq!(service.stop().stderr, "");
}

fn http_address_of_the_environment(case: &Case) {
    let container = guest_with(case, "http", &[], |config| {
        config["process"]["env"] = json!([format!("{ADDRESS}=[::1]:81")]);
    });
    container.run_detached();
    let address: SocketAddr = "[::1]:81".parse().expect("an address");
    let pid = container.pid();
    assert_eq!(within(pid, || get_eventually(address, "/")).status, 200);
    assert!(within(pid, || get(local(8080), "/")).is_err());
    container.kill("KILL").ok();
    container.wait_for("stopped");
}

fn http_bad_address(case: &Case) {
    for wrong in ["8080", "localhost:8080", "0.0.0.0:99999"] {
        let container = guest_with(case, "http", &[], |config| {
            config["process"]["env"] = json!([format!("{ADDRESS}={wrong}")]);
        });
        let output = container.run().code_is(1);
        assert!(
            output.stderr.contains(ADDRESS) && output.stderr.contains(wrong),
            "{output}"
        );
    }
}

fn http_core_dump_is_refused_at_create(case: &Case) {
    let key = "org.wrun.wasm.core-dump";
    let container = guest_with(case, "http", &[], |config| {
        config["annotations"][key] = json!("/tmp/core");
    });
    let output = container.try_create(&[]).code_is(1);
    assert!(output.stderr.contains(key), "{output}");
}

fn http_address_in_use(case: &Case) {
    let service = serve(case, "http", |_| {});
    let output = service.container.exec(&["/http.wasm"]).code_is(1);
    assert!(
        output.stderr.contains("cannot listen on 0.0.0.0:8080"),
        "{output}"
    );
    service.stop();
}

fn http_access_log(case: &Case) {
    let service = serve(case, "http", |config| {
        config["annotations"]["org.wrun.wasm.http.access-log"] = json!("true");
    });
    service.get("/a?b=%22c%22");
    service.get("/trap");
    let output = service.stop();
    let lines = output.lines();
    assert_eq!(lines.len(), 3, "{output}");
    for line in &lines {
        assert!(
            line.starts_with("127.0.0.1 - - [") && line.contains(" +0000] \"GET /"),
            "{output}"
        );
    }
    assert!(
        lines[1].ends_with("\"GET /a?b=%22c%22 HTTP/1.1\" 200 27"),
        "{output}"
    );
    assert!(lines[2].contains("\"GET /trap HTTP/1.1\" 500 "), "{output}");
}

fn http_outgoing_requests_of_a_service(case: &Case) {
    let service = serve(case, "http-02", |_| {});
    let (status, text) = service.get("/out?url=http://127.0.0.1:8080/count");
    assert_eq!((status, text.as_str()), (200, "200\n1\n"));
    let (status, text) = service.get("/out?url=http://127.0.0.1:1/");
    assert_eq!(status, 502, "{text}");
    // What answers does not speak TLS.
    let (status, text) = service.get("/out?url=https://127.0.0.1:8080/");
    assert_eq!(status, 502, "{text}");
    assert_eq!(service.stop().stderr, "");
}

fn http_outgoing_request_of_a_command(case: &Case) {
    let service = serve(case, "http", |_| {});
    let network = format!("/proc/{}/ns/net", service.pid);
    let ask = |authority: &str| {
        let beside = guest_with(case, "http-client", &[authority], |config| {
            set_namespace(config, "network", Some(&network));
        });
        beside.run()
    };
    ask("127.0.0.1:8080").code_is(0);
    ask("localhost:1").code_is(1);
    service.stop();
}
