//! What the containers of a pod share with each other and with the host.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Cri, Kind, pods};
use crate::harness::command::eventually;
use crate::harness::cri::{CONTAINER, NATIVE, NODE, POD, Pod, TARGET};
use crate::harness::network::{connect, within};
use crate::harness::{Need, Test};

pub fn tests(kind: Kind) -> Vec<Test> {
    let mut user = pods!(kind, user_namespace).needs(Need::NetworkPlugins);
    if kind == Kind::Containerd {
        user = user.needs(Need::PodsInUserNamespaces);
    }
    let mut processes = pods!(kind, processes_of_the_pod);
    if kind == Kind::Crio {
        // CRI-O has the OOM killer spare the process that keeps the pod.
        processes = processes.needs(Need::RaiseLimits);
    }
    vec![
        pods!(kind, of_the_host),
        pods!(kind, of_the_pod),
        processes,
        pods!(kind, processes_of_another_container),
        pods!(kind, network_and_sysctls).needs(Need::NetworkPlugins),
        user,
    ]
}

/// The id of the namespace `kind` of a container.
fn namespace(cri: &Cri<'_>, id: &str, kind: &str) -> String {
    cri.shell(id, &format!("readlink /proc/self/ns/{kind}"))
}

/// The id of the namespace `kind` of the engine.
fn host_namespace(cri: &Cri<'_>, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{}/ns/{kind}", cri.pid())).expect("a link");
    link.to_str().expect("ASCII").to_owned()
}

/// A container whose namespaces are those of `options`, as its pod's are.
fn start(pod: &Pod<'_>, name: &str, command: &[&str], options: &Value) -> String {
    pod.start_with(name, NATIVE, command, |container| {
        container["linux"]["security_context"]["namespace_options"] = options.clone();
    })
}

fn of_the_host(cri: Cri<'_>) {
    let options = json!({ "network": NODE, "pid": NODE, "ipc": NODE });
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["namespace_options"] = options.clone();
    });
    let id = start(&pod, "one", &["sleep", "100"], &options);
    for kind in ["net", "pid", "ipc"] {
        assert_eq!(namespace(&cri, &id, kind), host_namespace(&cri, kind), "{kind}");
    }
    assert_ne!(namespace(&cri, &id, "mnt"), host_namespace(&cri, "mnt"));
    pod.remove();
}

fn of_the_pod(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let ids = ["one", "two"].map(|name| pod.start(name, NATIVE, &["sleep", "100"]));
    for kind in ["ipc", "uts"] {
        assert_eq!(
            namespace(&cri, &ids[0], kind),
            namespace(&cri, &ids[1], kind),
            "{kind}"
        );
    }
    assert_ne!(namespace(&cri, &ids[0], "ipc"), host_namespace(&cri, "ipc"));
    for kind in ["pid", "mnt"] {
        assert_ne!(
            namespace(&cri, &ids[0], kind),
            namespace(&cri, &ids[1], kind),
            "{kind}"
        );
    }
    // Shared memory is the pod's as well.
    cri.shell(&ids[0], "echo shared >/dev/shm/file");
    assert_eq!(cri.shell(&ids[1], "cat /dev/shm/file"), "shared");
    pod.remove();
}

/// `shareProcessNamespace`: the process that keeps the pod's namespaces is the first.
fn processes_of_the_pod(cri: Cri<'_>) {
    let options = json!({ "network": NODE, "pid": POD });
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["namespace_options"] = options.clone();
    });
    let one = start(&pod, "one", &["sleep", "4321"], &options);
    let two = start(&pod, "two", &["sleep", "100"], &options);
    assert_eq!(namespace(&cri, &one, "pid"), namespace(&cri, &two, "pid"));
    let list = cri.shell(&two, "ps -o pid,args");
    assert!(list.contains("sleep 4321"), "{list}");
    let first = list.lines().find(|line| line.trim().starts_with("1 "));
    assert!(
        first.is_some_and(|line| line.contains("sleep infinity")),
        "{list}"
    );
    // The end of one takes nobody along.
    cri.shell(
        &two,
        "kill -9 $(ps -o pid,args | awk '/sleep 432[1]/ { print $1 }')",
    );
    assert_eq!(cri.wait(&one)["exitCode"], 137);
    assert_eq!(cri.inspect(&two)["status"]["state"], "CONTAINER_RUNNING");
    pod.remove();
}

