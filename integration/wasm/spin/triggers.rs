//! Triggers besides HTTP: messages of a real Redis, and programs that run once.

use super::redis::Redis;
use super::*;
use crate::harness::facts::Need;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_messages_enter_their_components).needs(Need::RedisServer),
        test!(spin_messages_come_one_after_another).needs(Need::RedisServer),
        test!(spin_a_lost_server_is_come_back_to).needs(Need::RedisServer),
        test!(spin_messages_and_requests_at_once).needs(Need::RedisServer),
        test!(spin_messages_enter_modules_of_the_first_sdks).needs(Need::RedisServer),
        test!(spin_messages_enter_components_of_the_current_sdk).needs(Need::RedisServer),
        test!(spin_servers_that_let_nobody_in_are_told).needs(Need::RedisServer),
        test!(spin_a_server_that_is_not_there_is_told),
        test!(spin_a_command_runs_once),
        test!(spin_a_command_ends_what_is_beside_it),
        test!(spin_triggers_that_are_not_run_are_told_by_create),
    ]
}

/// Waits until it has printed this.
#[track_caller]
fn prints(run: &Running, expected: &str) {
    eventually(expected, || run.stdout().contains(expected).then_some(()));
}

const MESSAGES: &str = r#"
[application.trigger.redis]
address = "redis://{{ server }}"
[variables]
server = { required = true }
channel = { default = "orders" }
[[trigger.redis]]
channel = "{{ channel }}"
component = "one"
[[trigger.redis]]
channel = "orders"
component = "two"
[[trigger.redis]]
address = "redis://localhost:6379"
channel = "other"
component = "one"
[component.one]
source = "redis.wasm"
[component.two]
source = "redis.wasm"
"#;

fn server(config: &mut Value) {
    config["process"]["env"] = json!(["SERVER=127.0.0.1:6379"]);
}

