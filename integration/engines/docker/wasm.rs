//! Wasm containers under Docker: images with nothing but the entry point.

use std::io::Read;

use super::*;
use crate::harness::http;
use crate::wasm::real::{many_at_once, megabyte};

pub fn tests() -> Vec<Test> {
    vec![
        test!(by_its_entry_point_alone),
        test!(component),
        test!(arguments_environment_and_directory),
        test!(exit_code),
        test!(trap),
        test!(terminal),
        test!(input),
        test!(volume),
        test!(readonly),
        test!(memory_limit),
        test!(flags),
        test!(stop),
        test!(kill),
        test!(pause),
        test!(top_and_stats),
        test!(update),
        test!(restart),
        test!(exec_of_another_guest),
        test!(exec_of_another_file),
        test!(beside_native),
        test!(annotation),
        test!(server_made_for_wasmedge),
        test!(service_of_wasi_http),
        test!(spin_application),
        test!(slight_application),
    ]
}

fn by_its_entry_point_alone(case: &Case) {
    let docker = Docker::new(case);
    assert!(
        docker
            .run(&[], "wasm-hello:test", &[])
            .ok()
            .stdout
            .starts_with("Hello from Wasm\n")
    );
}

fn component(case: &Case) {
    assert_eq!(
        Docker::new(case).run(&[], "wasm-command:test", &[]).ok().stdout,
        "Hello from a component\n"
    );
}

fn arguments_environment_and_directory(case: &Case) {
    let output = Docker::new(case)
        .run(
            &["-e", "ONE=one", "-w", "/tmp"],
            "wasm-hello:test",
            &["first", "second"],
        )
        .ok();
    for line in ["arg first", "arg second", "env ONE=one", "dir /"] {
        assert!(output.lines().contains(&line), "{line}: {output}");
    }
}

fn exit_code(case: &Case) {
    let docker = Docker::new(case);
    docker.run(&[], "wasm-exit:test", &["7"]).code_is(7);
    docker.run(&[], "wasm-exit:test", &["0"]).code_is(0);
}

fn trap(case: &Case) {
    let output = Docker::new(case).run(&[], "wasm-trap:test", &["u"]).code_is(134);
    assert!(
        output.stderr.contains("unreachable") && output.stderr.contains("wasm backtrace"),
        "{output}"
    );
}

fn terminal(case: &Case) {
    let docker = Docker::new(case);
    let (mut terminal, run) = on_a_terminal(docker.run_command(&["--rm", "-it"], "wasm-cat:test", &[]), case);
    terminal.write("typed\r");
    terminal.expect("typed\r\ntyped\r\n");
    terminal.write("\x04");
    run.wait().ok();
}

fn input(case: &Case) {
    let docker = Docker::new(case);
    let file = case.dir.join("input");
    fs::write(&file, "piped in\n").expect("the input");
    let mut command = docker.run_command(&["--rm", "-i"], "wasm-cat:test", &[]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "piped in\n");
}

fn volume(case: &Case) {
    let docker = Docker::new(case);
    let bind = format!("{}:/mnt", volume_of(case));
    assert_eq!(
        docker
            .run(&["-v", &bind], "wasm-file:test", &["/mnt/file"])
            .ok()
            .stdout,
        "in the volume\n"
    );
    docker
        .run(&["-v", &bind], "wasm-file:test", &["/mnt/new", "x"])
        .ok();
    assert_eq!(
        fs::read_to_string(case.dir.join("volume/new")).expect("the new file"),
        "x"
    );
}

fn readonly(case: &Case) {
    // 69 is WASI's number for a read-only file system, and 29 that for what has none with Wasmtime 48.
    let output = Docker::new(case).run(&["--read-only"], "wasm-file:test", &["/new", "x"]);
    assert!([29, 69].contains(&output.code()), "{output}");
}

fn memory_limit(case: &Case) {
    let output = Docker::new(case)
        .run(&["--memory", "64m"], "wasm-hog:test", &[])
        .code_is(3);
    assert_eq!(output.stdout, "refused\n");
}

