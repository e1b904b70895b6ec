//! Buildah: programs that run while an image is built, and in working containers.

use super::*;

pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(build),
        test!(build_of_a_user),
        test!(run_in_a_working_container),
    ];
    tests.into_iter().map(|test| test.needs(Need::Buildah)).collect()
}

/// Builds in each kind of isolation; the last, which needs no runtime, shows that the file is right.
fn each_isolation(podman: &Podman) {
    let context = podman.case.dir.join("context");
    fs::create_dir(&context).expect("a directory");
    let file = format!(
        "FROM {NATIVE}\n\
         RUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/c,mode=0777 --mount=type=secret,id=word \
         --mount=type=bind,source=.,target=/context touch /t/x /c/y && test -e /context/Containerfile && \
         echo $(cat /run/secrets/word) by $(id -u) with $(ulimit -n) >/made && chmod 777 /tmp\n\
         USER 1000\nWORKDIR /tmp\nRUN touch mine && stat -c %u mine >/tmp/owner\nCMD cat /made /tmp/owner\n"
    );
    fs::write(context.join("Containerfile"), file).expect("a file");
    let secret = podman.case.path("secret");
    fs::write(&secret, "built").expect("a file");
    let secret = format!("id=word,src={secret}");
    let flags = [
        "--secret",
        &secret,
        "--ulimit",
        "nofile=100:100",
        "--cap-drop",
        "CAP_SETFCAP",
    ];
    for isolation in ["oci", "rootless", "chroot"] {
        let tag = format!("localhost/built:{isolation}");
        podman
            .case
            .finish(podman.build(isolation, &flags, &context, &tag))
            .ok();
        let output = podman.run(NO_NETWORK, &tag, &[]).ok();
        assert_eq!(output.stdout, "built by 0 with 100\n1000\n", "{isolation}");
    }
}

fn build(case: &Case) {
    each_isolation(&Podman::new(case));
}

fn build_of_a_user(case: &Case) {
    each_isolation(&Podman::rootless(case));
}

fn run_in_a_working_container(case: &Case) {
    let podman = Podman::new(case);
    let name = podman.working_container();
    let path = volume(case, "volume");
    let volume = format!("{path}:/v:ro");
    for isolation in ["oci", "rootless"] {
        let mut command = podman.buildah("run", isolation);
        command.args([
            "--user",
            "1000:1000",
            "--cap-add",
            "CAP_NET_ADMIN",
            "--workingdir",
            "/tmp",
        ]);
        command.args(["--volume", &volume, "--env", "A=b", &name, "sh", "-c"]);
        command.arg("id -u; pwd; cat /v/file; echo $A; touch /v/made; exit 6");
        let output = case.finish(command).code_is(6);
        let expected = ["1000", "/tmp", "in the volume", "b"];
        assert_eq!(output.lines(), expected, "{isolation}: {output}");
        assert!(output.stderr.contains("Read-only"), "{isolation}: {output}");
    }
}
