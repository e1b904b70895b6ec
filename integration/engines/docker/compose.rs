//! Docker Compose: services that find each other by name, native ones and Wasm ones.

use serde_json::{Value, json};

use super::*;
use crate::harness::docker::compose::Compose;

pub fn tests() -> Vec<Test> {
    vec![
        test!(compose_services).needs(Need::Compose),
        test!(compose_configs).needs(Need::ComposePlugin),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![
        test!(compose_of_native_and_wasm).needs(Need::Compose),
        test!(compose_configs_of_a_guest).needs(Need::ComposePlugin),
    ]
}

/// What a project has beside its native service `native`.
struct Parts {
    /// Serves HTTP on port 8080, with the environment at /env.
    service: Value,
    /// Prints the address of `native`, what comes back for `ping`, and the secret `token`.
    client: Value,
    /// What `service` is asked to execute: it looks up `native`.
    lookup: &'static [&'static str],
}

/// `client` and the file of a project, by which `native` and `service` must be healthy before they are asked.
fn project(docker: &Docker, parts: &Parts) -> Value {
    fs::write(docker.case.dir.join("token"), "the token\n").expect("the secret");
    let healthy = |name: &str| json!({ name: { "condition": "service_healthy" } });
    let often = |test: Value| json!({ "test": test, "interval": "200ms", "timeout": "30s", "retries": 50 });
    let mut service = parts.service.clone();
    service["environment"] = json!({ "GREETING": "hello" });
    service["restart"] = json!("on-failure:3");
    service["healthcheck"] = often(service["healthcheck"].clone());
    service["depends_on"] = healthy("native");
    let mut client = parts.client.clone();
    client["secrets"] = json!(["token"]);
    client["depends_on"] = healthy("native");
    let script = "echo started; nc -ll -p 7000 -e cat & \
                  until echo x | nc 127.0.0.1 7000; do :; done; touch /tmp/ready; wait";
    let mut services = json!({
        "native": {
            "image": NATIVE,
            "command": ["sh", "-c", script],
            "secrets": ["token"],
            "healthcheck": often(json!(["CMD", "test", "-e", "/tmp/ready"])),
        },
        "service": service,
        "client": client,
        "asker": {
            "image": NATIVE,
            "command": ["wget", "-q", "-O", "-", "http://service:8080/env"],
            "depends_on": healthy("service"),
        },
    });
    for (_, service) in services.as_object_mut().expect("an object") {
        service["runtime"] = json!(docker.case.runtime.name);
    }
    json!({ "services": services, "secrets": { "token": { "file": docker.case.path("token") } } })
}

/// A project's whole life.
fn day(case: &Case, parts: &Parts) {
    let docker = Docker::in_place_of_runc(case);
    let compose = Compose::new(&docker, &project(&docker, parts));
    compose.call(&["up", "--detach"]).ok();
    let ids = ["native", "service", "client", "asker"].map(|name| compose.container(name));
    let [native, service, client, asker] = &ids;
    for ended in [client, asker] {
        assert_eq!(docker.call(&["wait", ended]).ok().stdout, "0\n");
    }
    let address = docker.inspect(native, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let heard = docker.call(&["logs", client]).ok().stdout;
    for text in [&address, "ping", "the token"] {
        assert!(heard.contains(text), "no {text:?} in {heard:?}");
    }
    let heard = compose.call(&["logs", "--no-color", "asker"]).ok().stdout;
    assert!(heard.contains("GREETING=hello"), "{heard}");
    for id in [native, service] {
        assert_eq!(
            docker.inspect(id, "{{.State.Status}} {{.State.Health.Status}}"),
            "running healthy"
        );
    }
    let token = compose.call(&["exec", "-T", "native", "cat", "/run/secrets/token"]);
    assert_eq!(token.ok().stdout, "the token\n");
    let found = compose
        .call(&[&["exec", "-T", "service"], parts.lookup].concat())
        .ok();
    assert!(found.stdout.contains(&address), "{found}");
    compose
        .call(&["exec", "-T", "native", "sh", "-c", "exit 5"])
        .code_is(5);
    compose.call(&["restart", "--timeout", "0"]).ok();
    for id in [native, service] {
        eventually("it is healthy again", || {
            let status = docker.inspect(id, "{{.State.Status}} {{.State.Health.Status}}");
            (status == "running healthy").then_some(())
        });
    }
    let log = compose.call(&["logs", "--no-color", "native"]).ok().stdout;
    assert_eq!(log.matches("started").count(), 2, "{log}");
    compose.call(&["down", "--timeout", "0"]).ok();
    let filter = format!("label=com.docker.compose.project={}", case.mark);
    let left = docker.call(&["ps", "--all", "--quiet", "--filter", &filter]).ok();
    assert_eq!(left.stdout, "");
    let left = docker.call(&["network", "ls", "--quiet", "--filter", &filter]);
    assert_eq!(left.ok().stdout, "");
}

fn compose_services(case: &Case) {
    let serve = "mkdir -p /www/; env >/www/env; exec httpd -f -p 8080 -h /www";
    let ask = "nslookup native; echo ping | nc native 7000; cat /run/secrets/token";
    day(
        case,
        &Parts {
            service: json!({
                "image": NATIVE,
                "command": ["sh", "-c", serve],
                "healthcheck": ["CMD-SHELL", "wget -q -O - http://127.0.0.1:8080/env"],
            }),
            client: json!({ "image": NATIVE, "command": ["sh", "-c", ask] }),
            lookup: &["nslookup", "native"],
        },
    );
}

fn compose_of_native_and_wasm(case: &Case) {
    let ask = [
        "lookup",
        "native",
        "tcp",
        "native:7000",
        "cat",
        "/run/secrets/token",
    ];
    day(
        case,
        &Parts {
            service: json!({
                "image": "wasm-service:test",
                "healthcheck": ["CMD", "/command-02.wasm", "tcp", "127.0.0.1:8080"],
            }),
            client: json!({ "image": "wasm-command-02:test", "command": ask }),
            lookup: &["/command-02.wasm", "lookup", "native"],
        },
    );
}

/// A service with a config from a file and one from the text of the project.
fn configs(case: &Case, image: &str, command: &[&str]) {
    let docker = Docker::in_place_of_runc(case);
    fs::write(case.dir.join("config"), "of a file\n").expect("the config");
    let service = json!({
        "image": image,
        "runtime": case.runtime.name,
        "command": command,
        "configs": ["plain", { "source": "inline", "target": "/etc/inline" }],
    });
    let file = json!({
        "services": { "one": service },
        "configs": {
            "plain": { "file": case.path("config") },
            "inline": { "content": "of the project\n" },
        },
    });
    let compose = Compose::new(&docker, &file);
    let output = compose.call(&["up", "--no-log-prefix"]).ok();
    for text in ["of a file\n", "of the project\n"] {
        assert!(output.stdout.contains(text), "{output}");
    }
}

fn compose_configs(case: &Case) {
    configs(case, NATIVE, &["cat", "/plain", "/etc/inline"]);
}

fn compose_configs_of_a_guest(case: &Case) {
    configs(
        case,
        "wasm-command-02:test",
        &["cat", "/plain", "cat", "/etc/inline"],
    );
}
