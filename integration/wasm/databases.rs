//! Components of Spin applications and real servers of SQL databases, which listen in the application's network.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::harness::facts::Need;
use crate::harness::http::{get_eventually, request};
use crate::harness::installed::{find_postgres, find_program};
use crate::harness::network::within;

pub fn tests() -> Vec<Test> {
    vec![
        test!(postgres_is_a_server_of_components).needs(Need::Postgres),
        test!(mariadb_is_a_server_of_components).needs(Need::MariaDb),
        test!(postgres_is_spoken_with_over_tls)
            .needs(Need::Postgres)
            .needs(Need::OpenSsl),
    ]
}

/// PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "databases"
[[trigger.http]]
route = "/..."
component = "new"
[[trigger.http]]
route = "/po"
component = "old"
[[trigger.http]]
route = "/my"
component = "old"
[component.new]
source = "new.wasm"
allowed_outbound_hosts = ["postgres://127.0.0.1:5432", "mysql://127.0.0.1:3306"]
[component.old]
source = "spin-legacy.wasm"
allowed_outbound_hosts = ["postgres://127.0.0.1:5432", "mysql://127.0.0.1:3306"]
"#;

/// An application that answers, and the server beside it.
struct Served<'case> {
    container: Container<'case>,
    run: Running,
    pid: i32,
}

impl<'case> Served<'case> {
    #[track_caller]
    fn start(case: &'case Case, new: &str) -> Self {
        Self::start_with(case, new, &[])
    }

    /// With these files at the root, too.
    #[track_caller]
    fn start_with(case: &'case Case, new: &str, files: &[(&str, &str)]) -> Self {
        let container = case.container(&["/"]);
        for (name, text) in files {
            container.write(name, text, 0o644);
        }
        container.write("spin.toml", MANIFEST, 0o644);
        container.write("new.wasm", guest::binary(new), 0o644);
        container.write("spin-legacy.wasm", guest::binary("spin-legacy"), 0o644);
        let run = case.start(container.command("run", &[]));
        let pid = eventually("the application is running", || {
            let state = case.call(&["state", &container.id]);
            (state.status.success() && state.json()["status"] == "running").then(|| container.pid())
        });
        within(pid, || get_eventually(address(), "/.well-known/spin/health"));
        Self { container, run, pid }
    }

    /// Starts a server in the application's network.
    fn server(&self, mut command: Command, directory: TempDir) -> Server {
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = within(self.pid, || command.spawn().expect("it starts"));
        Server {
            child,
            _directory: directory,
        }
    }

    #[track_caller]
    fn asked(&self, path: &str, server: &str, body: &str) -> (u16, String) {
        let field = format!("x-address: {server}");
        let asked = || request(address(), "POST", path, &[&field], body.as_bytes());
        let response = within(self.pid, asked).expect("an answer");
        (response.status, response.text())
    }

    #[track_caller]
    fn says(&self, path: &str, server: &str, body: &str, expected: &str) {
        let (status, text) = self.asked(path, server, body);
        assert!(
            status == 200 && text.contains(expected),
            "{path} {body}: {status} {text}"
        );
    }

    fn stop(self) -> Output {
        self.container.kill("TERM").ok();
        self.run.wait().code_is(0)
    }
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 80).into()
}

/// A server that runs, with all that it keeps.
struct Server {
    child: Child,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// With the user `wrun` and the password `secret`.
fn postgres(served: &Served<'_>) -> Server {
    postgres_with(served, &[])
}

/// With further settings, and the files that they name.
fn postgres_with(served: &Served<'_>, more: &[(&str, &Path)]) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, password) = (directory.path().join("data"), directory.path().join("password"));
    fs::write(&password, "secret").expect("written");
    for path in [directory.path(), &password] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    let as_nobody = |program: &str| {
        let mut command = Command::new(find_postgres(program).expect("it is needed"));
        command
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .env("LC_ALL", "C");
        command
    };
    let mut init = as_nobody("initdb");
    init.args(["-U", "wrun", "-A", "scram-sha-256", "--no-sync", "-D"]);
    succeed(init.arg(&data).arg("--pwfile").arg(&password));
    let mut command = as_nobody("postgres");
    // It is killed at the end, and would leave shared memory behind elsewhere.
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "dynamic_shared_memory_type=mmap",
    ] {
        command.args(["-c", setting]);
    }
    for (name, file) in more {
        let own = directory.path().join(name);
        fs::copy(file, &own).expect("copied");
        std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).expect("given away");
        command
            .args(["-c", "ssl=on", "-c"])
            .arg(format!("{name}={}", own.display()));
    }
    command.args(["-F", "-D"]).arg(&data);
    served.server(command, directory)
}

/// With the user root, who needs no password.
fn mariadb(served: &Served<'_>) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let data = format!("--datadir={}", path("data").display());
    let mut init = Command::new(find_program("mariadb-install-db").expect("it is needed"));
    init.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--user=root",
    ]);
    // One that starts removes all temporary tables of its directory, those of others too.
    succeed(init.arg(&data).env("TMPDIR", directory.path()));
    let mut command = Command::new(find_program("mariadbd").expect("it is needed"));
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--user=root"]);
    command.arg(data).env("TMPDIR", directory.path());
    for (flag, name) in [("socket", "socket"), ("pid-file", "pid")] {
        command.arg(format!("--{flag}={}", path(name).display()));
    }
    served.server(command, directory)
}

