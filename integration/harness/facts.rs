//! What this machine can do, probed once, so that a test which cannot run here is skipped with the reason.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::installed::{
    client_with_buildkit, compose_plugin, compose_program, containerd_version, docker_version, find_postgres,
    find_program, network_plugins, podman_version, succeeds,
};

/// A script for `sh -c` in a mount namespace of its own: shows the command after it a pure cgroup v2 tree,
/// also on a machine whose controllers are mounted as v1.
pub const MOUNT_UNIFIED: &str = "mount --make-rprivate / && umount -R /sys/fs/cgroup && \
     mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";

/// The part of it that mounts, for scripts that do more.
pub const MOUNT_TREE: &str =
    "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";

/// Like [`MOUNT_UNIFIED`], for cgroup v1's hierarchies of network classes and priorities beside those that are there.
pub const MOUNT_NETWORK_CLASSES: &str = "mount --make-rprivate / && cd /sys/fs/cgroup && \
     test -e memory/cgroup.procs && mount -t cgroup -o net_cls none net_cls && \
     mount -t cgroup -o net_prio none net_prio && cd / && exec \"$@\"";

/// Something that a test needs beyond root and Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The kernel enforces AppArmor profiles.
    AppArmor,
    /// The profile [`APPARMOR_PROFILE`] is loaded.
    AppArmorProfile,
    /// The kernel enforces SELinux labels.
    Selinux,
    /// The kernel knows no SELinux labels.
    NoSelinux,
    /// Each cgroup has a share of the time for real-time processes (cgroup v1, CONFIG_RT_GROUP_SCHED).
    RealTimeGroups,
    /// cgroup v1's controllers of network classes and priorities can be mounted.
    NetworkClasses,
    /// A disk can be made of a file, for what is limited per device.
    Disk,
    /// Cgroups have weights for block I/O.
    BlockWeights,
    /// And one for each disk, which only the I/O scheduler BFQ has.
    DiskWeights,
    /// Weights of leaves, which CFQ had up to Linux 4.20, are not there.
    NoLeafWeights,
    /// A 64-bit program may call the kernel as i386 programs do (CONFIG_IA32_EMULATION).
    Ia32,
    /// The suite has machine code for this architecture.
    KnownMachineCode,
    /// newuidmap(1) and newgidmap(1), for users' subordinate ids.
    IdMappers,
    /// No controller of RDMA.
    NoRdma,
    /// Controllers are mounted as cgroup v1 hierarchies.
    CgroupV1,
    /// All controllers are in the one tree of cgroup v2.
    CgroupV2,
    /// Overlays whose layers are told one by one (Linux 6.7).
    LayersOneByOne,
    /// A cgroup v2 tree can be mounted in a mount namespace of our own.
    UnifiedTree,
    /// redis-server(1).
    RedisServer,
    /// PostgreSQL's server, and what makes its directory.
    Postgres,
    /// MariaDB's.
    MariaDb,
    /// The `openssl` command, for certificates.
    OpenSsl,
    /// Docker's daemon and client.
    Docker,
    /// A dockerd of that major version or later.
    DockerFrom(u32),
    /// A client of Docker that builds with BuildKit.
    BuildKit,
    /// Docker Compose, of whichever version.
    Compose,
    /// Docker Compose as Docker's plugin, which knows configs.
    ComposePlugin,
    /// containerd, its shim for runc and its client `ctr`.
    Containerd,
    /// `crictl`, a client of Kubernetes' container runtime interface.
    Crictl,
    /// CRI-O, what it starts, and Podman to fill its store of images.
    Crio,
    /// The plugins of CNI that make the network of a pod.
    NetworkPlugins,
    /// A containerd that makes pods with a user namespace (2.0).
    PodsInUserNamespaces,
    /// conmon, which watches a container for Podman and CRI-O.
    Conmon,
    /// Podman and conmon.
    Podman,
    /// A Podman that chooses the runtime by an image's platform (4.4).
    PodmanPlatforms,
    /// A Podman that tells a service manager when a container is healthy (4.7).
    PodmanNotifiesHealth,
    /// Buildah.
    Buildah,
    /// cargo-deb, which makes Debian packages, and dpkg.
    CargoDeb,
    /// systemd is process 1, so that its scopes can be asked for.
    Systemd,
    /// The user for such tests ([`user_with_systemd`]) has a systemd of his own, with the memory and pids controllers.
    UserSystemd,
    /// CAP_SYS_RESOURCE: hard limits can be raised.
    RaiseLimits,
    /// Time namespaces (Linux 5.6, CONFIG_TIME_NS).
    TimeNamespace,
    /// CPUs 0 and 1 are ours to run on.
    TwoCpus,
    /// Memory policies (CONFIG_NUMA).
    Numa,
    /// Pairs of network devices can be made in a network namespace of our own.
    Veth,
    /// resctrl is mounted: a CPU with RDT and an administrator who wants it.
    Resctrl,
    /// resctrl is not mounted.
    NoResctrl,
    /// strace, which can kill a process at any of its system calls.
    Strace,
    /// A CRIU that says it can work on this kernel, and does.
    Criu,
    /// CRIU can tell which memory has changed.
    CriuMemoryTracking,
    /// The toolchains that the built guests were built with, which `integration/guests/build` makes: trixie's, and
    /// forky's for those that need a newer Rust.
    GuestToolchain,
    NewerGuestToolchain,
    /// The shell zsh.
    Zsh,
    /// The shell fish.
    Fish,
    /// The server of NATS.
    Nats,
    /// Mosquitto, a broker of MQTT.
    Mosquitto,
}

