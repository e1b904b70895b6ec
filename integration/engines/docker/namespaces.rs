//! Namespaces: of the container, of the host, of another container; the networks, names and addresses in them.

use super::*;
use crate::harness::docker::host::in_time;

pub fn tests() -> Vec<Test> {
    vec![
        test!(published_port),
        test!(networks),
        test!(host_name_and_resolver),
        test!(namespaces_of_the_host),
        test!(namespaces_of_another),
        test!(end_in_the_host_s_pid_namespace),
        test!(time_namespaces)
            .needs(Need::TimeNamespace)
            .runc_from(2, "time namespaces"),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![
        test!(namespaces_of_a_guest),
        test!(time_namespace_of_a_guest).needs(Need::TimeNamespace),
    ]
}

fn published_port(case: &Case) {
    let docker = Docker::new(case);
    let script = "echo from inside >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let id = docker.start(&["-p", "127.0.0.1::80"], NATIVE, &["sh", "-c", script]);
    let port = docker.call(&["port", &id, "80"]).ok().stdout;
    let address = port.lines().next().expect("a port").to_owned();
    eventually("the port answers", || {
        let url = format!("http://{address}/");
        let output = case.finish(docker.beside("busybox", &["wget", "-q", "-O", "-", &url]));
        (output.stdout == "from inside\n").then_some(())
    });
}

fn networks(case: &Case) {
    let docker = Docker::new(case);
    let none = docker
        .run(&["--network", "none"], NATIVE, &["ls", "/sys/class/net"])
        .ok();
    // Where it has tunnels built in, the kernel adds one to each namespace.
    let interfaces: Vec<_> = none.lines().into_iter().filter(|it| *it != "sit0").collect();
    assert_eq!(interfaces, ["lo"]);
    let bridge = docker
        .run(&["--network", "bridge"], NATIVE, &["ifconfig", "eth0"])
        .ok();
    assert!(bridge.stdout.contains("inet addr:172."), "{bridge}");
    let host = docker
        .run(&["--network", "host"], NATIVE, &["readlink", "/proc/self/ns/net"])
        .ok();
    let outside = case
        .finish(docker.beside("readlink", &["/proc/self/ns/net"]))
        .ok();
    assert_eq!(host.stdout, outside.stdout);
    // Two that share one.
    let first = docker.start(&[], NATIVE, &["sleep", "100"]);
    let show = ["readlink", "/proc/self/ns/net"];
    let shared = docker
        .run(&["--network", &format!("container:{first}")], NATIVE, &show)
        .ok();
    assert_eq!(
        shared.stdout,
        docker.call(&[&["exec", &first], &show[..]].concat()).ok().stdout
    );
}

fn host_name_and_resolver(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "--hostname",
        "named",
        "--dns",
        "192.0.2.1",
        "--add-host",
        "other:192.0.2.2",
    ];
    let output = docker
        .run(
            &flags,
            NATIVE,
            &["sh", "-c", "hostname; cat /etc/resolv.conf /etc/hosts"],
        )
        .ok();
    for text in ["named\n", "nameserver 192.0.2.1", "192.0.2.2\tother"] {
        assert!(output.stdout.contains(text), "{output}");
    }
}

/// Shows the namespaces of the process itself.
const NAMESPACES: &str = "for name in cgroup ipc net pid uts; do readlink /proc/self/ns/$name; done";

/// Those of a process, in the same order.
fn namespaces_of(docker: &Docker, id: &str) -> Vec<String> {
    let pid = docker.inspect(id, "{{.State.Pid}}");
    let show = NAMESPACES.replace("self", &pid);
    let output = docker.outside(&show).ok();
    output.lines().into_iter().map(str::to_owned).collect()
}

const OF_THE_HOST: [&str; 10] = [
    "--pid",
    "host",
    "--ipc",
    "host",
    "--uts",
    "host",
    "--network",
    "host",
    "--cgroupns",
    "host",
];

fn namespaces_of_the_host(case: &Case) {
    let docker = Docker::new(case);
    let host = docker.outside(NAMESPACES).ok();
    let shared = docker.run(&OF_THE_HOST, NATIVE, &["sh", "-c", NAMESPACES]).ok();
    assert_eq!(shared.stdout, host.stdout);
    let flags = ["--cgroupns", "private", "--ipc", "private"];
    let script = format!("{NAMESPACES}; cat /proc/self/cgroup");
    let own = docker.run(&flags, NATIVE, &["sh", "-c", &script]).ok();
    let (own, groups) = (own.lines()[..5].to_vec(), own.lines()[5..].to_vec());
    for (own, host) in own.iter().zip(host.lines()) {
        assert_ne!(*own, host);
    }
    assert!(
        !groups.is_empty() && groups.iter().all(|line| line.ends_with(":/")),
        "{groups:?}"
    );
    // The names are its own where the namespace is.
    let flags = [
        "--hostname",
        "named",
        "--domainname",
        "domain.test",
        "--ipc",
        "none",
    ];
    let script = "hostname; cat /proc/sys/kernel/domainname; ls /dev/shm";
    let named = docker.run(&flags, NATIVE, &["sh", "-c", script]);
    assert_eq!(named.stdout, "named\ndomain.test\n", "{named}");
    assert!(named.stderr.contains("No such file"), "{named}");
}

