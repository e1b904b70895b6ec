//! A daemon that maps the ids of its containers, on which `--userns=host` is the way out.

use std::os::unix::fs::MetadataExt;

use super::*;

pub fn tests() -> Vec<Test> {
    vec![test!(mapped_ids)]
}

/// Where root and the users from 1000 on are on the host.
const RANGES: [(u32, u32); 2] = [(300_000, 1000), (400_000, 64_536)];

fn mapped_ids(case: &Case) {
    let guests: &[&str] = if case.runtime.ours {
        &["file", "sleep"]
    } else {
        &[]
    };
    let daemon = Daemon::remapped(&case.dir.join("docker"), &case.runtime, &RANGES, guests);
    let docker = Docker::on(case, &daemon);
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    std::os::unix::fs::chown(&volume, Some(RANGES[0].0), Some(RANGES[0].0)).expect("it is ours");
    let bind = format!("{}:/mnt", case.path("volume"));
    let owner = |name: &str| {
        let of = fs::metadata(volume.join(name)).expect("the container has made it");
        (of.uid(), of.gid())
    };

    let mut flags = vec!["-v", &bind, "--tmpfs", "/t:uid=1000", "--memory", "64m"];
    // Mounted, since nobody makes devices in a user namespace.
    flags.extend(["--device", "/dev/fuse"]);
    let script = "cat /proc/self/uid_map; touch /mnt/root; stat -c %u /etc/passwd /mnt /t; \
        stat -c %t,%T /dev/fuse; echo up >&2; exec sleep 100";
    let id = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    docker.wait_for_log(&id, "up");
    let output = docker.call(&["logs", &id]).ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    let map = ["0", "300000", "1000", "1000", "400000", "64536"];
    assert_eq!(words[..6], map, "{output}");
    assert_eq!(words[6..], ["0", "0", "1000", "a,e5"], "{output}");
    assert_eq!(owner("root"), (300_000, 300_000));
    docker
        .call(&[
            "exec",
            &id,
            "sh",
            "-c",
            "touch /mnt/user; chown user:user /mnt/user",
        ])
        .ok();
    assert_eq!(owner("user"), (400_000, 400_000));
    docker
        .call(&["update", "--memory", "80m", "--memory-swap", "90m", &id])
        .ok();
    assert_eq!(
        cgroup_file(&docker, &id, "memory", "memory.limit_in_bytes", "memory.max"),
        "83886080"
    );
    docker.call(&["pause", &id]).ok();
    docker.call(&["unpause", &id]).ok();

    // One that shares another's network is in its user namespace, which owns that.
    let show = ["readlink", "/proc/self/ns/user"];
    let other = format!("container:{id}");
    let joined = docker
        .run(&["--network", &other, "--pid", &other], NATIVE, &show)
        .ok();
    let first = docker.call(&[&["exec", &id], &show[..]].concat()).ok();
    assert_eq!(joined.stdout, first.stdout);

    let flags = ["--userns", "host", "-v", &bind];
    let host = docker
        .run(
            &flags,
            NATIVE,
            &["sh", "-c", "cat /proc/self/uid_map; touch /mnt/host"],
        )
        .ok();
    let words: Vec<&str> = host.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "4294967295"]);
    assert_eq!(owner("host"), (0, 0));

    if case.runtime.ours {
        docker
            .run(&["-v", &bind], "wasm-file:test", &["/mnt/wasm", "x"])
            .ok();
        assert_eq!(owner("wasm"), (300_000, 300_000));
        let sleeping = docker.start(&["-u", "1000"], "wasm-sleep:test", &[]);
        docker.wait_for_log(&sleeping, "sleeping");
        let pid = docker.inspect(&sleeping, "{{.State.Pid}}");
        assert_eq!(
            fs::metadata(format!("/proc/{pid}")).expect("the guest").uid(),
            400_000
        );
        docker
            .run(
                &["--userns", "host", "-v", &bind],
                "wasm-file:test",
                &["/mnt/host-wasm", "x"],
            )
            .ok();
        assert_eq!(owner("host-wasm"), (0, 0));
    }
    drop(docker);
    drop(daemon);
}
