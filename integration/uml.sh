# Sourced by `vm`: the machine as a program, which is Linux built for User Mode Linux. It needs nothing of the processor,
# and is some 5 times as fast as QEMU without KVM. Debian's such program lacks parts that engines need; so one is built of
# Debian's source, once, and kept beside the disk.

# The newest whatever the disk's suite is: before Linux 6.16 all programs in it are traced, which is slow.
uml_suite=sid

# What is built in: the kernel has no modules.
uml_config=(
    # Cgroups.
    CGROUPS MEMCG BLK_CGROUP BLK_DEV_THROTTLING BLK_CGROUP_IOLATENCY BLK_CGROUP_IOPRIO IOSCHED_BFQ BFQ_GROUP_IOSCHED
    CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH CGROUP_PIDS CGROUP_RDMA CGROUP_FREEZER CPUSETS CGROUP_DEVICE
    CGROUP_CPUACCT CGROUP_MISC BPF_SYSCALL CGROUP_BPF PSI
    # Namespaces, processes and security.
    SMP NAMESPACES UTS_NS IPC_NS USER_NS PID_NS NET_NS TIME_NS CHECKPOINT_RESTORE SYSVIPC POSIX_MQUEUE FHANDLE FANOTIFY
    IO_URING USERFAULTFD COREDUMP PROC_CHILDREN BINFMT_MISC KEYS SECCOMP SECCOMP_FILTER SECURITY SECURITYFS
    SECURITY_NETWORK SECURITY_PATH SECURITY_APPARMOR DEFAULT_SECURITY_APPARMOR SECURITY_LANDLOCK AUDIT
    # File systems.
    DEVTMPFS DEVTMPFS_MOUNT TMPFS TMPFS_XATTR TMPFS_POSIX_ACL EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY OVERLAY_FS
    FUSE_FS AUTOFS_FS BLK_DEV_LOOP
    # Networks.
    UNIX UNIX_DIAG INET INET_DIAG PACKET PACKET_DIAG NETLINK_DIAG VSOCKETS IPV6 IP_ADVANCED_ROUTER IP_MULTIPLE_TABLES
    NETDEVICES NET_CORE UML_NET_VECTOR TUN VETH DUMMY MACVLAN BRIDGE BRIDGE_NETFILTER
    NETFILTER NETFILTER_ADVANCED NF_CONNTRACK NF_NAT IP_SET
    NF_TABLES NF_TABLES_INET NF_TABLES_IPV4 NF_TABLES_IPV6 NF_TABLES_ARP NF_TABLES_BRIDGE NFT_CT NFT_COMPAT NFT_NAT
    NFT_MASQ NFT_REDIR NFT_REJECT NFT_LOG NFT_LIMIT NFT_FIB_INET NFT_FIB_IPV4 NFT_FIB_IPV6 NFT_HASH NFT_NUMGEN
    NETFILTER_XTABLES NETFILTER_XTABLES_LEGACY IP_NF_IPTABLES IP_NF_IPTABLES_LEGACY IP_NF_FILTER IP_NF_NAT
    IP_NF_TARGET_REJECT IP6_NF_IPTABLES IP6_NF_IPTABLES_LEGACY IP6_NF_FILTER IP6_NF_NAT
    NETFILTER_XT_MARK NETFILTER_XT_NAT NETFILTER_XT_TARGET_MASQUERADE NETFILTER_XT_TARGET_REDIRECT
    NETFILTER_XT_TARGET_CHECKSUM NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_CONNTRACK
    NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_MARK NETFILTER_XT_MATCH_STATISTIC NETFILTER_XT_MATCH_STATE
)
uml_values=(NR_CPUS=2 'LSM="landlock,lockdown,yama,integrity,apparmor,bpf"' DEBUG_INFO_NONE=y)
# Modules would have to be on the disk; the device of IPv6 in IPv4 would be in every network namespace; iocost and huge
# pages cost time; nothing in the machine is to reach the files here; and there is no radio.
uml_without=(MODULES IPV6_SIT BLK_CGROUP_IOCOST HOSTFS WLAN)

# Where it runs: in namespaces of its own, which end with it, and all its processes and interfaces with them.
uml_room=(unshare --net --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || uml_room+=(--user --map-root-user)

uml_can_run() {
    "${uml_room[@]}" true 2>/dev/null
}

uml_recipe() {
    printf '%s\n' "${uml_config[*]}" "${uml_values[*]}" "${uml_without[*]}"
    declare -f debian uml_build
}

uml_is_built() {
    uml_recipe | cmp -s - "$cache/linux/recipe"
}

uml_needs() {
    need unshare util-linux
    need ip iproute2
    uml_is_built && [ "$command" != build ] || {
        need_compiler
        need make make
        need flex flex
        need bison bison
        need bc bc
        need xz xz-utils
    }
}

uml_build() {
    local new=$cache/new-linux
    rm -rf "$new"
    mkdir -p "$new/source"
    echo "vm: building Linux as a program, which takes some 10 minutes of a processor" >&2
    # Unpacked, not installed.
    debian "$uml_suite" - --variant=extract --include=linux-source |
        tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc | tar -x -C "$new/source" --strip-components=1
    (
        cd "$new/source"
        {
            printf 'CONFIG_%s=y\n' "${uml_config[@]}"
            printf 'CONFIG_%s\n' "${uml_values[@]}"
            printf '# CONFIG_%s is not set\n' "${uml_without[@]}"
        } >wanted
        export ARCH=um
        { make -s defconfig && scripts/kconfig/merge_config.sh -m .config wanted && make -s olddefconfig; } \
            >../log 2>&1 || { cat ../log >&2; fail "Linux cannot be configured; above is why"; }
        # What depends on something that is not there is left out without a word.
        ! grep -vxFf .config wanted >&2 || fail "Linux $(make -s kernelversion) cannot be built with the above"
        make -s -j"$(nproc)" linux >../log 2>&1 || { tail -n 30 ../log >&2; fail "Linux was not built; above is why"; }
        strip -o ../linux linux
    )
    uml_recipe >"$new/recipe"
    rm -rf "$new/source" "$new/log" "$cache/linux"
    mv "$new" "$cache/linux"
}

# Starts it; its network is that which QEMU would make.
uml_start() {
    # Its memory is a file, which has to be in memory for it to be fast. What changes on the disk is in another. Two
    # processors put what they are told of into one list (`epoll_events` in arch/um/os-Linux/irq.c, of 7.2 still), and may
    # so lose that the disk has answered, for which all waits then.
    setsid "${uml_room[@]}" sh -ec '
        ip link set lo up
        ip link add host type veth peer name machine
        ip address add 10.0.2.2/24 dev host
        ip link set host up
        ip link set machine promisc on up
        exec "$@"' sh env TMPDIR=/dev/shm "$cache/linux/linux" uml_dir="$vm/" umid=uml seccomp=on \
        mem="${WRUN_VM_MEMORY:-3072}M" ncpus="${WRUN_VM_CPUS:-1}" ubd0="$vm/changes,$cache/machine/disk" \
        vec0:transport=raw,ifname=machine con=null con0=null,fd:1 root=/dev/ubda "$append" \
        </dev/null >"$vm/console" 2>&1 9>&- &
    echo $! >"$vm/pid"
    # Its end is no news.
    disown
    # Until then it is still this script.
    until alive; do
        kill -0 $! 2>/dev/null || { cat "$vm/console" >&2; fail "User Mode Linux does not start"; }
        sleep 0.1
    done
}