fn namespaces_of_another(case: &Case) {
    let docker = Docker::new(case);
    let first = docker.start(&["--ipc", "shareable"], NATIVE, &["sleep", "100"]);
    let other = format!("container:{first}");
    let flags = ["--pid", &other, "--ipc", &other, "--network", &other];
    let script = "touch /dev/shm/shared; echo up; exec sleep 101";
    let second = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&second, "up");
    let (one, two) = (namespaces_of(&docker, &first), namespaces_of(&docker, &second));
    assert_eq!(one[1..4], two[1..4]);
    assert_ne!(one[4], two[4]);
    let output = docker.call(&["exec", &first, "sh", "-c", "ls /dev/shm; ps"]).ok();
    assert!(output.stdout.starts_with("shared\n"), "{output}");
    assert!(output.stdout.contains("sleep 101"), "{output}");
    // With the first process of a PID namespace all end.
    docker.call(&["kill", &first]).ok();
    assert_eq!(docker.call(&["wait", &second]).ok().stdout, "137\n");
}

/// There the kernel ends nothing with the first process; the runtime must.
fn end_in_the_host_s_pid_namespace(case: &Case) {
    let docker = Docker::new(case);
    let over = |id: &str, code: &str| {
        assert_eq!(docker.call(&["wait", id]).ok().stdout, code);
        eventually("nothing of it is left", || {
            crate::harness::leaks::cgroups(id).is_empty().then_some(())
        });
    };
    let flags = ["--pid", "host"];
    let script = "sleep 100 & echo up; exec sleep 100";
    let killed = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&killed, "up");
    docker.call(&["kill", &killed]).ok();
    over(&killed, "137\n");
    // Not at once: containerd 2 leaves the others alone where the first process has ended before `start` returns.
    let script = "trap 'exit 3' USR1; sleep 100 & echo up; wait";
    let ended = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&ended, "up");
    docker.call(&["kill", "--signal", "USR1", &ended]).ok();
    over(&ended, "3\n");
}

/// Starts a container that has one, as those of the newest Docker do unasked; it and its namespace, which is not the host's.
fn start_in_time(docker: &Docker, image: &str, arguments: &[&str]) -> (String, String) {
    let runtime = in_time(&docker.case.runtime.name);
    let id = docker.start(&["--runtime", &runtime], image, arguments);
    let pid = docker.inspect(&id, "{{.State.Pid}}");
    let of = |process: &str| {
        let script = format!("readlink /proc/{process}/ns/time");
        docker.outside(&script).ok().stdout
    };
    let (own, host) = (of(&pid), of("self"));
    assert!(own.starts_with("time:["), "{own}");
    assert_ne!(own, host);
    (id, own)
}

fn time_namespaces(case: &Case) {
    let docker = Docker::new(case);
    let (id, own) = start_in_time(&docker, NATIVE, &["sleep", "100"]);
    let show = ["exec", id.as_str(), "readlink", "/proc/self/ns/time"];
    assert_eq!(docker.call(&show).ok().stdout, own);
    docker.call(&["restart", "--time", "0", &id]).ok();
    let again = docker.call(&show).ok().stdout;
    assert!(again.starts_with("time:["), "{again}");
}

fn time_namespace_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let (id, _) = start_in_time(&docker, "wasm-sleep:test", &[]);
    docker.wait_for_log(&id, "sleeping");
}

fn namespaces_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let start = |flags: &[&str]| {
        let id = docker.start(flags, "wasm-sleep:test", &[]);
        docker.wait_for_log(&id, "sleeping");
        id
    };
    let host = docker.outside(NAMESPACES).ok();
    assert_eq!(namespaces_of(&docker, &start(&OF_THE_HOST)), host.lines());
    let native = docker.start(&["--ipc", "shareable"], NATIVE, &["sleep", "100"]);
    let other = format!("container:{native}");
    let joined = start(&["--pid", &other, "--ipc", &other, "--network", &other]);
    assert_eq!(
        namespaces_of(&docker, &joined)[1..4],
        namespaces_of(&docker, &native)[1..4]
    );
    let ps = docker.call(&["exec", &native, "ps"]).ok();
    assert_eq!(ps.lines().len(), 1 + 3, "{ps}");
    docker.call(&["kill", &joined]).ok();
    assert_eq!(docker.call(&["wait", &joined]).ok().stdout, "137\n");
}
