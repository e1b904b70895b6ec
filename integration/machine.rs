//! What of the machine a container gets by config.json beside its cgroup: CPUs for added processes, a NUMA
//! memory policy, network devices of the host, and a class of service in resctrl.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::{map_ids, set_namespace};
use crate::harness::{Case, Container, Need, Output, Test, test};

const NOT_IN_RUNC_1_1_RDT: &str = "runc 1.1 knows neither monitoring groups nor schemata";

pub fn tests() -> Vec<Test> {
    vec![
        test!(exec_runs_on_the_final_cpus)
            .covers(&["process.execCPUAffinity.final"])
            .needs(Need::TwoCpus)
            .runc_from(3, "CPUs of added processes"),
        test!(exec_with_a_process_file_may_have_other_cpus)
            .covers(&["process.execCPUAffinity.final"])
            .needs(Need::TwoCpus)
            .runc_from(3, "CPUs of added processes"),
        test!(exec_on_cpus_that_are_not_there_fails)
            .covers(&["process.execCPUAffinity.{initial,final}"])
            .runc_from(3, "CPUs of added processes"),
        test!(memory_policy_of_all_processes)
            .covers(&[
                "linux.memoryPolicy.{mode,nodes}",
                "linux.memoryPolicy.mode=MPOL_BIND",
            ])
            .needs(Need::Numa)
            .runc_from(4, "memory policies"),
        test!(memory_policy_in_a_user_namespace)
            .covers(&[
                "linux.memoryPolicy.{mode,nodes}",
                "linux.memoryPolicy.mode=MPOL_BIND",
            ])
            .needs(Need::Numa)
            .runc_from(4, "memory policies"),
        test!(memory_policy_on_an_absent_node_fails)
            .covers(&["linux.memoryPolicy.nodes"])
            .needs(Need::Numa)
            .runc_from(4, "memory policies"),
        test!(each_memory_policy)
            .needs(Need::Numa)
            .runc_from(4, "memory policies")
            .covers(&[
                "linux.memoryPolicy.{mode,flags}",
                "linux.memoryPolicy.{mode,flags}=*",
            ]),
        test!(network_device_with_its_addresses)
            .covers(&["linux.netDevices.name"])
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(network_device_into_a_user_namespace)
            .covers(&["linux.netDevices.name"])
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(network_device_into_a_joined_network)
            .covers(&["linux.netDevices.name", "linux.namespaces.path"])
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(network_device_gets_a_free_number)
            .covers(&["linux.netDevices.name"])
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(network_device_that_cannot_be_moved_stays_as_it_was)
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(network_device_that_does_not_exist_fails)
            .needs(Need::Veth)
            .runc_from(4, "network devices"),
        test!(rdt_without_resctrl_fails)
            .covers(&["linux.intelRdt.{closID,schemata,l3CacheSchema,memBwSchema,enableMonitoring}"])
            .needs(Need::NoResctrl)
            .wrun_only("runc 1.1 passes it over where resctrl is not mounted"),
        test!(old_rdt_monitoring_is_refused)
            .wrun_only("runc passes them over")
            .covers(&["linux.intelRdt.{enableCMT,enableMBM}"]),
        test!(rdt_class_of_its_own)
            .covers(&["linux.intelRdt.{schemata,enableMonitoring}"])
            .needs(Need::Resctrl)
            .wrun_only(NOT_IN_RUNC_1_1_RDT),
        test!(rdt_class_that_does_not_exist_fails)
            .covers(&["linux.intelRdt.closID"])
            .needs(Need::Resctrl)
            .wrun_only(NOT_IN_RUNC_1_1_RDT),
    ]
}

/// The CPUs that a process may run on, as it sees them itself.
const ALLOWED: &str = "grep Cpus_allowed_list /proc/self/status | cut -f 2";

fn sleeper_with<'case>(case: &'case Case, edit: impl FnOnce(&mut Value)) -> Container<'case> {
    let container = case.container_with(&["sleep", "1000"], edit);
    container.run_detached();
    container
}

