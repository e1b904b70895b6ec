//! Mounts of each type, with their options.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(volume),
        test!(tmpfs),
        test!(propagation),
        test!(mounts_below_the_source),
        test!(readonly_below_the_source).needs(Need::DockerFrom(25)),
        test!(volumes),
        test!(binds_of_files),
        test!(part_of_a_volume).needs(Need::DockerFrom(26)),
        test!(image_as_a_mount).needs(Need::DockerFrom(28)),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![test!(mounts_of_a_guest)]
}

fn volume(case: &Case) {
    let docker = Docker::new(case);
    let path = volume_of(case);
    let bind = format!("{path}:/mnt");
    let output = docker
        .run(
            &["-v", &bind],
            NATIVE,
            &["sh", "-c", "cat /mnt/file; echo x >/mnt/new"],
        )
        .ok();
    assert_eq!(output.stdout, "in the volume\n");
    assert!(case.dir.join("volume/new").exists());
    let readonly = docker
        .run(&["-v", &format!("{bind}:ro")], NATIVE, &["touch", "/mnt/x"])
        .code_is(1);
    assert!(readonly.stderr.contains("Read-only"), "{readonly}");
    let named = docker
        .run(
            &["-v", "/anonymous"],
            NATIVE,
            &["sh", "-c", "touch /anonymous/x && echo fine"],
        )
        .ok();
    assert_eq!(named.stdout, "fine\n");
}

/// Sizes, modes, owners and flags: those asked for, and those that Docker adds.
fn tmpfs(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "--tmpfs",
        "/options:size=4m,mode=700,uid=1000,exec",
        "--tmpfs",
        "/home",
        "--mount",
        "type=tmpfs,dst=/mount,tmpfs-size=2m,tmpfs-mode=1711",
        "--mount",
        "type=tmpfs,dst=/readonly,ro",
        "--shm-size",
        "3m",
    ];
    let script = "stat -c '%n %a %u' /options /home /mount; df -k /options /mount /dev/shm | awk '{ print $2 }'; \
        for dir in options home mount readonly; do grep \" /$dir \" /proc/mounts | cut -d ' ' -f 2,4; done; \
        cp /bin/busybox /options/true && /options/true && echo executes; cp /bin/busybox /home/true && /home/true || echo refused; \
        touch /readonly/x || echo readonly";
    let output = docker.run(&flags, NATIVE, &["sh", "-c", script]);
    let lines = output.lines();
    assert_eq!(
        lines[..3],
        ["/options 700 1000", "/home 755 0", "/mount 1711 0"],
        "{output}"
    );
    assert_eq!(lines[4..7], ["4096", "2048", "3072"], "{output}");
    for (line, (path, options)) in lines[7..].iter().zip([
        ("/options", "rw,nosuid,nodev"),
        ("/home", "rw,nosuid,nodev,noexec"),
        ("/mount", "rw,nosuid,nodev,noexec"),
        ("/readonly", "ro,nosuid,nodev,noexec"),
    ]) {
        assert!(
            line.starts_with(&format!("{path} {options},relatime")),
            "{line}: {output}"
        );
    }
    assert_eq!(lines[11..], ["executes", "refused", "readonly"], "{output}");
}

/// A directory of the host that is a mount whose changes are passed on.
fn shared_directory(case: &Case, docker: &Docker) -> String {
    let source = case.path("shared");
    let script = format!("mkdir {source}; mount -t tmpfs none {source}; mount --make-shared {source}");
    docker.outside(&script).ok();
    source
}