/// Why the guests that this Debian builds cannot be built again.
fn not_ready(suite: &str) -> Option<String> {
    match super::guest::build_command(&["--ready", suite]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("integration/guests/build: {error}")),
    }
}

/// The profile that Docker loads, under which a process may read /proc and its own files.
pub const APPARMOR_PROFILE: &str = "docker-default";

impl Need {
    /// Why this machine cannot meet the need; `None` if it can.
    pub fn missing(self) -> Option<String> {
        let unless = |met: bool, why: &str| (!met).then(|| why.to_owned());
        match self {
            Need::AppArmor => unless(
                Path::new("/sys/kernel/security/apparmor/profiles").exists(),
                "this kernel has no AppArmor",
            ),
            Need::AppArmorProfile => unless(
                std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").is_ok_and(|profiles| {
                    profiles
                        .lines()
                        .any(|line| line == format!("{APPARMOR_PROFILE} (enforce)"))
                }),
                "the AppArmor profile of Docker is not loaded on this machine",
            ),
            Need::Selinux => unless(
                std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1"),
                "SELinux is not enforcing here",
            ),
            Need::NoSelinux => unless(
                !Path::new("/sys/fs/selinux/enforce").exists(),
                "this machine has SELinux",
            ),
            Need::RealTimeGroups => unless(
                Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists(),
                "cgroups have no share of real time here",
            ),
            Need::NetworkClasses => unless(
                succeeds("unshare", &["-m", "sh", "-c", MOUNT_NETWORK_CLASSES, "x", "true"]),
                "no cgroup hierarchy of network classes can be mounted here",
            ),
            Need::Disk => unless(
                Path::new("/dev/loop-control").exists() && Path::new("/sys/block/loop0").exists(),
                "no disk can be made of a file here",
            ),
            Need::BlockWeights => unless(
                exists_below(
                    "blkio",
                    &["blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight"],
                ),
                "cgroups have no weights for block I/O here",
            ),
            Need::DiskWeights => unless(
                exists_below(
                    "blkio",
                    &["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight"],
                ) && std::fs::read_to_string("/sys/block/loop0/queue/scheduler")
                    .is_ok_and(|list| list.contains("bfq")),
                "no disk has the I/O scheduler BFQ here",
            ),
            Need::NoLeafWeights => unless(
                !exists_below("blkio", &["blkio.leaf_weight"]),
                "this kernel has weights of leaves",
            ),
            Need::Ia32 => unless(
                Path::new("/proc/sys/abi/vsyscall32").exists(),
                "this kernel takes no calls of i386",
            ),
            Need::KnownMachineCode => unless(
                ["x86_64", "aarch64"].contains(&std::env::consts::ARCH),
                "the suite has no machine code for this architecture",
            ),
            Need::IdMappers => ["newuidmap", "newgidmap"]
                .iter()
                .find(|name| find_program(name).is_none())
                .map(|name| format!("{name} is not installed (package uidmap)")),
            Need::NoRdma => unless(
                std::fs::read_to_string("/proc/cgroups").is_ok_and(|table| !table.contains("rdma")),
                "this kernel has the controller of RDMA",
            ),
            Need::CgroupV1 => unless(
                Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists(),
                "this machine has no cgroup v1 hierarchies",
            ),
            Need::CgroupV2 => unless(
                std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|list| {
                    ["memory", "cpu", "cpuset", "pids"]
                        .iter()
                        .all(|name| list.split_whitespace().any(|own| own == *name))
                }),
                "this machine's controllers are not in a cgroup v2 tree",
            ),
            Need::LayersOneByOne => unless(
                kernel() >= (6, 7),
                "overlays take their layers one by one from Linux 6.7 on",
            ),
            Need::UnifiedTree => unless(
                succeeds("unshare", &["-m", "sh", "-c", MOUNT_UNIFIED, "x", "true"]),
                "no cgroup v2 tree can be mounted here",
            ),
            Need::RedisServer => absent(&["redis-server"]),
            Need::Postgres => unless(
                find_postgres("initdb").is_some() && find_postgres("postgres").is_some(),
                "PostgreSQL's server is not installed",
            ),
            Need::MariaDb => absent(&["mariadbd", "mariadb-install-db"]),
            Need::OpenSsl => absent(&["openssl"]),
            Need::Docker => absent(&["dockerd", "docker", "iptables"]),
            Need::DockerFrom(wanted) => match docker_version() {
                None => Some("dockerd is not installed".to_owned()),
                Some(version) => unless(
                    version >= wanted,
                    &format!("Docker is {version} here, not {wanted} or later"),
                ),
            },
            Need::BuildKit => unless(
                client_with_buildkit().is_some(),
                "no client of Docker here builds with BuildKit (package docker-buildx)",
            ),
            Need::Compose => unless(
                compose_plugin() || compose_program(),
                "no Docker Compose that works is installed (package docker-compose-v2 or docker-compose)",
            ),
            Need::ComposePlugin => unless(
                compose_plugin(),
                "Docker Compose is not here in its second version",
            ),
            Need::Crictl => absent(&["crictl"]),
            Need::Crio => absent(&["crio", "pinns", "conmon", "crictl", "podman"]),
            Need::NetworkPlugins => unless(
                network_plugins().is_some(),
                "the network plugins of CNI are not installed (package containernetworking-plugins)",
            ),
            Need::PodsInUserNamespaces => unless(
                containerd_version().is_some_and(|version| version >= (2, 0)),
                "no containerd of 2.0 or later is installed, which makes pods with user namespaces",
            ),
            Need::Conmon => absent(&["conmon"]),
            Need::Podman => absent(&["podman", "conmon"]),
            Need::PodmanPlatforms => unless(
                podman_version().is_some_and(|version| version >= (4, 4)),
                "no Podman of 4.4 or later is installed",
            ),
            Need::PodmanNotifiesHealth => unless(
                podman_version().is_some_and(|version| version >= (4, 7)),
                "no Podman of 4.7 or later is installed",
            ),
            Need::Buildah => absent(&["buildah"]),
            Need::CargoDeb => absent(&["cargo-deb", "dpkg"]),
            Need::Containerd => absent(&["containerd", "containerd-shim-runc-v2", "ctr"]),
            Need::Systemd => unless(
                Path::new("/run/systemd/system").exists(),
                "systemd is not the init of this machine",
            ),
            Need::UserSystemd => unless(
                user_with_systemd().is_some(),
                "no user `tester`, or of the name in WRUN_TEST_USER, has a systemd of his own here",
            ),
            Need::RaiseLimits => unless(
                has_capability(rustix::thread::CapabilitySet::SYS_RESOURCE),
                "no CAP_SYS_RESOURCE on this machine",
            ),
            Need::TimeNamespace => unless(
                Path::new("/proc/self/ns/time").exists(),
                "this kernel has no time namespaces",
            ),
            Need::TwoCpus => unless(
                succeeds(
                    "taskset",
                    &["-c", "0,1", "sh", "-c", "taskset -cp $$ | grep -Eq '(0,1|0-1)$'"],
                ),
                "CPUs 0 and 1 are not both ours",
            ),
            Need::Numa => unless(
                Path::new("/proc/self/numa_maps").exists(),
                "this kernel has no NUMA",
            ),
            Need::Veth => unless(
                succeeds(
                    "unshare",
                    &[
                        "-n", "ip", "link", "add", "outer", "type", "veth", "peer", "name", "inner",
                    ],
                ),
                "no veth devices can be made here (package iproute2)",
            ),
            Need::Resctrl => unless(resctrl(), "resctrl is not mounted"),
            Need::NoResctrl => unless(!resctrl(), "resctrl is mounted"),
            Need::Strace => absent(&["strace"]),
            Need::Criu => match find_program("criu") {
                None => Some("criu is not installed (3.16 or later)".to_owned()),
                Some(_) if !succeeds("criu", &["check"]) => {
                    Some("criu check says that CRIU does not work on this kernel".to_owned())
                }
                Some(_) => unless(criu_dumps(), "criu dump fails for any process on this kernel"),
            },
            Need::CriuMemoryTracking => unless(
                succeeds("criu", &["check", "--feature", "mem_dirty_track"]),
                "this kernel does not track changed memory for CRIU",
            ),
            Need::GuestToolchain => not_ready("trixie"),
            Need::NewerGuestToolchain => not_ready("forky"),
            Need::Zsh => unless(find_program("zsh").is_some(), "zsh is not installed"),
            Need::Fish => unless(find_program("fish").is_some(), "fish is not installed"),
            Need::Nats => absent(&["nats-server"]),
            Need::Mosquitto => absent(&["mosquitto"]),
        }
    }
}

