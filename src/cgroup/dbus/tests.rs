//! Addresses of buses, and answers that come in another order than was asked.

use super::*;

#[test]
fn addresses_are_lists_of_escaped_keys() {
    assert_eq!(
        Address::parse("unix:path=/run/user/1000/bus,guid=12"),
        Some(Address::Path("/run/user/1000/bus".into()))
    );
    assert_eq!(
        Address::parse("tcp:host=x;unix:guid=1,path=/a%20b"),
        Some(Address::Path("/a b".into()))
    );
    assert_eq!(
        Address::parse("unix:abstract=/tmp/x"),
        Some(Address::Abstract(b"/tmp/x".to_vec()))
    );
    for wrong in ["", "unix:", "tcp:host=x", "unix:path=/a%2", "unix:path=/a%zz"] {
        assert_eq!(Address::parse(wrong), None, "{wrong}");
    }
}

/// Calls go out together, and each answer is told from the other and from a signal that comes before them.
#[test]
fn answers_and_jobs_are_told_apart() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut bus, mut server) = (Bus::over(ours, true), Bus::over(theirs, true));
    let mut signal = MessageBuilder::new()
        .signal(
            "org.freedesktop.systemd1.Manager",
            "JobRemoved",
            "/org/freedesktop/systemd1",
        )
        .build();
    let job = rustbus::wire::ObjectPath::new("/job/7").unwrap();
    signal.body.push_param4(7_u32, job, "x.scope", "done").unwrap();
    let answer = |serial, text: &str| {
        let mut answer = MarshalledMessage::new();
        answer.typ = MessageType::Reply;
        answer.dynheader.response_serial = Some(serial);
        answer.body.push_param(text).unwrap();
        answer
    };
    for message in [signal, answer(2, "second"), answer(1, "first")] {
        server.ask(message).unwrap();
    }
    server.flush().unwrap();
    let call = |member: &str| {
        MessageBuilder::new()
            .call(member)
            .on("/o")
            .with_interface("a.b")
            .at("c.d")
            .build()
    };
    let mut start = call("Start");
    let properties = [
        ("Delegate".to_owned(), Value::Bool(true)),
        ("PIDs".to_owned(), Value::Pids(vec![1])),
        (
            "DeviceAllow".to_owned(),
            Value::Pairs(vec![("/dev/null".to_owned(), "rw".to_owned())]),
        ),
        ("Texts".to_owned(), Value::Texts(vec!["a".to_owned()])),
        ("Small".to_owned(), Value::Typed(NumberKind::Int16, -3)),
        (
            "Numbers".to_owned(),
            Value::TypedList(NumberKind::Uint64, vec![u64::MAX.into()]),
        ),
    ];
    start.body.push_param(&properties[..]).unwrap();
    let asked = [start, call("Second")].map(|call| bus.ask(call).unwrap());
    for (asked, text) in asked.into_iter().zip(["first", "second"]) {
        let answer = bus.answer(asked).unwrap();
        assert_eq!(answer.body.parser().get::<String>().unwrap(), text);
    }
    bus.wait_job("/job/7").unwrap();
    let sent = server.receive().unwrap();
    assert_eq!(sent.get_sig(), "a(sv)");
    sent.body.validate().unwrap();
}
