//! What is in /dev.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(default_devices_work),
        test!(default_links_in_dev),
        test!(more_devices).covers(&[
            "linux.devices.{path,type,major,minor,fileMode,uid,gid}",
            "linux.devices.type={b,c,p}",
        ]),
        test!(devices_anywhere).covers(&[
            "linux.devices.{path,type,fileMode,uid,gid}",
            "linux.devices.type=u",
        ]),
        test!(device_of_all_kinds_is_refused).covers(&["linux.devices.type=a"]),
        test!(terminals_are_new),
    ]
}

fn default_devices_work(case: &Case) {
    let script = "cd /dev; for d in null zero full random urandom tty; do test -c $d || echo no $d; done; \
                  echo x >null; head -c 3 zero | wc -c; echo x >full && echo full took it; \
                  head -c 5 urandom | wc -c; stat -c '%a %t:%T' null zero full random urandom tty";
    let output = case.script(script).run().ok();
    let expected = [
        "3", "5", "666 1:3", "666 1:5", "666 1:7", "666 1:8", "666 1:9", "666 5:0",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

fn default_links_in_dev(case: &Case) {
    let output = case
        .script("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done")
        .run()
        .ok();
    let expected = [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ];
    assert_eq!(output.lines(), expected);
}

fn more_devices(case: &Case) {
    let script = "stat -c '%F %a %u:%g %t:%T' /dev/mine /dev/deep/block /dev/pipe; cat /dev/mine; \
                  head -c 1 /dev/deep/block 2>&1";
    let container = case.script_with(script, |config| {
        config["linux"]["devices"] = json!([
            { "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 },
            { "path": "/dev/deep/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o600 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        ]);
    });
    let output = container.run();
    let expected = [
        "character special file 640 7:8 1:3",
        "block special file 600 0:0 7:63",
        "fifo 622 0:0 0:0",
        // The cgroup allows no such device.
        "head: /dev/deep/block: Operation not permitted",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

/// Outside of /dev, in directories that are to be made, with a bit that is no permission.
fn devices_anywhere(case: &Case) {
    let script = "stat -c '%F %a %u:%g %t:%T' /srv/a/b/null /null && cat /null";
    let container = case.script_with(script, |config| {
        config["linux"]["devices"] = json!([
            { "path": "/srv/a/b/null", "type": "u", "major": 1, "minor": 3, "fileMode": 0o1751, "uid": 7, "gid": 8 },
            { "path": "/null", "type": "c", "major": 1, "minor": 3 },
        ]);
    });
    let output = container.run().ok();
    let expected = [
        "character special file 1751 7:8 1:3",
        "character special file 666 0:0 1:3",
    ];
    assert_eq!(output.lines(), expected, "{output}");
}

fn device_of_all_kinds_is_refused(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["devices"] = json!([{ "path": "/dev/x", "type": "a", "major": 1, "minor": 3 }]);
    });
    case.names(&container.run().code_is(1), &["linux.devices[0].type"]);
    case.nothing_left();
}

fn terminals_are_new(case: &Case) {
    let output = case.script("ls /dev/pts; stat -c %a /dev/pts/ptmx").run().ok();
    assert_eq!(output.lines(), ["ptmx", "666"], "{output}");
}