/// The id of the user for [`Need::UserSystemd`]: `tester`, or whom `WRUN_TEST_USER` names. Nobody is taken unasked, since
/// tests act in his session.
pub fn user_with_systemd() -> Option<u32> {
    static USER: OnceLock<Option<u32>> = OnceLock::new();
    *USER.get_or_init(|| {
        let name = std::env::var("WRUN_TEST_USER").unwrap_or_else(|_| "tester".to_owned());
        let output = Command::new("id").args(["-u", "--", &name]).output().ok()?;
        let id: u32 = std::str::from_utf8(&output.stdout).ok()?.trim().parse().ok()?;
        let slice = format!("/sys/fs/cgroup/user.slice/user-{id}.slice/user@{id}.service");
        let list = std::fs::read_to_string(format!("{slice}/cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| list.split_whitespace().any(|own| own == name);
        let bus = Path::new(&format!("/run/user/{id}/bus")).exists();
        (id != 0 && bus && has("memory") && has("pids")).then_some(id)
    })
}

/// Whether a cgroup below the root has one of `files` of a controller, on v1 or v2.
fn exists_below(controller: &str, files: &[&str]) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies = [root.join(controller), root.to_owned()].into_iter();
    let hierarchy = hierarchies.find(|hierarchy| hierarchy.join("cgroup.procs").exists());
    let Some(hierarchy) = hierarchy else { return false };
    let probe = hierarchy.join(format!("wrun-probe-{}", std::process::id()));
    let made = std::fs::create_dir(&probe).is_ok();
    let found = files.iter().any(|file| probe.join(file).exists());
    let removed = std::fs::remove_dir(&probe).is_ok();
    made && removed && found
}

/// Whether CRIU dumps a process that does nothing. User Mode Linux has all that `criu check` looks for, but a dump fails
/// there: the vDSO is where PAGEMAP_SCAN takes no addresses. The process has a session of its own, whose leader CRIU must see.
fn criu_dumps() -> bool {
    const DUMP: &str = "set -e; dir=$(mktemp -d); setsid sleep 60 & trap 'kill -KILL $! || :; rm -r \"$dir\"' EXIT; sleep 0.1; \
         criu dump --tree $! --shell-job --manage-cgroups=ignore --images-dir \"$dir\"";
    static DUMPS: OnceLock<bool> = OnceLock::new();
    *DUMPS.get_or_init(|| succeeds("sh", &["-c", DUMP]))
}

fn resctrl() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(" - resctrl "))
}

/// Which of the programs is not installed.
fn absent(programs: &[&str]) -> Option<String> {
    let missing = programs.iter().find(|name| find_program(name).is_none());
    missing.map(|name| format!("{name} is not installed"))
}

fn has_capability(capability: rustix::thread::CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The version of Linux, as far as it counts.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
