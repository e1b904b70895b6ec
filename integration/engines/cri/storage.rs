//! Devices and volumes.

use std::fs;

use serde_json::{Value, json};

use super::{Cri, Kind, pods};
use crate::harness::command::eventually;
use crate::harness::cri::NATIVE;
use crate::harness::{Need, Test};

/// Values of CRI's `MountPropagation`.
const PRIVATE: i32 = 0;
const HOST_TO_CONTAINER: i32 = 1;
const BIDIRECTIONAL: i32 = 2;

pub fn tests(kind: Kind) -> Vec<Test> {
    let mut propagation = pods!(kind, propagation_of_volumes);
    if kind == Kind::Crio {
        // Both ways asks for a privileged container, to which CRI-O gives each capability that there is.
        propagation = propagation.needs(Need::RaiseLimits);
    }
    vec![pods!(kind, devices), pods!(kind, volumes), propagation]
}

fn devices(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let id = pod.start_with("one", NATIVE, &["sleep", "100"], |container| {
        container["devices"] = json!([
            { "container_path": "/dev/mine", "host_path": "/dev/full", "permissions": "r" },
            { "container_path": "/dev/sub/both", "host_path": "/dev/null", "permissions": "rwm" },
        ]);
    });
    assert_eq!(cri.shell(&id, "head -c 3 /dev/mine | wc -c"), "3");
    cri.shell(&id, "echo x >/dev/sub/both");
    assert_eq!(
        cri.shell(&id, "stat -c '%F %t %T' /dev/mine"),
        "character special file 1 7"
    );
    pod.remove();
}

/// One that can be written and one that cannot, of a directory and of a file.
fn volumes(cri: Cri<'_>) {
    let pod = cri.run_pod("pod");
    let volume = cri.case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    fs::write(volume.join("file"), "kept\n").expect("a file");
    let path = cri.case.path("volume");
    let file = cri.case.path("volume/file");
    let id = pod.start_with("one", NATIVE, &["sleep", "100"], |container| {
        container["mounts"] = json!([
            { "host_path": path, "container_path": "/rw" },
            { "host_path": path, "container_path": "/ro", "readonly": true },
            { "host_path": file, "container_path": "/etc/name", "readonly": true },
        ]);
    });
    cri.shell(
        &id,
        "echo written >/rw/new && ! touch /ro/no 2>/dev/null && ! echo x 2>/dev/null >/etc/name",
    );
    assert_eq!(cri.shell(&id, "cat /ro/file /etc/name"), "kept\nkept");
    assert_eq!(
        fs::read_to_string(volume.join("new")).expect("the file"),
        "written\n"
    );
    pod.remove();
}

/// A mount made below a volume later is seen where the volume says so, and only there.
fn propagation_of_volumes(cri: Cri<'_>) {
    let volume = cri.case.dir.join("volume");
    for name in ["later", "inner"] {
        fs::create_dir_all(volume.join(name)).expect("a directory");
    }
    let path = cri.case.path("volume");
    let host = |script: &str| {
        let mut command = cri.within("sh");
        command.args(["-c", script, "sh", &path]);
        cri.case.finish(command)
    };
    host("mount --bind \"$1\" \"$1\" && mount --make-shared \"$1\"").ok();
    let pod = cri.run_pod_with("pod", |pod| {
        pod["linux"]["security_context"]["privileged"] = json!(true);
    });
    let start = |name: &str, propagation: i32| {
        pod.start_with(name, NATIVE, &["sleep", "100"], |container: &mut Value| {
            container["mounts"] =
                json!([{ "host_path": path, "container_path": "/volume", "propagation": propagation }]);
            container["linux"]["security_context"]["privileged"] = json!(true);
        })
    };
    let private = start("private", PRIVATE);
    let slave = start("slave", HOST_TO_CONTAINER);
    let shared = start("shared", BIDIRECTIONAL);
    host("mount -t tmpfs none \"$1/later\" && touch \"$1/later/file\"").ok();
    let sees = |id: &str, file: &str| {
        cri.shell(id, &format!("test -e /volume/{file} && echo yes || echo no")) == "yes"
    };
    eventually("the host's mount is seen", || {
        (sees(&slave, "later/file") && sees(&shared, "later/file")).then_some(())
    });
    assert!(!sees(&private, "later/file"));
    for (id, on_host) in [(&slave, false), (&shared, true)] {
        cri.shell(
            id,
            "mount -t tmpfs none /volume/inner && touch /volume/inner/file",
        );
        assert_eq!(host("test -e \"$1/inner/file\"").status.success(), on_host);
        cri.shell(id, "umount /volume/inner");
    }
    pod.remove();
    host("umount \"$1/later\" && umount \"$1\"").ok();
}