/// Each propagation: what its mount is, and which way mounts go that are made later.
fn propagation(case: &Case) {
    let docker = Docker::new(case);
    let source = shared_directory(case, &docker);
    let kinds = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
    let mounts = kinds.map(|kind| format!("type=bind,src={source},dst=/{kind},bind-propagation={kind}"));
    let mut flags = vec!["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"];
    flags.extend(mounts.iter().flat_map(|mount| ["--mount", mount]));
    let brief = format!("{source}:/brief:rslave");
    flags.extend(["-v", &brief]);
    let id = docker.start(&flags, NATIVE, &["sleep", "100"]);
    let exec = |script: &str| docker.call(&["exec", &id, "sh", "-c", script]).ok();
    docker
        .outside(&format!(
            "mkdir {source}/late; mount -t tmpfs none {source}/late; touch {source}/late/file"
        ))
        .ok();
    let seen = exec("cd /; for dir in *; do ! test -e $dir/late/file || echo $dir; done");
    assert_eq!(seen.lines(), ["brief", "rshared", "rslave", "shared", "slave"]);
    let table = exec("cat /proc/self/mountinfo");
    for kind in kinds {
        let found = table
            .lines()
            .into_iter()
            .find(|line| line.contains(&format!(" / /{kind} ")));
        let line = found.unwrap_or_else(|| panic!("{kind}: {table}"));
        let is = (line.contains(" shared:"), line.contains(" master:"));
        assert_eq!(is, (kind.contains("shared"), kind.contains("slave")), "{line}");
    }
    exec(
        "mkdir /rshared/inner /slave/own; mount -t tmpfs none /rshared/inner; mount -t tmpfs none /slave/own; \
          touch /rshared/inner/file /slave/own/file",
    );
    let host = docker.outside(&format!("ls {source}/inner {source}/own")).ok();
    assert!(
        host.stdout.contains("inner:\nfile\n") && host.stdout.ends_with("own:\n"),
        "{host}"
    );
    docker.call(&["rm", "--force", &id]).ok();
    docker
        .outside(&format!("umount {source}/inner {source}/late {source}"))
        .ok();
}

/// What is mounted below the source comes along, or does not.
fn mounts_below_the_source(case: &Case) {
    let docker = Docker::new(case);
    let source = shared_directory(case, &docker);
    docker
        .outside(&format!(
            "mkdir {source}/below; mount -t tmpfs none {source}/below; touch {source}/below/file"
        ))
        .ok();
    let list = |option: &str| {
        let mount = format!("type=bind,src={source},dst=/mnt{option}");
        docker
            .run(&["--mount", &mount], NATIVE, &["ls", "/mnt/below"])
            .ok()
            .stdout
    };
    assert_eq!(list(""), "file\n");
    let without = ["bind-nonrecursive", "bind-recursive=disabled"];
    // The option's name has changed with version 25, of the client.
    let help = docker
        .call(&["version", "--format", "{{.Client.Version}}"])
        .ok()
        .stdout;
    let new = help
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok())
        .is_some_and(|major| major >= 25);
    assert_eq!(list(&format!(",{}", without[usize::from(new)])), "");
    docker.outside(&format!("umount {source}/below {source}")).ok();
}

/// From Docker 25 on read-only means that what is mounted below is so as well, if the runtime says that it can.
fn readonly_below_the_source(case: &Case) {
    let docker = Docker::new(case);
    let source = shared_directory(case, &docker);
    docker
        .outside(&format!(
            "mkdir {source}/below; mount -t tmpfs none {source}/below"
        ))
        .ok();
    let writes = |option: &str| {
        let mount = format!("type=bind,src={source},dst=/mnt,readonly{option}");
        let script =
            "touch /mnt/x 2>/dev/null && echo above; touch /mnt/below/x 2>/dev/null && echo below; true";
        docker
            .run(&["--mount", &mount], NATIVE, &["sh", "-c", script])
            .ok()
            .stdout
    };
    assert_eq!(writes(""), "");
    assert_eq!(writes(",bind-recursive=readonly,bind-propagation=rprivate"), "");
    assert_eq!(writes(",bind-recursive=writable"), "below\n");
    docker.outside(&format!("umount {source}/below {source}")).ok();
}

/// Volumes with the image's files, over which Docker mounts its own; and another container's.
fn volumes(case: &Case) {
    let docker = Docker::new(case);
    let flags = [
        "--mount",
        "type=volume,dst=/etc",
        "--mount",
        "type=volume,dst=/bin/none,volume-nocopy",
        "-v",
        "/data",
    ];
    let script =
        "grep -c user /etc/passwd; grep -c localhost /etc/hosts; echo kept >/data/file; exec sleep 100";
    let id = docker.start(&flags, NATIVE, &["sh", "-c", script]);
    eventually("it has written", || {
        docker
            .call(&["exec", &id, "test", "-s", "/data/file"])
            .status
            .success()
            .then_some(())
    });
    assert_eq!(docker.call(&["logs", &id]).ok().lines(), ["1", "2"]);
    let nocopy = docker.run(
        &["--mount", "type=volume,dst=/etc,volume-nocopy"],
        NATIVE,
        &["cat", "/etc/passwd"],
    );
    assert!(nocopy.stderr.contains("No such file"), "{nocopy}");
    let script = "cat /data/file; echo more >>/data/file && echo written; true";
    let run = |from: &str| {
        docker
            .run(&["--volumes-from", from], NATIVE, &["sh", "-c", script])
            .ok()
            .stdout
    };
    assert_eq!(run(&format!("{id}:ro")), "kept\n");
    assert_eq!(run(&id), "kept\nwritten\n");
}

