//! What `--volume`, `--mount` and `--tmpfs` put into a container.

use std::os::unix::fs::MetadataExt;

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(readonly_with_volumes),
        test!(kinds_of_mounts),
        test!(mapped_ids).runc_from(2, "mounts with mapped ids"),
        test!(ids_mapped_by_their_own_ranges).wrun_only("the ranges are an option of crun's"),
    ]
}

fn readonly_with_volumes(case: &Case) {
    let podman = Podman::new(case);
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    let bind = format!("{}:/volume", case.path("volume"));
    let flags = [
        "--network",
        "none",
        "--read-only",
        "--volume",
        &bind,
        "--tmpfs",
        "/fast:size=1m",
    ];
    let script = "touch /no 2>/dev/null && exit 1; echo x >/volume/file && df -m /fast | tail -n 1";
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    assert_eq!(output.stdout.split_whitespace().nth(1), Some("1"), "{output}");
    assert_eq!(fs::read_to_string(volume.join("file")).expect("the file"), "x\n");
}

/// The flags `--volume FIRST:… --mount …SECOND` and so on of the tests of root and of users, for a container's user 1000.
pub(super) fn all_kinds(flags: &[String]) -> Vec<&str> {
    let flags = flags.iter().map(String::as_str);
    alone(&["--read-only", "--user", "1000"])
        .into_iter()
        .chain(flags)
        .collect()
}

pub(super) fn flags_of_all_kinds(over: &str, given: &str) -> Vec<String> {
    [
        format!("--volume={over}:/over:O"),
        format!("--volume={given}:/given:U"),
        "--volume=named:/named".to_owned(),
        format!("--mount=type=bind,source={over},destination=/ro,ro,bind-propagation=rslave"),
        format!("--mount=type=image,source={NATIVE},destination=/image"),
        "--mount=type=tmpfs,destination=/fast,tmpfs-size=1m,tmpfs-mode=1777".to_owned(),
        "--tmpfs=/t:size=2m,mode=1777,noexec".to_owned(),
    ]
    .into()
}

pub(super) const USE_ALL_KINDS: &str = "
    touch /over/made /given/made /fast/made /t/made && ls /image/bin/sh /over
    for place in /ro /image /; do touch $place/made && echo $place can be written; done
    grep ' /t ' /proc/mounts | grep noexec | grep -o 'size=[^, ]*'
    df -m /fast | awk 'END { print $2 }'";

pub(super) const ALL_KINDS_USED: &[&str] =
    &["/image/bin/sh", "", "/over:", "file", "made", "size=2048k", "1"];

fn kinds_of_mounts(case: &Case) {
    let podman = Podman::new(case);
    let (over, given) = (volume(case, "over"), volume(case, "given"));
    let flags = flags_of_all_kinds(&over, &given);
    let output = podman
        .run(&all_kinds(&flags), NATIVE, &["sh", "-c", USE_ALL_KINDS])
        .ok();
    assert_eq!(output.lines(), ALL_KINDS_USED, "{output}");
    assert!(!has(&over, "made") && has(&given, "made"));
    let owner = fs::metadata(format!("{given}/file")).expect("a file");
    assert_eq!((owner.uid(), owner.gid()), (1000, 1000));
}

const MAPPED: &[&str] = &["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];

/// `idmap`: root's files are root's in a user namespace too.
fn mapped_ids(case: &Case) {
    let podman = Podman::new(case);
    let path = volume(case, "volume");
    let script = "stat -c %u:%g /v/file /w/file; touch /v/made";
    let mount = format!("type=bind,source={path},destination=/v,idmap");
    let volume = format!("{path}:/w:idmap,ro");
    let flags = alone(&[MAPPED, &["--mount", &mount, "--volume", &volume]].concat());
    let output = podman.run(&flags, NATIVE, &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "0:0\n0:0\n", "{output}");
    let made = fs::metadata(format!("{path}/made")).expect("the file");
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

fn ids_mapped_by_their_own_ranges(case: &Case) {
    let podman = Podman::new(case);
    let path = volume(case, "volume");
    let mount = format!("type=bind,source={path},destination=/v,idmap=uids=0-1000-1;gids=0-2000-1");
    let script = "stat -c %u:%g /v/file";
    let output = podman.run(&alone(&["--mount", &mount]), NATIVE, &["sh", "-c", script]);
    assert_eq!(output.ok().stdout, "1000:2000\n");
}
