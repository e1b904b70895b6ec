//! What components of Spin applications keep, and the servers that they talk to.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::databases::self_signed;
use super::*;
use crate::harness::facts::Need;
use crate::harness::http::{get_eventually, request};
use crate::harness::installed::find_program;
use crate::harness::network::within;

pub fn tests() -> Vec<Test> {
    vec![
        test!(stores_are_kept_in_a_volume),
        test!(components_have_what_they_were_granted),
        test!(stores_without_a_place_are_refused),
        test!(roots_of_what_is_shared_are_those_of_all).needs(Need::OpenSsl),
        test!(redis_is_a_server_and_a_store).needs(Need::RedisServer),
    ]
}

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "stores"
[variables]
word = { default = "by default" }
[[trigger.http]]
route = "/..."
component = "a"
[component.a]
source = "guest.wasm"
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["redis://127.0.0.1:6379"]
[component.a.variables]
said = "{{ word }}!"
"#;

/// An application that answers.
struct Served<'case> {
    container: Container<'case>,
    run: Running,
    pid: i32,
}

/// Of an older SDK and of the current one, whose interfaces are others.
const GUESTS: [&str; 2] = ["spin-stores-02", "spin-sdk-03"];

fn application<'case>(case: &'case Case, guest: &str, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.container_with(&["/"], edit);
    container.write("spin.toml", MANIFEST, 0o644);
    container.write("guest.wasm", guest::binary(guest), 0o644);
    container
}

#[track_caller]
fn serve(container: Container<'_>) -> Served<'_> {
    let case = container.case;
    let run = case.start(container.command("run", &[]));
    let pid = eventually("the application is running", || {
        let state = case.call(&["state", &container.id]);
        (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
    });
    within(pid, || get_eventually(address(), "/.well-known/spin/health"));
    Served { container, run, pid }
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 80).into()
}

impl Served<'_> {
    /// Status and text of what it answers.
    #[track_caller]
    fn asked(&self, path: &str, server: &str, body: &str) -> (u16, String) {
        let field = format!("x-address: {server}");
        let asked = || request(address(), "POST", path, &[&field], body.as_bytes());
        let response = within(self.pid, asked).expect("an answer");
        (response.status, response.text())
    }

    #[track_caller]
    fn says(&self, path: &str, server: &str, body: &str, expected: &str) {
        assert_eq!(
            self.asked(path, server, body),
            (200, expected.to_owned()),
            "{path} {body}"
        );
    }

    #[track_caller]
    fn fails(&self, path: &str, server: &str, body: &str, why: &str) {
        let (status, text) = self.asked(path, server, body);
        assert!(
            status == 500 && text.contains(why),
            "{path} {body}: {status} {text}"
        );
    }

    fn stop(self) -> Output {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(0)
    }
}

/// By components of both, in turns.
fn stores_are_kept_in_a_volume(case: &Case) {
    let volume = case.path("volume");
    fs::create_dir(&volume).expect("made");
    let serve = |guest| {
        serve(application(case, guest, |config| {
            add_mount(config, "/.spin", "bind", &volume, &["bind"]);
        }))
    };
    let first = serve("spin-stores-02");
    first.says("/set", "default", "key=value", "");
    first.says("/increment", "default", "number", "1");
    first.says("/increment", "default", "number", "2");
    first.says("/sqlite", "default", "CREATE TABLE t (a)", "");
    first.says("/sqlite", "default", "INSERT INTO t VALUES (7)", "");
    first.stop();
    let second = serve("spin-sdk-03");
    second.says("/get", "default", "key", "value");
    second.says("/exists", "default", "key", "true");
    second.says("/keys", "default", "", "key\nnumber");
    second.says("/increment", "default", "number", "3");
    second.says(
        "/sqlite",
        "default",
        "SELECT a FROM t",
        "RowResult { values: [Value::Integer(7)] }\n",
    );
    second.says("/changes", "default", "INSERT INTO t VALUES (8)", "1 2\n");
    second.says("/delete", "default", "key", "");
    second.fails("/get", "default", "key", "there is none");
    second.says("/set", "default", "key=other", "");
    second.stop();
    let third = serve("spin-stores-02");
    third.says("/get", "default", "key", "other");
    third.says("/increment", "default", "number", "4");
    third.says(
        "/old-sqlite",
        "default",
        "SELECT a FROM t",
        "RowResult { values: [Value::Integer(7)] }\nRowResult { values: [Value::Integer(8)] }\n",
    );
    third.stop();
}

fn components_have_what_they_were_granted(case: &Case) {
    for guest in GUESTS {
        granted(case, guest);
    }
}

