//! `docker build`: steps that the runtime executes, by the classic builder and by BuildKit.

use std::sync::{PoisonError, RwLock};

use rustix::process::Signal;

use super::*;
use crate::harness::command::Output;
use crate::harness::installed::client_with_buildkit;
use crate::harness::leaks;

pub fn tests() -> Vec<Test> {
    vec![
        test!(classic_build),
        test!(classic_build_that_fails),
        test!(classic_build_that_is_cancelled),
        test!(buildkit).needs(Need::BuildKit),
        test!(buildkit_mounts).needs(Need::BuildKit),
        test!(buildkit_networks).needs(Need::BuildKit),
        test!(buildkit_step_without_network)
            .needs(Need::BuildKit)
            .needs(Need::DockerFrom(23)),
        test!(buildkit_that_fails).needs(Need::BuildKit),
        test!(buildkit_that_is_cancelled).needs(Need::BuildKit),
    ]
}

pub fn wasm_tests() -> Vec<Test> {
    vec![
        test!(classic_step_in_wasm),
        test!(buildkit_step_in_wasm).needs(Need::BuildKit),
    ]
}

/// Which of Docker's two builders.
#[derive(Clone, Copy, PartialEq)]
enum Builder {
    Classic,
    BuildKit,
}

/// `docker build FLAGS` of a directory with the file `input` and the guest file.wasm; the image is named after the test.
fn command(docker: &Docker, builder: Builder, flags: &[&str], dockerfile: &str) -> std::process::Command {
    let dir = docker.case.dir.join("context");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("Dockerfile"), dockerfile).expect("a file");
    fs::write(dir.join("input"), "from the context\n").expect("a file");
    fs::write(dir.join("file.wasm"), crate::harness::guest::binary("file")).expect("a file");
    let (image, path) = (image(docker), docker.case.path("context"));
    let mut arguments = vec!["build", "--tag", &image];
    if builder == Builder::Classic {
        arguments.push("--force-rm");
    } else {
        arguments.push("--progress=plain");
    }
    arguments.extend(flags);
    arguments.push(&path);
    let mut command = docker.command(&arguments);
    if builder == Builder::BuildKit {
        let client = client_with_buildkit().expect("a test that needs it");
        command = docker.command_of(&client, &arguments);
    }
    command.env(
        "DOCKER_BUILDKIT",
        if builder == Builder::BuildKit { "1" } else { "0" },
    );
    command
}

fn image(docker: &Docker) -> String {
    format!("{}built", docker.case.mark)
}

fn build(docker: &Docker, builder: Builder, flags: &[&str], dockerfile: &str) -> Output {
    docker.case.finish(command(docker, builder, flags, dockerfile))
}

/// What a container of the built image prints, by its own command or another.
fn output(docker: &Docker, command: &[&str]) -> String {
    docker.run(&[], &image(docker), command).ok().stdout
}