/// Each flag by itself must leave a guest running.
fn flags(case: &Case) {
    let docker = Docker::new(case);
    for flags in [
        &["-u", "1000:1000"][..],
        &["--pids-limit", "20"],
        &["--cap-drop", "ALL"],
        &["--init"],
        &["--network", "none"],
        &["--network", "host"],
        &["--network", "bridge"],
        &["--security-opt", "no-new-privileges"],
        &["-p", "127.0.0.1::80"],
        &["--cpus", "0.5"],
    ] {
        let output = docker.run(flags, "wasm-hello:test", &[]);
        if flags == ["--init"] {
            // Then the entry point is docker-init, which the kernel lets execute a Wasm file or not.
            assert!(
                output.stdout.contains("Hello from Wasm") || !output.stderr.is_empty(),
                "{output}"
            );
        } else {
            assert!(output.stdout.contains("Hello from Wasm"), "{flags:?}: {output}");
        }
    }
}

fn stop(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-spin:test", &[]);
    docker.wait_for_log(&id, "spinning");
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "143");
}

fn kill(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-spin:test", &[]);
    docker.wait_for_log(&id, "spinning");
    docker.call(&["kill", &id]).ok();
    assert_eq!(docker.call(&["wait", &id]).ok().stdout, "137\n");
}

fn pause(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    docker.call(&["pause", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "paused");
    docker.call(&["unpause", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.Status}}"), "running");
}

fn top_and_stats(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    let top = docker.call(&["top", &id, "-o", "pid,args"]).ok();
    let line = top.lines().get(1).copied().unwrap_or_default();
    assert!(
        top.lines().len() == 2 && line.trim_end().ends_with(" /sleep.wasm"),
        "{top}"
    );
    let stats = docker
        .call(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &id])
        .ok();
    assert!(
        stats.stdout.starts_with("1 ") && !stats.stdout.contains(" 0B /"),
        "{stats}"
    );
}