/// Files in place of files, below other mounts, with labels that mean nothing here, where a link leads.
fn binds_of_files(case: &Case) {
    let docker = Docker::new(case);
    let path = volume_of(case);
    let file = format!("{path}/file");
    let binds = [
        format!("{file}:/etc/passwd:ro,Z"),
        format!("{path}:/mnt/deep/er:z"),
        format!("{file}:/mnt/deep/er/new/file:ro"),
        format!("{file}:/tmp/tmpfs/file"),
        format!("{file}:/var/run/there"),
    ];
    let mut flags: Vec<&str> = binds.iter().flat_map(|bind| ["-v", bind]).collect();
    flags.extend(["--tmpfs", "/tmp/tmpfs", "--read-only"]);
    let script = "cat /etc/passwd /mnt/deep/er/file /mnt/deep/er/new/file /tmp/tmpfs/file /var/run/there; \
        echo x >/etc/passwd || echo readonly; echo x >/mnt/deep/er/made && echo written";
    let output = docker.run(&flags, NATIVE, &["sh", "-c", script]);
    let expected = format!("{}readonly\nwritten\n", "in the volume\n".repeat(5));
    assert_eq!(output.stdout, expected, "{output}");
    assert!(case.dir.join("volume/made").exists());
}

fn part_of_a_volume(case: &Case) {
    let docker = Docker::new(case);
    let volume = case.mark.trim_end_matches('-').to_owned();
    let whole = format!("type=volume,src={volume},dst=/v");
    let make = "mkdir -p /v/part/of; echo inside >/v/part/of/file";
    docker.run(&["--mount", &whole], NATIVE, &["sh", "-c", make]).ok();
    let part = format!("type=volume,src={volume},dst=/v,volume-subpath=part/of,readonly");
    let script = "cat /v/file; touch /v/x || echo readonly";
    let output = docker.run(&["--mount", &part], NATIVE, &["sh", "-c", script]);
    docker.call(&["volume", "rm", &volume]).ok();
    assert_eq!(output.stdout, "inside\nreadonly\n", "{output}");
}

fn image_as_a_mount(case: &Case) {
    let docker = Docker::new(case);
    let mount = "type=image,src=wasm-hello:test,dst=/image";
    let script = "ls /image; touch /image/x || echo readonly";
    let output = docker.run(&["--mount", mount], NATIVE, &["sh", "-c", script]);
    assert_eq!(output.stdout, "hello.wasm\nreadonly\n", "{output}");
    if case.runtime.ours {
        let flags = ["--mount", mount, "--entrypoint", "/image/hello.wasm"];
        let output = docker.run(&flags, "wasm-file:test", &[]).ok();
        assert!(output.stdout.starts_with("Hello from Wasm\n"), "{output}");
    }
}

/// 69 is WASI's number for a read-only file system, 29 that for what else cannot be written.
fn mounts_of_a_guest(case: &Case) {
    let docker = Docker::new(case);
    let path = volume_of(case);
    let binds = [format!("{path}:/volume:ro,z"), format!("{path}/file:/tmpfs/file")];
    let flags = [
        "--read-only",
        "--tmpfs",
        "/tmpfs:mode=700",
        "--mount",
        "type=tmpfs,dst=/mount,tmpfs-size=64k",
        "--mount",
        "type=volume,dst=/data",
        "-v",
        &binds[0],
        "-v",
        &binds[1],
    ];
    let file = |arguments: &[&str]| docker.run(&flags, "wasm-file:test", arguments);
    for path in ["/tmpfs/new", "/mount/new", "/data/new"] {
        file(&[path, "x"]).ok();
    }
    for path in ["/volume/new", "/new"] {
        let output = file(&[path, "x"]);
        assert!([29, 69].contains(&output.code()), "{output}");
    }
    for path in ["/volume/file", "/tmpfs/file"] {
        assert_eq!(file(&[path]).ok().stdout, "in the volume\n");
    }
}