fn exec_runs_on_the_final_cpus(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "1" });
    });
    assert_eq!(container.sh(ALLOWED), "1");
    // It is not for the first process.
    let status = fs::read_to_string(container.proc("status")).expect("its status");
    let own = fs::read_to_string("/proc/self/status").expect("our own");
    let list = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list"));
        line.expect("a list of CPUs").to_owned()
    };
    assert_eq!(list(&status), list(&own));
}

fn exec_with_a_process_file_may_have_other_cpus(case: &Case) {
    let container = sleeper_with(case, |config| {
        config["process"]["execCPUAffinity"] = json!({ "final": "1" });
    });
    let with = |affinity: Value| {
        let file = case.path("process.json");
        let mut process = json!({ "args": ["sh", "-c", ALLOWED], "cwd": "/", "env": ["PATH=/bin"] });
        if !affinity.is_null() {
            process["execCPUAffinity"] = affinity;
        }
        fs::write(&file, process.to_string()).expect("a process file");
        let output = case.call(&["exec", "--process", &file, &container.id]).ok();
        output.stdout.trim_end().to_owned()
    };
    assert_eq!(with(json!({ "final": "0" })), "0");
    assert_eq!(with(json!({ "initial": "1", "final": "0-1" })), "0-1");
    assert_eq!(with(Value::Null), "1");
}

fn exec_on_cpus_that_are_not_there_fails(case: &Case) {
    for property in ["initial", "final"] {
        let container = sleeper_with(case, |config| {
            config["process"]["execCPUAffinity"] = json!({ property: "1023" });
        });
        let output = container.exec(&["true"]);
        case.names(
            &output,
            &[&format!("process.execCPUAffinity.{property}"), "[1023]"],
        );
    }
}

/// How many mappings of the reading process have the policy.
const BOUND: &str = "grep -c bind:0 /proc/self/numa_maps";

fn bind_to_first_node(config: &mut Value) {
    config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
}

fn memory_policy_of_all_processes(case: &Case) {
    let container = case.script_with(
        &format!("{BOUND} >/tmp/bound; exec sleep 1000"),
        bind_to_first_node,
    );
    container.run_detached();
    assert_ne!(container.wait_for_file("tmp/bound"), "0\n");
    assert_ne!(container.sh(BOUND), "0");
    let unbound = case.script(&format!("{BOUND} || true"));
    assert_eq!(unbound.run().ok().stdout, "0\n");
}

/// As /proc/self/numa_maps shows each (mm/mempolicy.c, mpol_to_str).
fn each_memory_policy(case: &Case) {
    let shown = |policy: Value| {
        let container = case.script_with("cut -d ' ' -f 2 /proc/self/numa_maps | sort -u", |config| {
            config["linux"]["memoryPolicy"] = policy;
        });
        container.run().ok().stdout
    };
    for (mode, nodes, expected) in [
        ("MPOL_DEFAULT", "", "default"),
        ("MPOL_PREFERRED", "0", "prefer:0"),
        ("MPOL_BIND", "0", "bind:0"),
        ("MPOL_INTERLEAVE", "0", "interleave:0"),
        ("MPOL_LOCAL", "", "local"),
        ("MPOL_PREFERRED_MANY", "0", "prefer (many):0"),
        ("MPOL_WEIGHTED_INTERLEAVE", "0", "weighted interleave:0"),
    ] {
        let text = shown(json!({ "mode": mode, "nodes": nodes }));
        // The names of the younger ones have changed, and have a blank in them.
        let word = expected.split(' ').next().expect("a word");
        assert!(text.contains(word), "{mode}: {text}");
        assert!(
            mode == "MPOL_DEFAULT" || !text.starts_with("default\n"),
            "{mode}: {text}"
        );
    }
    for (flag, expected) in [
        ("MPOL_F_STATIC_NODES", "bind=static:0"),
        ("MPOL_F_RELATIVE_NODES", "bind=relative:0"),
        // Older kernels show no word for it.
        ("MPOL_F_NUMA_BALANCING", "bind"),
    ] {
        let text = shown(json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] }));
        assert!(text.contains(expected), "{flag}: {text}");
    }
}