/// Waits until it answers.
#[track_caller]
fn answers(served: &Served<'_>, path: &str, server: &str) {
    eventually("the server answers", || {
        (served.asked(path, server, "SELECT 1").0 == 200).then_some(())
    });
}

/// Of components of an older SDK and of the current one, whose interfaces are others.
const GUESTS: [&str; 2] = ["spin-stores-02", "spin-sdk-03"];

fn postgres_is_a_server_of_components(case: &Case) {
    for guest in GUESTS {
        by_postgres(case, guest);
    }
}

fn by_postgres(case: &Case, guest: &str) {
    let served = Served::start(case, guest);
    let _server = postgres(&served);
    let url = "postgres://wrun:secret@127.0.0.1/postgres";
    answers(&served, "/postgres", url);
    served.says("/postgres", url, "CREATE TABLE t (a int, b text)", "");
    served.says(
        "/postgres",
        url,
        "INSERT INTO t VALUES (7, 'seven') RETURNING a",
        "Int32(7)",
    );
    served.says("/postgres", url, "SELECT b FROM t", r#"Str("seven")"#);
    let path = if guest == "spin-stores-02" {
        "/old-postgres"
    } else {
        "/postgres"
    };
    served.says(
        path,
        url,
        "SELECT a, b FROM t",
        r#"[DbValue::Int32(7), DbValue::Str("seven")]"#,
    );
    assert_eq!(served.asked("/po", "", url), (200, "7".to_owned()));
    let (status, text) = served.asked("/postgres", url, "SELECT none FROM t");
    assert!(status == 500 && text.contains("none"), "{status} {text}");
    for wrong in [
        "postgres://wrun:wrong@127.0.0.1/postgres",
        "postgres://wrun:secret@127.0.0.1:5433/postgres",
    ] {
        let (status, text) = served.asked("/postgres", wrong, "SELECT 1");
        assert!(status == 500 && !text.contains("secret"), "{status} {text}");
    }
    served.stop();
}

/// The command for a certificate of this name, as yet without where its key goes.
pub fn self_signed(name: &str) -> Command {
    let mut openssl = Command::new(find_program("openssl").expect("it is needed"));
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj"]);
    openssl.arg(format!("/CN={name}"));
    openssl
}

const TRUST: &str =
    "[[client_tls]]\ncomponent_ids = [\"new\"]\nhosts = [\"127.0.0.1\"]\nca_roots_file = \"root.pem\"\n";

/// What is confined as a guest is can do so, with the roots that the container has for it.
fn postgres_is_spoken_with_over_tls(case: &Case) {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (directory.path().join("certificate"), directory.path().join("key"));
    let mut openssl = self_signed("server");
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    // It is its own authority, which no other certificate may be.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    succeed(openssl.arg(&key).arg("-out").arg(&certificate));
    let root = fs::read_to_string(&certificate).expect("made");
    let served = Served::start_with(
        case,
        "spin-stores-02",
        &[("runtime-config.toml", TRUST), ("root.pem", &root)],
    );
    let files = [("ssl_cert_file", certificate.as_path()), ("ssl_key_file", &key)];
    let _server = postgres_with(&served, &files);
    let url = "postgres://wrun:secret@127.0.0.1/postgres?sslmode=require";
    answers(&served, "/postgres", url);
    let asked = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    served.says("/postgres", url, asked, r#"Str("true")"#);
    // The other component trusts Mozilla alone.
    let (status, text) = served.asked("/po", "", url);
    assert!(
        status != 200 && text.contains("invalid peer certificate"),
        "{status} {text}"
    );
    served.stop();
}

fn mariadb_is_a_server_of_components(case: &Case) {
    for guest in GUESTS {
        by_mariadb(case, guest);
    }
}

fn by_mariadb(case: &Case, guest: &str) {
    let served = Served::start(case, guest);
    let _server = mariadb(&served);
    let url = "mysql://root@127.0.0.1/mysql";
    answers(&served, "/mysql", url);
    for statement in [
        "CREATE DATABASE d",
        "CREATE TABLE d.t (a int, b text)",
        "INSERT INTO d.t VALUES (7, 'seven')",
    ] {
        served.says("/mysql", url, statement, "");
    }
    let own = "mysql://root@127.0.0.1/d";
    served.says(
        "/mysql",
        own,
        "SELECT a, b FROM t",
        r#"[DbValue::Int32(7), DbValue::Str("seven")]"#,
    );
    assert_eq!(served.asked("/my", "", own), (200, "7".to_owned()));
    let (status, text) = served.asked("/mysql", own, "SELECT none FROM t");
    assert!(status == 500 && text.contains("none"), "{status} {text}");
    let (status, text) = served.asked("/mysql", "mysql://root@127.0.0.1:3307/d", "SELECT 1");
    assert!(status == 500, "{status} {text}");
    served.stop();
}
