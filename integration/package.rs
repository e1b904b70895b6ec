//! The Debian package: made by `cargo deb` of this very build, installed and removed in a copy of this machine's root
//! file system that is an overlay and goes with the test.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::command::read;
use crate::harness::installed::find_program;
use crate::harness::{Case, Need, Test, test};

pub fn tests() -> Vec<Test> {
    vec![
        test!(installs_and_goes)
            .needs(Need::CargoDeb)
            .wrun_only("other runtimes are packaged by others"),
    ]
}

/// In the overlay: `$1` is the package's file. Each line of output that begins with `=` is looked at below.
const SCRIPT: &str = r#"
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
dpkg -i /wrun.deb >/log 2>&1 || { cat /log; exit 1; }
echo "= $(command -v wrun) $(wrun --version | head -1)"
echo "= pages $(ls /usr/share/man/man8/wrun*.gz /usr/share/man/man7/wrun*.gz | wc -l)"
echo "= completions $(cd /usr/share && ls bash-completion/completions/wrun zsh/vendor-completions/_wrun \
    fish/vendor_completions.d/wrun.fish | wc -l)"
echo "= licence $(grep -q 'Apache License' /usr/share/doc/wrun/copyright && echo is there)"
echo "= engines $(wrun install docker --no-check | grep -c '"/usr/bin/wrun"')"
echo "= first removal: $(dpkg -r wrun 2>&1 | grep 'wrun: ')"
echo "= left $(grep -c /usr/bin/wrun /etc/docker/daemon.json)"
dpkg -i /wrun.deb >/log 2>&1 || { cat /log; exit 1; }
wrun install docker --undo >/log
mkdir -p /var/cache/wrun
echo "= second removal: $(dpkg -r wrun 2>&1 | grep 'wrun: ' || true)"
dpkg -P wrun >/log 2>&1 || { cat /log; exit 1; }
rm /wrun.deb /log
"#;

/// What prepares the overlay in `$0`, with what a package's scripts may want. A character device in its upper directory
/// stands for a file of the machine's that is gone in it.
const OVERLAY: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs none "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay none -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
mkdir -p "$0/root/etc/docker" && rm -f "$0/root/etc/docker/daemon.json"
cp "$1" "$0/root/wrun.deb"
mount -t proc proc "$0/root/proc"
mount -t tmpfs none "$0/root/run"
mount --rbind /dev "$0/root/dev"
chroot "$0/root" sh -c "$2"
cd "$0/upper" && find . ! -type d ! -type c | sort | sed 's/^/+ /'
"#;

fn installs_and_goes(case: &Case) {
    let package = make(case);
    let overlay = case.dir.join("overlay");
    fs::create_dir(&overlay).expect("a directory");
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", OVERLAY])
        .arg(&overlay)
        .arg(&package)
        .arg(SCRIPT)
        .stdin(Stdio::null());
    let output = case.finish(command).ok();
    let told: Vec<&str> = output
        .lines()
        .into_iter()
        .filter_map(|line| line.strip_prefix("= "))
        .collect();
    let man = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/man"));
    let pages = man.expect("it is ours").count();
    let version = env!("CARGO_PKG_VERSION");
    for (line, expected) in told.iter().zip([
        format!("/usr/bin/wrun wrun version {version}"),
        format!("pages {pages}"),
        "completions 3".to_owned(),
        "licence is there".to_owned(),
        "engines 1".to_owned(),
        "first removal: wrun: the configuration of docker still names /usr/bin/wrun; before removing wrun: wrun install \
         docker --undo"
            .to_owned(),
        "left 1".to_owned(),
        "second removal:".to_owned(),
    ]) {
        assert_eq!(line.trim_end(), expected, "{output}");
    }
    assert_eq!(told.len(), 8, "{output}");
    // dpkg's own books and logs, and what its triggers of other packages make.
    let others = [
        "./var/lib/dpkg/",
        "./var/log/",
        "./var/cache/man/",
        "./var/lib/apt/",
        "./etc/ld.so.cache",
    ];
    let left: Vec<&str> = output
        .lines()
        .into_iter()
        .filter_map(|line| line.strip_prefix("+ "))
        .filter(|path| !others.iter().any(|other| path.starts_with(other)))
        .collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// Makes the package of the build under test, which no time limit of a command fits.
fn make(case: &Case) -> std::path::PathBuf {
    let profile = case
        .runtime
        .path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let target = case
        .runtime
        .path
        .ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .expect("target/TRIPLE/PROFILE/wrun");
    let log = fs::File::create(case.dir.join("cargo-deb")).expect("a file");
    let package = case.dir.join("wrun.deb");
    let mut command = Command::new(find_program("cargo-deb").expect("it was found before"));
    command
        .args([
            "--no-build",
            "--fast",
            "--profile",
            if profile == Some("debug") {
                "dev"
            } else {
                "release"
            },
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            "--target",
        ])
        .arg(target)
        .arg("--output")
        .arg(&package)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log);
    let made = command.status().expect("cargo-deb starts").success();
    assert!(made, "{}", read(&case.dir.join("cargo-deb")));
    package
}