const STEPS: &str = "\
FROM native:test
ENV ONE=one
WORKDIR /work
COPY input .
RUN cat input >copied && echo $ONE >>copied
RUN grep -E '^(CapEff|Seccomp):' /proc/self/status >/confined
RUN ls /sys/class/net >/devices && mkdir -m 777 /open
USER user
RUN id -u >/open/user; touch /new 2>/dev/null || echo denied >>/open/user
RUN [\"sh\", \"-c\", \"pwd >>/open/user; echo $ONE $0 >>/open/user\", \"arg\"]
CMD [\"cat\", \"copied\", \"/confined\", \"/devices\", \"/open/user\"]
";

fn steps(case: &Case, builder: Builder) {
    let docker = Docker::in_place_of_runc(case);
    build(&docker, builder, &["--no-cache"], STEPS).ok();
    assert_eq!(
        output(&docker, &[]),
        "from the context\none\nCapEff:\t00000000a80425fb\nSeccomp:\t2\neth0\nlo\n1000\ndenied\n/work\none arg\n"
    );
    // While others build too, BuildKit may not find at once what it has.
    eventually("what is unchanged is not executed again", || {
        let again = build(&docker, builder, &[], STEPS).ok();
        let said = format!("{}{}", again.stdout, again.stderr).to_lowercase();
        (said.contains("using cache") || said.contains("cached")).then_some(())
    });
}

fn classic_build(case: &Case) {
    steps(case, Builder::Classic);
}

fn buildkit(case: &Case) {
    steps(case, Builder::BuildKit);
}

fn classic_build_that_fails(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let failing = "FROM native:test\nRUN echo so far && exit 7\n";
    let failed = build(&docker, Builder::Classic, &[], failing).code_is(7);
    assert!(
        failed.stdout.contains("so far") && failed.stderr.contains("non-zero code: 7"),
        "{failed}"
    );
    let missing = build(
        &docker,
        Builder::Classic,
        &[],
        "FROM native:test\nRUN [\"nonsense\"]\n",
    );
    assert!(
        missing.code() != 0 && missing.stderr.contains("nonsense") && missing.stderr.contains("not found"),
        "{missing}"
    );
}

fn buildkit_that_fails(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let failing = "FROM native:test\nRUN echo so far && exit 7\n";
    let failed = build(&docker, Builder::BuildKit, &[], failing);
    assert!(
        failed.code() != 0 && failed.stderr.contains("so far") && failed.stderr.contains("exit code: 7"),
        "{failed}"
    );
    let missing = build(
        &docker,
        Builder::BuildKit,
        &[],
        "FROM native:test\nRUN [\"nonsense\"]\n",
    );
    assert!(
        missing.code() != 0 && missing.stderr.contains("nonsense") && missing.stderr.contains("not found"),
        "{missing}"
    );
}

/// The daemon's build cache: read by tests that rely on it, written by those that empty it, which is for all.
pub(super) static CACHE: RwLock<()> = RwLock::new(());

fn buildkit_mounts(case: &Case) {
    let _kept = CACHE.read().unwrap_or_else(PoisonError::into_inner);
    let docker = Docker::in_place_of_runc(case);
    fs::write(case.dir.join("token"), "secret\n").expect("the secret");
    // The cache is the daemon's, which other tests use too.
    let dockerfile = format!(
        "\
FROM native:test AS stage
RUN echo from a stage >/given
FROM native:test
ARG TURN
RUN --mount=type=cache,id={mark},target=/cache echo $TURN >>/cache/turns && cp /cache/turns /turns
RUN --mount=type=tmpfs,target=/fast touch /fast/x && grep -q ' /fast tmpfs ' /proc/mounts && echo tmpfs >/fast-one
RUN --mount=type=secret,id=token tr a-z A-Z </run/secrets/token >/loud
RUN --mount=type=secret,id=token,target=/own,uid=1000,mode=0400 stat -c '%u %a' /own >/mode
RUN --mount=type=bind,from=stage,source=/given,target=/mnt/given cat /mnt/given >/bound
RUN --mount=type=bind,target=/context cat /context/input >>/bound && ! touch /context/input 2>/dev/null
RUN --mount=type=bind,rw,target=/context touch /context/scratch && test -e /context/scratch
CMD cat /turns /fast-one /loud /mode /bound; ls /cache /fast /context; cat /run/secrets/token /own
",
        mark = case.mark
    );
    let secret = format!("id=token,src={}", case.path("token"));
    for turn in ["first", "second"] {
        let turn = format!("TURN={turn}");
        let flags = ["--secret", &secret, "--build-arg", &turn];
        build(&docker, Builder::BuildKit, &flags, &dockerfile).ok();
    }
    let made = docker.run(&[], &image(&docker), &[]);
    let expected = "first\nsecond\ntmpfs\nSECRET\n1000 400\nfrom a stage\nfrom the context\n";
    assert!(made.stdout.starts_with(expected), "{made}");
    // Nothing of the mounts is in the image; an empty file may be where one was mounted.
    assert!(
        !made.stdout.contains("secret") && !made.stdout.contains("scratch"),
        "{made}"
    );
}

const NETWORK: &str = "\
FROM native:test
RUN ls /sys/class/net >/devices; readlink /proc/self/ns/net >/namespace
CMD cat /devices /namespace
";

fn buildkit_networks(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    build(&docker, Builder::BuildKit, &["--network", "none"], NETWORK).ok();
    let none = output(&docker, &[]);
    assert!(none.starts_with("lo\nnet:["), "{none}");
    let flags = ["--network", "host", "--no-cache"];
    build(&docker, Builder::BuildKit, &flags, NETWORK).ok();
    let outside = case
        .finish(docker.beside("readlink", &["/proc/self/ns/net"]))
        .ok();
    let host = output(&docker, &["cat", "/namespace"]);
    assert_eq!(host, outside.stdout);
    assert!(!none.ends_with(&host), "{none}");
}

fn buildkit_step_without_network(case: &Case) {
    let docker = Docker::in_place_of_runc(case);
    let dockerfile = "\
FROM native:test
RUN --network=none ls /sys/class/net >/devices
RUN ls /sys/class/net >>/devices
CMD cat /devices
";
    build(&docker, Builder::BuildKit, &[], dockerfile).ok();
    assert_eq!(output(&docker, &[]), "lo\neth0\nlo\n");
}

/// A build is given up in the middle of a step, whose processes end.
fn cancel(case: &Case, builder: Builder) {
    let docker = Docker::in_place_of_runc(case);
    let word = format!("{}step", case.mark);
    let dockerfile =
        format!("FROM native:test\nRUN sleep 1000 & exec sh -c 'while :; do sleep 1; done' {word}\n");
    let run = case.start(command(&docker, builder, &["--no-cache"], &dockerfile));
    let steps = || leaks::processes_with(|line| line.starts_with("sh -c while") && line.ends_with(&word));
    eventually("the step runs", || (!steps().is_empty()).then_some(()));
    run.signal(Signal::INT);
    assert_ne!(run.wait().code(), 0);
    eventually("the step has ended", || steps().is_empty().then_some(()));
    // And the daemon builds on.
    build(
        &docker,
        builder,
        &[],
        "FROM native:test\nRUN echo more >/more\nCMD cat /more\n",
    )
    .ok();
    assert_eq!(output(&docker, &[]), "more\n");
}

fn classic_build_that_is_cancelled(case: &Case) {
    cancel(case, Builder::Classic);
}

fn buildkit_that_is_cancelled(case: &Case) {
    cancel(case, Builder::BuildKit);
}

const WASM: &str = "\
FROM scratch AS stage
COPY file.wasm /
RUN [\"/file.wasm\", \"/made\", \"by Wasm\"]
FROM scratch
COPY --from=stage /file.wasm /made /
ENTRYPOINT [\"/file.wasm\", \"/made\"]
";

/// A step that is a guest, in an image with nothing else.
fn wasm_step(case: &Case, builder: Builder) {
    let docker = Docker::in_place_of_runc(case);
    build(&docker, builder, &[], WASM).ok();
    assert_eq!(output(&docker, &[]), "by Wasm");
    let failing = "FROM scratch\nCOPY file.wasm /\nRUN [\"/file.wasm\", \"/missing\"]\n";
    // 44: WASI's number for what does not exist.
    let failed = build(&docker, builder, &[], failing);
    assert!(
        failed.code() != 0 && failed.stderr.contains("code: 44"),
        "{failed}"
    );
}

fn classic_step_in_wasm(case: &Case) {
    wasm_step(case, Builder::Classic);
}

fn buildkit_step_in_wasm(case: &Case) {
    wasm_step(case, Builder::BuildKit);
}
