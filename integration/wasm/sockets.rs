//! WasmEdge's socket extension: every function and both versions of it, between sockets of one guest, since a
//! container has a loopback of its own. What real programs do with it is in `real/`.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(sockets_v1),
        test!(sockets_v2),
        test!(sockets_udp),
        test!(sockets_unix),
        test!(sockets_nonblocking_connect),
        test!(sockets_mixed_polls),
        test!(sockets_options),
        test!(sockets_names),
        test!(sockets_names_by_no_library),
        test!(sockets_names_without_services),
        test!(sockets_renumbered),
        test!(sockets_of_a_hostile_guest),
        test!(sockets_of_a_wrong_type),
        test!(sockets_not_asked_for),
        test!(sockets_end_with_a_signal),
    ]
}

/// Runs a guest that leaves with the number of the step that went wrong.
#[track_caller]
fn all_steps(case: &Case, name: &str) {
    run_guest(case, name, &[]).code_is(0);
}

fn sockets_v1(case: &Case) {
    all_steps(case, "sockets-v1");
}

fn sockets_v2(case: &Case) {
    all_steps(case, "sockets-v2");
}

fn sockets_udp(case: &Case) {
    all_steps(case, "sockets-udp");
}

fn sockets_unix(case: &Case) {
    all_steps(case, "sockets-unix");
}

fn sockets_nonblocking_connect(case: &Case) {
    all_steps(case, "sockets-connect");
}

fn sockets_mixed_polls(case: &Case) {
    let container = guest_with(case, "sockets-poll", &[], |_| {});
    let input = case.dir.join("input");
    fs::write(&input, "something to read\n").expect("the input");
    let mut command = container.command("run", &[]);
    command.stdin(fs::File::open(&input).expect("the input"));
    case.finish(command).code_is(0);
}

fn sockets_options(case: &Case) {
    all_steps(case, "sockets-options");
}

/// A container that can look names.test up.
fn resolving(case: &Case) -> Container<'_> {
    let container = guest_with(case, "sockets-resolve", &[], |_| {});
    let hosts = "192.0.2.7 names.test\n2001:db8::7 names.test\n";
    container.write("etc/hosts", hosts, 0o644);
    container
}

fn sockets_names(case: &Case) {
    let container = resolving(case);
    container.write("etc/services", "http 80/tcp\nhttp 80/udp\n", 0o644);
    container.run().code_is(0);
}

/// Names are not looked up by a library of the image's: the C library would load it into this process.
fn sockets_names_by_no_library(case: &Case) {
    let container = resolving(case);
    container.write("etc/services", "http 80/tcp\nhttp 80/udp\n", 0o644);
    container.write("etc/nsswitch.conf", "hosts: evil\nservices: evil\n", 0o644);
    container.run().code_is(0);
}

/// A root filesystem that has nothing but a guest.
fn sockets_names_without_services(case: &Case) {
    let container = resolving(case);
    match fs::remove_file(container.rootfs("etc/services")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    container.run().code_is(0);
}

fn sockets_renumbered(case: &Case) {
    let output = run_guest(case, "sockets-numbers", &[]).code_is(0);
    assert_eq!(output.stdout, "moved\n");
}

fn sockets_of_a_hostile_guest(case: &Case) {
    all_steps(case, "sockets-hostile");
}

/// Both imports are wrong, and only the second has a name that is known.
fn sockets_of_a_wrong_type(case: &Case) {
    let output = run_guest(case, "imports", &[]);
    assert_ne!(output.code(), 0, "{output}");
    case.names(
        &output,
        &[
            "`wasi_snapshot_preview1.sock_open`",
            "WasmEdge's socket extension",
            "3 parameters of type i32",
        ],
    );
}

/// A guest that imports no more than preview 1's own socket functions gets those; what its seccomp filter
/// refuses is tested in `guest_filter.rs`.
fn sockets_not_asked_for(case: &Case) {
    all_steps(case, "sockets-none");
}

fn sockets_end_with_a_signal(case: &Case) {
    let (container, run) = start_endless(case, "sockets-wait", "waiting");
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
}