fn memory_policy_in_a_user_namespace(case: &Case) {
    let container = case.script_with(BOUND, |config| {
        map_ids(config, 100_000);
        bind_to_first_node(config);
    });
    assert_ne!(container.run().ok().stdout, "0\n");
}

fn memory_policy_on_an_absent_node_fails(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "1023" });
    });
    case.names(&container.run(), &["linux.memoryPolicy", "[1023]"]);
    case.nothing_left();
}

/// A script for `sh -c` in a network namespace of its own, which stands for the host's: a pair of devices
/// `outer` and `inner`, the latter up and with addresses, for the command after it. Tells which are left.
const HOST: &str = "ip link set lo up && ip link add outer type veth peer name inner && \
     ip link set outer up && ip link set inner up && \
     ip addr add 10.7.0.2/24 dev inner && ip addr add fd07::2/64 dev inner nodad && \
     \"$@\"; code=$?; echo LEFT; ip -o link; exit $code";

/// Runs a command of the runtime on such a host.
fn on_a_host(case: &Case, command: &Command) -> Output {
    let mut host = Command::new("unshare");
    host.args(["-n", "sh", "-c", HOST, "x"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        host.env(name, value.unwrap_or_default());
    }
    case.finish(host)
}

/// A container with a network of its own that gets `inner` under the name `name`, or its own with none.
fn taker<'case>(
    case: &'case Case,
    script: &str,
    name: &str,
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    case.script_with(script, |config| {
        set_namespace(config, "network", None);
        config["linux"]["netDevices"] = json!({ "inner": { "name": name } });
        edit(config);
    })
}

#[track_caller]
fn assert_has_the_device(output: &Output, name: &str) {
    let text = &output.stdout;
    for sign in [&format!(" {name}"), "10.7.0.2/24", "fd07::2/64", ",UP"] {
        assert!(text.contains(sign), "{sign} is missing: {output}");
    }
    assert!(!devices_left(output).contains("inner@"), "{output}");
}

/// The devices of the host when the command has ended.
fn devices_left(output: &Output) -> &str {
    output.stdout.rsplit("LEFT").next().expect("a part at least")
}

fn network_device_with_its_addresses(case: &Case) {
    for name in ["", "net0"] {
        let container = taker(case, "ip addr", name, |_| {});
        let output = on_a_host(case, &container.command("run", &[])).ok();
        assert_has_the_device(&output, if name.is_empty() { "inner" } else { name });
    }
}

fn network_device_into_a_user_namespace(case: &Case) {
    let container = taker(case, "ip addr", "net0", |config| map_ids(config, 100_000));
    let output = on_a_host(case, &container.command("run", &[])).ok();
    assert_has_the_device(&output, "net0");
}

fn network_device_into_a_joined_network(case: &Case) {
    let other = sleeper_with(case, |config| set_namespace(config, "network", None));
    let path = format!("/proc/{}/ns/net", other.pid());
    let container = taker(case, "ip addr", "net0", |config| {
        set_namespace(config, "network", Some(&path));
    });
    let output = on_a_host(case, &container.command("run", &[])).ok();
    assert_has_the_device(&output, "net0");
    // The other end of the pair is there as long as this network is.
    assert!(devices_left(&output).contains("outer"), "{output}");
}