/// An ephemeral container of `kubectl debug --target`.
fn processes_of_another_container(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let target = pod.start("target", NATIVE, &["sleep", "4321"]);
    let options = json!({ "network": NODE, "pid": TARGET, "target_id": target });
    let debugger = start(&pod, "debugger", &["sleep", "100"], &options);
    assert_eq!(namespace(&cri, &target, "pid"), namespace(&cri, &debugger, "pid"));
    let list = cri.shell(&debugger, "ps -o pid,args");
    let first = list.lines().find(|line| line.trim().starts_with("1 "));
    assert!(first.is_some_and(|line| line.contains("sleep 4321")), "{list}");
    cri.call(&["stop", "--timeout", "0", &debugger]).ok();
    assert_eq!(cri.inspect(&target)["status"]["state"], "CONTAINER_RUNNING");
    pod.remove();
}

/// An address of its own, by which it is reached from the host; loopback is shared by its containers.
fn network_and_sysctls(cri: Cri<'_>) {
    let options = json!({ "network": POD, "pid": CONTAINER });
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["namespace_options"] = options.clone();
        pod["linux"]["sysctls"] = json!({
            "kernel.shm_rmid_forced": "1",
            "net.ipv4.ip_local_port_range": "2000 3000",
        });
        pod["hostname"] = json!("podname");
    });
    let serve = ["sh", "-c", "while :; do echo served | nc -l -p 4000; done"];
    let server = start(&pod, "server", &serve, &options);
    let client = start(&pod, "client", &["sleep", "100"], &options);
    assert_ne!(namespace(&cri, &client, "net"), host_namespace(&cri, "net"));
    assert_eq!(namespace(&cri, &client, "net"), namespace(&cri, &server, "net"));
    let ask = "until nc 127.0.0.1 4000 </dev/null | grep served; do sleep 0.1; done";
    assert_eq!(cri.shell(&client, ask), "served");
    let sysctls = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range; hostname";
    let words = cri.shell(&client, sysctls);
    assert_eq!(
        words.split_whitespace().collect::<Vec<_>>(),
        ["1", "2000", "3000", "podname"]
    );
    let status = cri.call(&["inspectp", &pod.id]).ok().json();
    let address = status["status"]["network"]["ip"].as_str().expect("an address");
    let address: SocketAddr = format!("{address}:4000").parse().expect("an address");
    eventually("the host has an answer", || {
        within(cri.pid(), || {
            let mut text = String::new();
            connect(address).ok()?.read_to_string(&mut text).ok()?;
            (text == "served\n").then_some(())
        })
    });
    pod.remove();
}

/// `hostUsers: false`.
fn user_namespace(cri: Cri<'_>) {
    let map = json!([{ "container_id": 0, "host_id": 100_000, "length": 65536 }]);
    let options = json!({
        "network": POD,
        "pid": CONTAINER,
        "userns_options": { "mode": POD, "uids": map, "gids": map },
    });
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["namespace_options"] = options.clone();
        // CRI-O 1.26 gives the file with it to the pod's root, whether there is one or not.
        pod["dns_config"] = json!({ "servers": ["192.0.2.1"] });
    });
    let id = pod.start_with("one", NATIVE, &["sleep", "100"], |container| {
        container["linux"]["security_context"]["namespace_options"] = options.clone();
    });
    let words = cri.shell(
        &id,
        "cat /proc/self/uid_map; stat -c %u /bin; touch /file && echo may write",
    );
    assert_eq!(
        words.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536", "0", "may", "write"]
    );
    assert_ne!(namespace(&cri, &id, "user"), host_namespace(&cri, "user"));
    let other = start(&pod, "other", &["sleep", "100"], &options);
    assert_eq!(namespace(&cri, &id, "user"), namespace(&cri, &other, "user"));
    pod.remove();
}