fn update(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    docker
        .call(&[
            "update",
            "--memory",
            "256m",
            "--memory-swap",
            "256m",
            "--pids-limit",
            "40",
            "--cpus",
            "0.5",
            &id,
        ])
        .ok();
    let file = |controller, v1, v2| cgroup_file(&docker, &id, controller, v1, v2);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "268435456");
    assert_eq!(file("pids", "pids.max", "pids.max"), "40");
    assert!(file("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
}

fn restart(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    docker.call(&["restart", &id]).ok();
    eventually("it has started twice", || {
        (docker.call(&["logs", &id]).stdout.matches("sleeping").count() == 2).then_some(())
    });
}

fn exec_of_another_guest(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    assert_eq!(
        docker.call(&["exec", &id, "/sleep.wasm", "0"]).ok().stdout,
        "sleeping\n"
    );
}

/// A module that is not the image's, with an environment and a user of its own.
fn exec_of_another_file(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&[], "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
    for name in ["hello", "exit"] {
        let file = case.dir.join(format!("{name}.wasm"));
        fs::write(&file, crate::harness::guest::binary(name)).expect("a file");
        let target = format!("{id}:/{name}.wasm");
        docker.call(&["cp", file.to_str().expect("UTF-8"), &target]).ok();
    }
    let flags = ["exec", "-e", "ADDED=yes", "-u", "1000"];
    let output = docker
        .call(&[&flags[..], &[&id, "/hello.wasm", "one"]].concat())
        .ok();
    for line in ["Hello from Wasm", "arg one", "env ADDED=yes", "dir /"] {
        assert!(output.lines().contains(&line), "{line}: {output}");
    }
    docker.call(&["exec", &id, "/exit.wasm", "9"]).code_is(9);
    let missing = docker.call(&["exec", &id, "/none.wasm"]);
    assert!([126, 127].contains(&missing.code()), "{missing}");
}

fn beside_native(case: &Case) {
    let docker = Docker::new(case);
    let native = docker.start(&[], NATIVE, &["sleep", "100"]);
    let wasm = docker.start(
        &["--network", &format!("container:{native}")],
        "wasm-sleep:test",
        &[],
    );
    docker.wait_for_log(&wasm, "sleeping");
    assert_eq!(docker.inspect(&native, "{{.State.Status}}"), "running");
    assert_eq!(docker.inspect(&wasm, "{{.State.Status}}"), "running");
    docker.call(&["exec", &native, "true"]).ok();
}

fn annotation(case: &Case) {
    let docker = Docker::new(case);
    let output = docker.run(&["--annotation", "run.oci.handler=wasm"], "wasm-hello:test", &[]);
    // Docker's client or daemon before 24 knows no annotations.
    let unknown = output.stderr.contains("annotation");
    assert!(output.stdout.contains("Hello from Wasm") || unknown, "{output}");
}

/// The example of Docker's article on Wasm: `docker run -dp 8080:8080` of a server on tokio and hyper.
fn server_made_for_wasmedge(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["-p", "127.0.0.1::8080"], "wasm-hyper-echo:test", &[]);
    docker.wait_for_log(&id, "listening on port 8080");
    let address = docker.published(&id, 8080);
    let sent = megabyte();
    docker.within(|| {
        let response = http::get_eventually(address, "/");
        assert_eq!(response.text(), "Send a body to /echo with POST\n");
        let response = http::post(address, "/echo", &sent).expect("an answer");
        assert!(response.body == sent, "other bytes came back");
        many_at_once(address, "/echo");
    });
    docker.call(&["stop", "--time", "50", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "143");
}

fn service_of_wasi_http(case: &Case) {
    let docker = Docker::new(case);
    let flags = ["-p", "127.0.0.1::8080", "-e", "GREETING=hello"];
    let id = docker.start(&flags, "wasm-http-02:test", &[]);
    let address = docker.published(&id, 8080);
    let sent = megabyte();
    let stream = docker.within(|| {
        let response = http::get_eventually(address, "/");
        assert_eq!(response.text(), "Hello from WASI 0.2\n");
        let environment = http::get(address, "/env").expect("an answer").text();
        assert!(environment.contains("GREETING=hello\n"), "{environment}");
        let response = http::post(address, "/echo", &sent).expect("an answer");
        assert!(response.body == sent, "other bytes came back");
        many_at_once(address, "/echo");
        http::begin(address, "/stream?chunks=10&ms=100").expect("it accepts")
    });
    // What is under way when Docker stops the container is answered.
    let mut first = [0; 1];
    (&stream).read_exact(&mut first).expect("it has begun to answer");
    docker.call(&["stop", "--time", "50", &id]).ok();
    let response = http::finish_after(&first, stream).expect("a whole answer");
    assert_eq!(response.text().lines().last(), Some("chunk 10"));
    // Ended by itself, not killed after the time.
    assert_ne!(docker.inspect(&id, "{{.State.ExitCode}}"), "137");
}

/// An image made for Docker's own runtime of Spin applications.
fn spin_application(case: &Case) {
    let docker = Docker::new(case);
    let id = docker.start(&["-p", "80"], "spin:test", &[]);
    let address = docker.published(&id, 80);
    docker.within(|| http::get_eventually(address, "/.well-known/spin/health"));
    let asked = [
        ("/env", "MODE=front\n"),
        ("/robots.txt", "Disallow: /"),
        ("/out?url=http://store.spin.internal/env", "MODE=store\n"),
    ];
    let wrong: Vec<String> = docker.within(|| {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..100)
                .map(|number| {
                    let (path, wanted) = asked[number % asked.len()];
                    scope.spawn(move || match http::get(address, path) {
                        Ok(response) if response.text().ends_with(wanted) => None,
                        other => Some(format!("{path}: {other:?}")),
                    })
                })
                .collect();
            let ends = clients.into_iter().map(|client| client.join().expect("no panic"));
            ends.flatten().collect()
        })
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    let denied = docker.within(|| http::get(address, "/out?url=http://one.test/"));
    assert!(denied.expect("an answer").text().contains("HttpRequestDenied"));
    docker.call(&["stop", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "0");
}

/// What it stores in a volume is there for the next container.
fn slight_application(case: &Case) {
    let docker = Docker::new(case);
    let volume = format!("{}:/tmp", case.path("volume"));
    let flags = ["-p", "3000", "-e", "GREETING=hello", "-v", &volume];
    let ask = |address, method, path, body: &[u8]| {
        let asked = docker.within(|| http::request(address, method, path, &[], body));
        let response = asked.expect("an answer");
        (response.status, response.text())
    };
    let start = || {
        let id = docker.start(&flags, "slight:test", &[]);
        let address = docker.published(&id, 3000);
        docker.within(|| http::get_eventually(address, "/echo/ready"));
        (id, address)
    };
    let (id, address) = start();
    assert_eq!(ask(address, "PUT", "/kv/files/kept", b"value").0, 201);
    let greeting = ask(address, "GET", "/config/any/GREETING", b"");
    assert_eq!(greeting, (200, "hello".to_owned()));
    docker.call(&["stop", &id]).ok();
    assert_eq!(docker.inspect(&id, "{{.State.ExitCode}}"), "0");
    let (id, address) = start();
    assert_eq!(
        ask(address, "GET", "/kv/files/kept", b""),
        (200, "value".to_owned())
    );
    docker.call(&["stop", &id]).ok();
}