fn granted(case: &Case, guest: &str) {
    let served = serve(application(case, guest, |config| {
        config["process"]["env"] = json!(["WORD=from the container"]);
    }));
    served.says(
        "/variables",
        "default",
        "",
        "(\"said\", \"from the container!\")\n",
    );
    served.fails("/get", "other", "key", "AccessDenied");
    served.fails("/sqlite", "other", "SELECT 1", "AccessDenied");
    served.fails(
        "/sqlite",
        "default",
        "ATTACH '/elsewhere' || '' AS other",
        "authoriz",
    );
    for (path, server) in [
        ("/postgres", "postgres://u@127.0.0.1/d"),
        ("/mysql", "mysql://u@127.0.0.1/d"),
        ("/mqtt", "mqtt://127.0.0.1?client_id=c"),
    ] {
        served.fails(path, server, "a=b", "is not permitted");
    }
    if guest == "spin-stores-02" {
        served.fails(
            "/old-postgres",
            "host=127.0.0.1 user=u",
            "a=b",
            "is not permitted",
        );
    }
    served.fails("/redis", "redis://127.0.0.2:6379", "PING", "InvalidAddress");
    let output = served.stop();
    let told = "component a: redis://127.0.0.2:6379 is not among its allowed_outbound_hosts";
    assert!(output.stderr.contains(told), "{output}");
}

fn stores_without_a_place_are_refused(case: &Case) {
    let container = application(case, "spin-stores-02", |_| {});
    let manifest = MANIFEST.replace(
        "key_value_stores = [\"default\"]",
        "key_value_stores = [\"cache\"]",
    );
    container.write("spin.toml", &manifest, 0o644);
    let error = container.run().error();
    assert!(error.contains("[key_value_store.cache]"), "{error}");
    container.write(
        "runtime-config.toml",
        "[key_value_store.cache]\ntype = \"azure_cosmos\"",
        0o644,
    );
    let error = container.run().error();
    assert!(error.contains("key_value_store.cache.type"), "{error}");
}

/// A connection that components share is not one by roots that were named for some of them.
fn roots_of_what_is_shared_are_those_of_all(case: &Case) {
    let container = application(case, "spin-stores-02", |_| {});
    let mut openssl = self_signed("root");
    openssl.args(["-keyout", "/dev/null"]);
    let output = openssl.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    container.write("root.pem", &output.stdout, 0o644);
    let second =
        "[[trigger.http]]\nroute = \"/b\"\ncomponent = \"b\"\n[component.b]\nsource = \"guest.wasm\"\n";
    let listeners = ["a", "b"].map(|id| {
        format!(
            "[[trigger.redis]]\naddress = \"rediss://server.test\"\nchannel = \"c\"\ncomponent = \"{id}\"\n"
        )
    });
    let store = "[key_value_store.default]\ntype = \"redis\"\nurl = \"rediss://server.test\"\n";
    let shared = format!("{second}key_value_stores = [\"default\"]\n");
    for (more, config, ids, told) in [
        (
            "",
            "",
            "\"a\", \"other\"",
            "client_tls[0].component_ids: there is no component `other` in /spin.toml",
        ),
        (
            &shared,
            store,
            "\"a\"",
            "key_value_store.default.url: components a and b share a connection to server.test, and client_tls",
        ),
        (
            &format!("{second}{}", listeners.concat()),
            "",
            "\"b\"",
            "trigger.redis[0].address: components a and b share a connection to server.test, and client_tls",
        ),
    ] {
        container.write("spin.toml", format!("{MANIFEST}{more}"), 0o644);
        let tls = format!(
            "[[client_tls]]\ncomponent_ids = [{ids}]\nhosts = [\"server.test\"]\nca_roots_file = \"root.pem\"\n"
        );
        container.write("runtime-config.toml", format!("{config}{tls}"), 0o644);
        let error = container.run().error();
        assert!(error.contains(told), "{told}: {error}");
    }
}

/// Ends with the test.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis_is_a_server_and_a_store(case: &Case) {
    for guest in GUESTS {
        server_and_store(case, guest);
    }
}

fn server_and_store(case: &Case, guest: &str) {
    let container = application(case, guest, |_| {});
    let config = "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:6379/1\"";
    container.write("runtime-config.toml", config, 0o644);
    let served = serve(container);
    let program = find_program("redis-server").expect("it is needed");
    let directory = case.path("redis");
    fs::create_dir_all(&directory).expect("made");
    let _redis = within(served.pid, || {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir", &directory]);
        Redis(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("it starts"),
        )
    });
    let server = "redis://127.0.0.1:6379/1";
    eventually("redis answers", || {
        (served.asked("/redis", server, "PING").0 == 200).then_some(())
    });
    served.says("/redis", server, "SET one 1", "RedisResult::Status(\"OK\")\n");
    served.says("/get", "default", "one", "1");
    served.says("/set", "default", "two=zwei", "");
    served.says("/keys", "default", "", "one\ntwo");
    served.says(
        "/redis",
        server,
        "GET two",
        "RedisResult::Binary([122, 119, 101, 105])\n",
    );
    served.stop();
}
