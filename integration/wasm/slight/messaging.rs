//! Messages: by files, and by real brokers.

use super::*;
use crate::harness::facts::Need;

pub fn tests() -> Vec<Test> {
    vec![
        test!(slight_messages_in_files),
        test!(slight_messages_by_nats).needs(Need::Nats),
        test!(slight_messages_by_mosquitto).needs(Need::Mosquitto),
    ]
}

/// Publishes and receives by subscriptions of the broker `name`; none of the messages is older than those.
#[track_caller]
fn exercise(served: &Served, name: &str) {
    let subscribe = |topic: &str| {
        let (status, token) = served.says("PUT", &format!("/topic/{name}/{topic}"), "");
        assert_eq!(status, 200, "{token}");
        token
    };
    let receive = |token: &str| served.get(&format!("/receive/{name}/{token}"));
    let publish = |topic: &str, message: &str| {
        let (status, text) = served.says("POST", &format!("/topic/{name}/{topic}"), message);
        assert_eq!(status, 201, "{text}");
    };
    let (one, two, other) = (subscribe("rust"), subscribe("rust"), subscribe("chat"));
    publish("rust", "first");
    publish("rust", "second\nline");
    publish("chat", "elsewhere");
    for token in [&one, &two] {
        assert_eq!(
            (receive(token), receive(token)),
            ("first".to_owned(), "second\nline".to_owned())
        );
    }
    assert_eq!(receive(&other), "elsewhere");
    // queue-or-topic-not-found
    assert_eq!(served.says("GET", &format!("/receive/{name}/none"), "").0, 551);
}

fn slight_messages_in_files(case: &Case) {
    let served = serve(application(case, &slightfile(&filesystem()), "slight", |_| {}));
    exercise(&served, "queue");
    // unexpected-error
    let (status, text) = served.says("PUT", "/topic/other/rust", "");
    assert!(status == 557 && text.contains("`other`"), "{status}: {text}");
    // A subscription begins with the first message there is, and receives nothing behind the last.
    let (_, token) = served.says("PUT", "/topic/queue/chat", "");
    let receive = || served.get(&format!("/receive/queue/{token}"));
    assert_eq!((receive(), receive()), ("elsewhere".to_owned(), String::new()));
    served.stop();
}

/// An application with a broker of this resource and these configs.
fn with_broker<'case>(case: &'case Case, resource: &str, configs: &str) -> Served<'case> {
    let broker = format!(
        "{}[capability.configs]\n{configs}",
        capability(resource, "broker")
    );
    let text = slightfile(&(capability("keyvalue.filesystem", "files") + &broker));
    serve(application(case, &text, "slight", |_| {}))
}

fn slight_messages_by_nats(case: &Case) {
    let served = with_broker(
        case,
        "messaging.nats",
        "NATS_ADDRESS = \"nats://127.0.0.1:4222\"\n",
    );
    // service-unavailable
    assert_eq!(served.says("POST", "/topic/broker/rust", "x").0, 553);
    let server = served.start_server("nats-server", &["-a", "127.0.0.1", "-p", "4222"], 4222);
    exercise(&served, "broker");
    let (_, token) = served.says("PUT", "/topic/broker/rust", "");
    let (status, text) = served.says("GET", &format!("/receive/broker/{token}"), "");
    assert!(status == 557 && text.contains("500 ms"), "{status}: {text}");
    end(server);
    served.stop();
}

fn slight_messages_by_mosquitto(case: &Case) {
    let configs = "MOSQUITTO_HOST = \"127.0.0.1\"\nMOSQUITTO_PORT = \"1883\"\n";
    let served = with_broker(case, "messaging.mosquitto", configs);
    // service-unavailable
    assert_eq!(served.says("POST", "/topic/broker/rust", "x").0, 553);
    let server = served.start_server("mosquitto", &["-p", "1883"], 1883);
    exercise(&served, "broker");
    end(server);
    // It is found again when it comes back.
    let server = served.start_server("mosquitto", &["-p", "1883"], 1883);
    assert_eq!(served.says("POST", "/topic/broker/rust", "x").0, 201);
    end(server);
    served.stop();
}
