//! What a service takes, how much is done at once, and how it ends.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(http_stops_when_all_is_answered),
        test!(http_second_signal_ends_at_once),
        test!(http_slow_reader_costs_little),
        test!(http_growing_fails_before_the_limit),
        test!(http_code_is_shared),
        test!(http_more_connections_wait),
        test!(http2_too_many_requests_are_sent_away),
        test!(http_fuel_is_for_each_request),
        test!(http_one_thread_where_no_more_may_be),
        test!(http_threads_by_the_cpu_limit_each_confined),
    ]
}

fn http_stops_when_all_is_answered(case: &Case) {
    let service = serve(case, "http", |_| {});
    let mut idle = Client::connect(&service);
    idle.ask("/");
    idle.status();
    let mut slow = Client::connect(&service);
    slow.ask("/slow");
    assert_eq!(slow.status(), "HTTP/1.1 200 OK");
    assert_eq!(slow.chunk(), "first\n");
    service.container.kill("TERM").ok();
    service.wait_until_closed();
    assert_eq!(slow.chunk(), "last\n");
    assert_eq!(slow.chunk(), "");
    service.run.wait().code_is(0);
}

fn http_second_signal_ends_at_once(case: &Case) {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let service = serve(case, "http", |_| {});
        let mut endless = Client::connect(&service);
        endless.ask("/big");
        assert_eq!(endless.status(), "HTTP/1.1 200 OK");
        service.container.kill(signal).ok();
        service.wait_until_closed();
        service.container.kill(signal).ok();
        service.run.wait().code_is(128 + number);
    }
}

fn http_slow_reader_costs_little(case: &Case) {
    let service = serve(case, "http", |_| {});
    service.get("/");
    let before = service.resident();
    let mut readers: Vec<Client> = (0..20).map(|_| Client::connect(&service)).collect();
    for reader in &mut readers {
        reader.ask("/big");
        assert_eq!(reader.status(), "HTTP/1.1 200 OK");
    }
    // Others are served meanwhile, while those who do not read could fill up what is left.
    for _ in 0..20 {
        assert_eq!(service.get("/").0, 200);
    }
    let grown = service.resident().saturating_sub(before);
    assert!(grown < 20 * 600, "{grown} kB for 20 readers");
    drop(readers);
    service.stop();
}

/// A memory limit in bytes, without any swap.
fn limit_memory(bytes: u64) -> impl FnOnce(&mut Value) {
    move |config| config["linux"]["resources"]["memory"] = json!({ "limit": bytes, "swap": bytes })
}

fn http_growing_fails_before_the_limit(case: &Case) {
    let service = serve(case, "http", limit_memory(64 << 20));
    for _ in 0..3 {
        // Each takes all that is there, is told when there is no more, and gives it back.
        assert_eq!(service.get("/memory"), (200, "got memory\n".to_owned()));
    }
    service.stop();
}

/// Code that is mapped from the cache's file is in memory once for all services, and so is what their memories
/// begin with; that of a copy has no file behind it.
fn http_code_is_shared(case: &Case) {
    for user in [0, 1000] {
        let service = serve(case, "http", |config| {
            config["process"]["user"] = json!({ "uid": user, "gid": user });
        });
        let maps = fs::read_to_string(format!("/proc/{}/maps", service.pid)).expect("the service runs");
        let executable = maps.lines().filter(|line| line.contains(" r-xp "));
        let copies: Vec<&str> = executable
            .filter(|line| !line.ends_with(']') && line.split_whitespace().nth(4) == Some("0"))
            .collect();
        assert_eq!(copies, Vec::<&str>::new(), "as user {user}: {maps}");
        service.stop();
    }
}

fn http_more_connections_wait(case: &Case) {
    let service = serve(case, "http", limit_memory(32 << 20));
    // A quarter of the limit, without what the engine keeps, in pieces of 128 kB.
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(&service)).collect();
    for client in &mut clients {
        client.ask("/");
        assert_eq!(client.status(), "HTTP/1.1 200 OK");
    }
    let mut waiting = Client::connect(&service);
    waiting.ask("/");
    let stream = waiting.0.get_ref();
    let limit = stream.read_timeout().expect("its own");
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a limit");
    assert!(stream.peek(&mut [0]).is_err(), "one more than may be is served");
    stream.set_read_timeout(limit).expect("a limit");
    clients.pop();
    assert_eq!(waiting.status(), "HTTP/1.1 200 OK");
    drop((clients, waiting));
    service.stop();
}

fn http2_too_many_requests_are_sent_away(case: &Case) {
    let service = serve(case, "http", limit_memory(32 << 20));
    let mut client = Client::connect(&service);
    client.begin_http2();
    // As above, with `:path: /slow` in full.
    let head = b"\x82\x86\x44\x05/slow\x41\x04here";
    // An eighth of the limit, without what the engine keeps, in pieces of 256 kB: 15 are at work. As many wait
    // as there may be connections: 60.
    for request in 0..90 {
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 2 * request + 1, head));
    }
    let mut sent_away = 0;
    while sent_away < 90 - 15 - 60 {
        let frame = client.frame();
        if frame.kind == HEADERS && frame.payload[0] != OK {
            sent_away += 1;
        }
    }
    service.container.kill("KILL").ok();
    service.run.wait();
}

fn http_fuel_is_for_each_request(case: &Case) {
    let service = serve(case, "http-02", |config| {
        config["annotations"]["org.wrun.wasm.fuel"] = json!("10000000");
    });
    assert_eq!(service.get("/spin").0, 500);
    assert_eq!(service.get("/").0, 200);
    assert!(service.stop().stderr.contains("fuel"));
}

fn http_one_thread_where_no_more_may_be(case: &Case) {
    let service = serve(case, "http", |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 1 });
    });
    assert_eq!(service.threads(), 1);
    assert_eq!(service.get("/").0, 200);
    service.stop();
}

fn http_threads_by_the_cpu_limit_each_confined(case: &Case) {
    let service = serve(case, "http", |config| {
        config["linux"]["resources"]["cpu"] = json!({ "quota": 50_000, "period": 100_000 });
    });
    // And one that waits for signals.
    assert_eq!(service.threads(), 2);
    service.stop();
    let service = serve(case, "http", |_| {});
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let expected = if available > 1 { available + 2 } else { 2 };
    assert_eq!(service.threads(), expected);
    for task in fs::read_dir(format!("/proc/{}/task", service.pid)).expect("the service runs") {
        let status = fs::read_to_string(task.expect("a thread").path().join("status")).expect("its status");
        assert!(
            status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"),
            "{status}"
        );
    }
    service.stop();
}