fn spin_messages_enter_their_components(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let container = redis.application(MESSAGES, &["redis"], |config| {
        server(config);
        add_mount(config, "/etc/hosts", "bind", "/etc/hosts", &["bind", "ro"]);
    });
    let run = redis.run(&container);
    redis.subscribed("orders");
    redis.subscribed("other");
    redis.publish("orders", "hello", 1);
    eventually("both are entered", || {
        (run.stdout() == "1: hello\n1: hello\n").then_some(())
    });
    redis.publish("orders", "trap", 1);
    redis.publish("other", "error", 1);
    redis.publish("other", "later", 1);
    prints(&run, "1: later\n");
    container.kill("TERM").ok();
    let output = run.wait().code_is(0);
    assert_eq!(
        output.stdout, "1: hello\n1: hello\n1: error\n1: later\n",
        "{output}"
    );
    for told in [
        "component `one` trapped",
        "component `two` trapped",
        "its handler of a message has returned an error",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
}

fn spin_messages_come_one_after_another(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let container = redis.application(ONE, &["redis"], server);
    let run = redis.run(&container);
    redis.subscribed("orders");
    let published: String = (10..90)
        .map(|number| format!("PUBLISH orders {number}\r\n"))
        .collect();
    redis.said(&published);
    let expected: String = (10..90).map(|number| format!("1: {number}\n")).collect();
    prints(&run, "1: 89\n");
    assert_eq!(run.stdout(), expected);
    container.kill("TERM").ok();
    run.wait().code_is(0);
}

fn spin_a_lost_server_is_come_back_to(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let container = redis.application(ONE, &["redis"], server);
    let run = redis.run(&container);
    redis.subscribed("orders");
    redis.stop();
    redis.start(&[]);
    redis.subscribed("orders");
    redis.publish("orders", "again", 1);
    prints(&run, "1: again\n");
    container.kill("TERM").ok();
    let output = run.wait().code_is(0);
    for told in [
        "the connection to redis://127.0.0.1:6379 is lost",
        "is there again",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
    // Also while there is none.
    let run = redis.run(&container);
    redis.subscribed("orders");
    redis.stop();
    container.kill("TERM").ok();
    run.wait().code_is(0);
}

const ONE: &str = r#"
[variables]
server = { required = true }
[[trigger.redis]]
address = "redis://{{ server }}"
channel = "orders"
component = "one"
[component.one]
source = "redis.wasm"
"#;

fn spin_messages_and_requests_at_once(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let text = format!(
        "{ONE}[component.front]\nsource = \"http-02.wasm\"\n[[trigger.http]]\nroute = \"/request\"\n\
         component = \"front\"\n"
    );
    let served = serve(redis.application(&text, &["redis", "http-02"], server));
    redis.subscribed("orders");
    let (pid, address) = (served.pid, served.address);
    std::thread::scope(|scope| {
        let ask = || get(address, "/request").is_ok_and(|response| response.status == 200);
        let asking = scope.spawn(move || within(pid, || (0..20).all(|_| ask())));
        for _ in 0..20 {
            redis.publish("orders", "hello", 1);
        }
        assert!(asking.join().expect("no panic"), "every request is answered");
    });
    eventually("all have come", || {
        (served.run.stdout().matches("1: hello\n").count() == 20).then_some(())
    });
    served.stop();
}

const OLD: &str = r#"
[[trigger.http]]
route = "/..."
component = "old"
[[trigger.redis]]
address = "redis://127.0.0.1:6379"
channel = "orders"
component = "old"
[component.old]
source = "spin-legacy.wasm"
key_value_stores = ["default"]
allowed_outbound_hosts = ["redis://127.0.0.1:6379"]
"#;

fn spin_messages_enter_modules_of_the_first_sdks(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let served = serve(redis.application(OLD, &["spin-legacy"], |_| {}));
    redis.subscribed("orders");
    let kept = |message: &str| {
        eventually("it is kept", || {
            (served.says("/get/message") == (200, message.to_owned())).then_some(())
        });
    };
    redis.publish("orders", "hello", 1);
    kept("hello");
    redis.publish("orders", "trap", 1);
    redis.publish("orders", "error", 1);
    kept("error");
    let server = "redis://127.0.0.1:6379";
    assert_eq!(served.told("/redis/key", server), (200, "kept".to_owned()));
    assert!(redis.said("GET key").contains("kept"));
    for count in ["1", "2"] {
        assert_eq!(served.told("/incr/count", server), (200, count.to_owned()));
    }
    let output = served.stop();
    assert_eq!(output.stdout, "hello\nerror\n", "{output}");
    for told in [
        "component `old` trapped",
        "its handler of a message has returned an error",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
}

/// A component that is entered with requests too, and sends messages to itself.
fn spin_messages_enter_components_of_the_current_sdk(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let text = OLD.replace("spin-legacy", "spin-sdk-03");
    let served = serve(redis.application(&text, &["spin-sdk-03"], |_| {}));
    redis.subscribed("orders");
    let kept = |messages: &str| {
        eventually("it is kept", || {
            (served.told("/get", "messages") == (200, messages.to_owned())).then_some(())
        });
    };
    redis.publish("orders", "one,", 1);
    kept("one,");
    let fields = ["x-address: redis://127.0.0.1:6379"];
    let sent = served.request("POST", "/publish", &fields, "orders=two,");
    assert_eq!((sent.status, sent.text().as_str()), (200, ""));
    kept("one,two,");
    redis.publish("orders", "three", 1);
    kept("one,two,three");
    served.stop();
}

fn spin_servers_that_let_nobody_in_are_told(case: &Case) {
    let mut redis = Redis::network(case);
    redis.start(&[]);
    let said = redis.said("CONFIG SET requirepass secret");
    assert!(said.starts_with("+OK"), "{said}");
    let container = redis.application(ONE, &["redis"], server);
    let output = container.run().code_is(1);
    let told = "redis://127.0.0.1:6379: the server refuses SUBSCRIBE: NOAUTH";
    assert!(output.stderr.contains(told), "{output}");
    let let_in = |word: &str| {
        redis.application(ONE, &["redis"], |config| {
            config["process"]["env"] = json!([format!("SERVER=:{word}@127.0.0.1:6379")]);
        })
    };
    let output = let_in("wrong").run().code_is(1);
    let told = "the server refuses AUTH: WRONGPASS";
    assert!(
        output.stderr.contains(told) && !output.stderr.contains(":wrong@"),
        "{output}"
    );
    let container = let_in("secret");
    let run = redis.run(&container);
    let published = || {
        redis
            .said("AUTH secret\r\nPUBLISH orders hello")
            .contains("\r\n:1\r\n")
    };
    eventually("it has subscribed", || published().then_some(()));
    prints(&run, "1: hello\n");
    container.kill("TERM").ok();
    run.wait().code_is(0);
}

fn spin_a_server_that_is_not_there_is_told(case: &Case) {
    let container = application(case, &manifest(ONE), &["redis"], server);
    let output = container.run().code_is(1);
    let told = "cannot connect to 127.0.0.1:6379";
    assert!(output.stderr.contains(told), "{output}");
}

/// A manifest of one program.
fn command(guest: &str) -> String {
    format!("[[trigger.command]]\ncomponent = \"job\"\n[component.job]\nsource = \"{guest}.wasm\"\n")
}

fn spin_a_command_runs_once(case: &Case) {
    let of = |guest: &str, args: &[&str]| {
        let args = [&["/"], args].concat();
        application(case, &manifest(&command(guest)), &[guest], |config| {
            config["process"]["args"] = json!(args);
        })
    };
    assert_eq!(of("command", &[]).run().ok().stdout, "Hello from a component\n");
    of("command-fail", &[]).run().code_is(1);
    of("exit", &["0"]).run().ok();
    // A component says that it failed, and no more.
    of("exit", &["7"]).run().code_is(1);
    of("trap", &[]).run().code_is(134);
    let container = of("cat", &[]);
    container.write("input", "from standard input", 0o644);
    let mut run = container.command("run", &[]);
    run.stdin(fs::File::open(container.rootfs("input")).expect("opened"));
    assert_eq!(case.start(run).wait().ok().stdout, "from standard input");
    // As any program it is ended by a signal, also while it computes.
    let container = of("spin", &[]);
    let run = case.start(container.command("run", &[]));
    prints(&run, "spinning\n");
    container.kill("TERM").ok();
    run.wait().code_is(143);
}

fn spin_a_command_ends_what_is_beside_it(case: &Case) {
    let text = format!(
        "{}[[trigger.http]]\nroute = \"/...\"\ncomponent = \"front\"\n[component.front]\nsource = \"http-02.wasm\"\n",
        command("exit")
    );
    let container = application(case, &manifest(&text), &["exit", "http-02"], |config| {
        config["process"]["args"] = json!(["/", "9"]);
    });
    container.run().code_is(1);
}

fn spin_triggers_that_are_not_run_are_told_by_create(case: &Case) {
    let create = |text: &str, guest: &str| {
        let container = application(case, text, &[guest], |_| {});
        let error = container.try_create(&[]).error();
        case.call(&["state", &container.id]).code_is(1);
        error
    };
    for kind in ["sqs", "mqtt", "cron", "kinesis"] {
        let text = command("exit").replace("trigger.command", &format!("trigger.{kind}"));
        let error = create(&manifest(&text), "exit");
        let told = format!("/spin.toml: trigger.{kind}: there is no trigger of type `{kind}`");
        assert!(error.contains(&told), "{error}");
        let text = format!(
            "spin_manifest_version = \"1\"\nname = \"a\"\ntrigger = {{ type = \"{kind}\" }}\n[[component]]\n\
             id = \"one\"\nsource = \"exit.wasm\"\n[component.trigger]\n"
        );
        let error = create(&text, "exit");
        let told = format!("/spin.toml: trigger.type: there is no trigger of type `{kind}`");
        assert!(error.contains(&told), "{error}");
    }
    let one = ONE.replace("{ required = true }", "{ default = \"127.0.0.1:6379\" }");
    let without = one.replace("address = \"redis://{{ server }}\"\n", "");
    let twice = format!("{}[[trigger.command]]\ncomponent = \"job\"\n", command("exit"));
    for (text, guest, told) in [
        (
            &without,
            "redis",
            "/spin.toml: trigger.redis[0].address: is missing",
        ),
        (
            &one.replace("redis://", "http://"),
            "redis",
            "trigger.redis[0].address: must begin with redis://",
        ),
        (
            &one.replace("redis://{{ server }}", "rediss://{{ server }}#insecure"),
            "redis",
            "trigger.redis[0].address: must not end with #insecure",
        ),
        (
            &one.replace("\"orders\"", "\"\""),
            "redis",
            "trigger.redis[0].channel: is empty",
        ),
        (
            &one.replace("\"orders\"", "\"{{ none }}\""),
            "redis",
            "trigger.redis[0].channel: there is no variable `none`",
        ),
        (
            &one.replace("redis.wasm", "exit.wasm"),
            "exit",
            "trigger.redis[0]: component `one` cannot be used here",
        ),
        (
            &command("redis"),
            "redis",
            "trigger.command[0]: component `job` cannot be used here",
        ),
        (&twice, "exit", "/spin.toml: trigger.command: there are 2"),
    ] {
        let error = create(&manifest(text), guest);
        assert!(error.contains(told), "{told}: {error}");
    }
}
