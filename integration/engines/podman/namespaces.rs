//! User namespaces, and namespaces of other containers.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(user_namespace),
        test!(user_namespaces_by_name),
        test!(namespaces_of_another_container),
    ]
}

fn user_namespace(case: &Case) {
    let podman = Podman::new(case);
    let flags = [
        "--network",
        "none",
        "--uidmap",
        "0:100000:65536",
        "--gidmap",
        "0:100000:65536",
    ];
    let script = "cat /proc/self/uid_map; stat -c %u /bin; touch /tmp/file && echo may write";
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "may", "write"], "{output}");
}

/// `auto`, one that another container has, and the host's.
fn user_namespaces_by_name(case: &Case) {
    let podman = Podman::new(case);
    let flags = alone(&["--userns", "auto:size=1000"]);
    let id = podman.start(&flags, NATIVE, &["sleep", "100"]);
    let script = "cat /proc/self/uid_map /proc/self/gid_map; readlink /proc/self/ns/user; touch /tmp/made";
    let first = podman.call(&["exec", &id, "sh", "-c", script]).ok();
    let words: Vec<&str> = first.stdout.split_whitespace().collect();
    assert_eq!([words[0], words[2]], ["0", "1000"], "{first}");
    assert_eq!(words[..3], words[3..6], "{first}");
    assert_ne!(words[1], "0", "{first}");
    let same = format!("container:{id}");
    let output = podman.run(&alone(&["--userns", &same]), NATIVE, &["sh", "-c", script]);
    assert_eq!(output.ok().stdout, first.stdout);
    podman.remove(&id);
    let host = fs::read_link("/proc/self/ns/user").expect("ours");
    let output = podman.run(
        &alone(&["--userns", "host"]),
        NATIVE,
        &["readlink", "/proc/self/ns/user"],
    );
    assert_eq!(output.ok().stdout.trim(), host.to_str().expect("UTF-8"));
}

fn namespaces_of_another_container(case: &Case) {
    let podman = Podman::new(case);
    let script = "for kind in pid ipc uts net mnt; do readlink /proc/self/ns/$kind; done";
    let flags = alone(&["--ipc", "shareable"]);
    let id = podman.start(&flags, NATIVE, &["sleep", "1234"]);
    let first = podman.call(&["exec", &id, "sh", "-c", script]).ok();
    let script = format!("{script}; ps | grep -q '[s]leep 1234' && echo seen");
    let same = format!("container:{id}");
    let flags = ["--pid", "--ipc", "--uts", "--network"].map(|flag| [flag, &same]);
    let second = podman.run(&flags.concat(), NATIVE, &["sh", "-c", &script]).ok();
    let (first, second) = (first.lines(), second.lines());
    assert_eq!(first[..4], second[..4]);
    assert_ne!(first[4], second[4]);
    assert_eq!(second[5..], ["seen"]);
    podman.remove(&id);
}
