# Sourced by `test`, `vm`, `demo`, `bench`, `fuzz` and `guests/build`: installs what they need and this machine lacks, on
# Debian and Ubuntu; elsewhere it names what is missing. Leaves the shell in the package's directory.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# As root, directly; as another user, through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null
}

# Fetches apt's lists of packages, once.
fetched=
fetch_lists() {
    [ -n "$fetched" ] || as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    fetched=1
}

# Whether apt knows a package. Images of systems come without its lists, which are fetched then.
exists() {
    has apt-cache || return
    local lists=
    eval "$(apt-config shell lists Dir::State::lists/d)"
    compgen -G "$lists*_Packages*" >/dev/null || fetch_lists || return
    # Of a name that others provide it shows nothing, and succeeds.
    [ -n "$(apt-cache show "$1" 2>/dev/null)" ]
}

# What is to be installed.
missing=()

# want PACKAGE…: the first that exists; where none does, apt is to name the first.
want() {
    local package
    for package in "$@"; do
        if [ $# = 1 ] || exists "$package"; then
            missing+=("$package")
            return
        fi
    done
    missing+=("$1")
}

# need PROGRAM PACKAGE…: the first of the packages that exists is installed where the program is missing.
need() {
    has "$1" || want "${@:2}"
}

need_compiler() {
    need cc gcc
    # A recommendation of gcc's, which is not installed with it here.
    [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
}

# What builds wrun: a C compiler for two of the dependencies, and libseccomp to link statically.
need_build() {
    need_compiler
    compgen -G '/usr/lib/*/libseccomp.a' >/dev/null || missing+=(libseccomp-dev)
    has cargo || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }
}

# A static busybox is the root filesystem of every test.
need_busybox() {
    if ! has busybox || ldd "$(PATH=$PATH:/bin command -v busybox)" >/dev/null 2>&1; then
        missing+=(busybox-static)
    fi
}

need_docker() {
    need dockerd docker.io
    need docker docker-cli docker.io
    need iptables iptables
}

# Compose, whose second version is docker-compose-v2 on Ubuntu; and where a package has it (Debian 13) the plugin that
# builds with BuildKit; an older client needs none.
need_docker_plugins() {
    docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1 ||
        want docker-compose-v2 docker-compose
    docker buildx version >/dev/null 2>&1 || ! exists docker-buildx || missing+=(docker-buildx)
}

# Servers that the applications of Spin and SpiderLightning talk to; the tests start their own.
need_servers() {
    need redis-server redis-server
    need nats-server nats-server
    need mariadbd mariadb-server
    need mosquitto mosquitto
    # Certificates for them.
    need openssl openssl
    # Its programs are not in PATH.
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
}

# Installs what `need` has found missing.
install_missing() {
    [ ${#missing[@]} = 0 ] && return
    if ! has apt-get; then
        echo "Please install: ${missing[*]}" >&2
        return
    fi
    echo "Installing: ${missing[*]}"
    fetch_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" \
        >/dev/null
    missing=()
}

# Where cargo puts a build of PROFILE, since .cargo/config.toml names the target.
target_dir() {
    echo "${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/$1"
}

# The mirror of Debian that apt is configured with; WRUN_DEBIAN_MIRROR names one where apt has none, as on Ubuntu.
debian_mirror() {
    local mirror=${WRUN_DEBIAN_MIRROR:-}
    if [ -z "$mirror" ]; then
        mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
            awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')
    fi
    [ -n "$mirror" ] || { echo "apt knows no Debian mirror; name one in WRUN_DEBIAN_MIRROR" >&2; return 1; }
    echo "$mirror"
}
