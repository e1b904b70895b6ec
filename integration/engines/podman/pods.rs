//! Pods: of Podman's own making, and of Kubernetes' files.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![test!(pod), test!(namespaces_of_a_pod), test!(pod_of_kubernetes)]
}

/// `podman run --pod pod FLAGS IMAGE ARGUMENTS`.
pub(super) fn run_in(podman: &Podman, flags: &[&str], arguments: &[&str]) -> crate::harness::Output {
    let flags = [&["--pod", "pod"], flags].concat();
    podman
        .case
        .finish(podman.run_command(&flags, NATIVE, arguments))
        .ok()
}

fn create(podman: &Podman, flags: &[&str]) {
    let parent = podman.cgroup_parent();
    let own = ["pod", "create", "--name", "pod", "--cgroup-parent", &parent];
    podman.call(&[&own, flags].concat()).ok();
}

pub(super) fn remove(podman: &Podman) {
    podman.call(&["pod", "rm", "--force", "--time", "0", "pod"]).ok();
}

fn pod(case: &Case) {
    let podman = Podman::new(case);
    create(&podman, &[]);
    serve_and_ask(&podman);
    remove(&podman);
}

/// Containers of one pod talk to each other.
pub(super) fn serve_and_ask(podman: &Podman) {
    let serve = "while :; do echo served | nc -l -p 4000; done";
    run_in(podman, &["--detach"], &["sh", "-c", serve]);
    let ask = "until nc 127.0.0.1 4000 </dev/null | grep served; do sleep 0.1; done";
    let output = run_in(podman, &["--rm"], &["sh", "-c", ask]);
    assert_eq!(output.stdout, "served\n");
}

fn namespaces_of_a_pod(case: &Case) {
    let podman = Podman::new(case);
    let share = [
        "--share",
        "pid,ipc,net,uts",
        "--network",
        "none",
        "--hostname",
        "of-the-pod",
    ];
    create(&podman, &share);
    let id = run_in(&podman, &["--detach"], &["sleep", "1234"]);
    let id = id.stdout.trim();
    let script = "for kind in pid ipc net uts mnt; do readlink /proc/self/ns/$kind; done";
    let first = podman.call(&["exec", id, "sh", "-c", script]).ok();
    let second = format!("{script}; ps | grep -q '[s]leep 1234' && echo seen; hostname");
    let second = run_in(&podman, &["--rm"], &["sh", "-c", &second]);
    let (first, second) = (first.lines(), second.lines());
    assert_eq!(first[..4], second[..4]);
    assert_ne!(first[4], second[4]);
    assert_eq!(second[5..], ["seen", "of-the-pod"]);
    let status = || podman.inspect(id, "{{.State.Status}}");
    podman.call(&["pod", "pause", "pod"]).ok();
    assert_eq!(status(), "paused");
    podman.call(&["pod", "unpause", "pod"]).ok();
    podman.call(&["pod", "stop", "--time", "0", "pod"]).ok();
    assert!(["exited", "stopped"].contains(&&*status()));
    podman.call(&["pod", "start", "pod"]).ok();
    assert_eq!(status(), "running");
    remove(&podman);
}

/// What such a file says of a container, and one container that prepares the others' directory.
const KUBERNETES: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: pod
  annotations: { io.podman.annotations.init.container.type: always }
spec:
  hostname: of-the-pod
  shareProcessNamespace: true
  initContainers:
  - name: first
    image: IMAGE
    command: [sh, -c, "echo prepared >/shared/file"]
    volumeMounts: [{ name: shared, mountPath: /shared }]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "id -u; cat /shared/file; hostname; grep CapBnd /proc/self/status; touch /x || echo up; sleep 100"]
    env: [{ name: WRUN_TEST_CASE, value: "MARK" }]
    volumeMounts: [{ name: shared, mountPath: /shared, readOnly: true }]
    resources: { limits: { memory: 50Mi } }
    securityContext:
      runAsUser: 1000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: { drop: [ALL], add: [NET_ADMIN] }
  volumes: [{ name: shared, emptyDir: {} }]
"#;

fn pod_of_kubernetes(case: &Case) {
    let podman = Podman::new(case);
    let file = case.path("pod.yaml");
    let text = KUBERNETES.replace("IMAGE", NATIVE).replace("MARK", &case.mark);
    fs::write(&file, text).expect("a file");
    podman.call(&["play", "kube", "--network", "none", &file]).ok();
    podman.wait_for_log("pod-main", "up");
    let output = podman.call(&["logs", "pod-main"]).ok();
    let expected = [
        "1000",
        "prepared",
        "of-the-pod",
        "CapBnd:\t0000000000001000",
        "up",
    ];
    assert_eq!(output.lines(), expected, "{output}");
    let pid = podman.inspect("pod-main", "{{.State.Pid}}");
    let limit = super::super::cgroup_file(&pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, "52428800");
    podman.call(&["play", "kube", "--down", &file]).ok();
}