fn network_device_gets_a_free_number(case: &Case) {
    let other = sleeper_with(case, |config| set_namespace(config, "network", None));
    let path = format!("/proc/{}/ns/net", other.pid());
    let mut add = Command::new("nsenter");
    add.arg(format!("--net={path}"))
        .args("ip link add net0 type veth peer name taken".split(' '));
    case.finish(add).ok();
    let join = |config: &mut Value| set_namespace(config, "network", Some(&path));
    let container = taker(case, "ip addr show net1", "net%d", join);
    let output = on_a_host(case, &container.command("run", &[])).ok();
    assert_has_the_device(&output, "net1");
    let container = taker(case, "true", "net0", join);
    let output = on_a_host(case, &container.command("run", &[]));
    case.names(&output, &["linux.netDevices.inner", "already has a device net0"]);
    assert!(devices_left(&output).contains("inner@"), "{output}");
}

fn network_device_that_cannot_be_moved_stays_as_it_was(case: &Case) {
    let container = taker(case, "true", "", |config| {
        config["linux"]["netDevices"] = json!({ "lo": { "name": "lo0" } });
    });
    let output = on_a_host(case, &container.command("run", &[]));
    case.names(
        &output,
        &["linux.netDevices.lo: cannot move it into the container"],
    );
    let lo = output.stdout.lines().find(|line| line.contains(" lo:"));
    assert!(lo.is_some_and(|line| line.contains("LOOPBACK,UP")), "{output}");
    case.nothing_left();
}

fn network_device_that_does_not_exist_fails(case: &Case) {
    let container = taker(case, "true", "", |config| {
        config["linux"]["netDevices"] = json!({ "nonsense": {} });
    });
    let output = on_a_host(case, &container.command("run", &[]));
    case.names(
        &output,
        &["linux.netDevices.nonsense: cannot find it on the host"],
    );
    case.nothing_left();
}

fn rdt_without_resctrl_fails(case: &Case) {
    for rdt in [
        json!({ "closID": "guaranteed" }),
        json!({ "schemata": ["L3:0=f"] }),
        json!({ "l3CacheSchema": "L3:0=f" }),
        json!({ "memBwSchema": "MB:0=50" }),
        json!({ "enableMonitoring": true }),
    ] {
        let container = case.container_with(&["true"], |config| config["linux"]["intelRdt"] = rdt);
        case.names(&container.try_create(&[]), &["linux.intelRdt", "resctrl"]);
        case.nothing_left();
    }
}

/// Version 1.3 of the specification has another property in their place.
fn old_rdt_monitoring_is_refused(case: &Case) {
    for property in ["enableCMT", "enableMBM"] {
        let container = case.container_with(&["true"], |config| {
            config["linux"]["intelRdt"] = json!({ property: true });
        });
        let culprits = [&format!("linux.intelRdt.{property}"), "enableMonitoring"];
        case.names(&container.try_create(&[]), &culprits);
        case.nothing_left();
    }
}

const RESCTRL: &str = "/sys/fs/resctrl";

fn rdt_class_of_its_own(case: &Case) {
    let schemata = fs::read_to_string(Path::new(RESCTRL).join("schemata")).expect("the schemata");
    let line = schemata.lines().next().expect("a resource").trim().to_owned();
    let container = sleeper_with(case, |config| {
        config["linux"]["intelRdt"] = json!({ "schemata": [line], "enableMonitoring": true });
    });
    let class = Path::new(RESCTRL).join(&container.id);
    let tasks = class.join("mon_groups").join(&container.id).join("tasks");
    let tasks = || fs::read_to_string(&tasks).expect("the tasks of the group");
    assert_eq!(tasks().trim(), container.pid().to_string());
    container.exec_with(&["--detach"], &["sleep", "1000"]).ok();
    assert_eq!(tasks().lines().count(), 2);
    container.delete_with(&["--force"]).ok();
    assert!(!class.exists());
    container.edit(|config| config["process"]["args"] = json!(["/no/such/program"]));
    container.try_create(&[]).code_is(1);
    assert!(!class.exists());
}

fn rdt_class_that_does_not_exist_fails(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        config["linux"]["intelRdt"] = json!({ "closID": "no-such-class" });
    });
    case.names(
        &container.try_create(&[]),
        &["linux.intelRdt.closID", "no-such-class"],
    );
    case.nothing_left();
}
