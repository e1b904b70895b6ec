//! Servers of the kinds that components talk to, started by a test for itself: on a port of the loopback device,
//! with all that they keep in a directory of their own, and stopped when the test is over.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::authority::Authority;

/// How long a server may take to start, on a machine with much to do.
const START: Duration = Duration::from_secs(120);
/// PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

/// A server that runs.
pub struct Server {
    pub port: u16,
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

/// The program, or the reason why the test is skipped.
fn program(names: &[&str]) -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    directories.push("/usr/sbin".into());
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    directories.extend(versions.map(|version| version.path().join("bin")));
    let candidates = directories
        .iter()
        .flat_map(|directory| names.iter().map(|name| directory.join(name)));
    let found = candidates.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {} is not installed", names[0]);
    }
    found
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Starts it, and waits until it takes connections and its log says so.
fn start(command: &mut Command, port: u16, directory: TempDir, ready: &str) -> Server {
    let log = std::fs::File::create(directory.path().join("log")).expect("a log");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    let child = command.spawn().expect("it starts");
    let mut server = Server {
        port,
        child,
        _directory: directory,
    };
    let log = server._directory.path().join("log");
    let log = || String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let started = Instant::now();
    while !log().contains(ready) || TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = server.child.try_wait().expect("a child");
        assert!(
            ended.is_none() && started.elapsed() < START,
            "{ended:?}: {}",
            log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

pub fn redis() -> Option<Server> {
    redis_with(None)
}

/// With TLS alone, where there is an authority.
pub fn redis_with(authority: Option<&Authority>) -> Option<Server> {
    let program = program(&["redis-server"])?;
    let (port, directory) = (free_port(), directory());
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", "secret"]);
    let option = match authority {
        None => "--port",
        Some(authority) => {
            let [certificate, key] = authority.files();
            command.args(["--port", "0", "--tls-auth-clients", "no", "--tls-cert-file"]);
            command.arg(certificate).arg("--tls-key-file").arg(key);
            "--tls-port"
        }
    };
    command.arg(option).arg(port.to_string());
    command.arg("--dir").arg(directory.path());
    Some(start(
        &mut command,
        port,
        directory,
        "Ready to accept connections",
    ))
}

/// With the user `wrun` and the password `secret`.
pub fn postgres() -> Option<Server> {
    postgres_with(None)
}

/// With TLS alone, where there is an authority.
pub fn postgres_with(authority: Option<&Authority>) -> Option<Server> {
    let (init, program) = (program(&["initdb"])?, program(&["postgres"])?);
    let (port, directory) = (free_port(), directory());
    let path = directory.path();
    let data = path.join("data");
    let password = path.join("password");
    std::fs::write(&password, "secret").expect("written");
    let as_nobody = |program: &Path| {
        let mut command = Command::new(program);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").env("LC_ALL", "C");
        command
    };
    let secure = authority.map(|authority| authority.copies(path));
    if nix::unistd::geteuid().is_root() {
        let secure = secure.iter().flatten().map(PathBuf::as_path);
        for path in [path, &password].into_iter().chain(secure) {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("given away");
        }
    }
    let mut init = as_nobody(&init);
    init.args([
        "-U",
        "wrun",
        "-A",
        "scram-sha-256",
        "--no-sync",
        "--encoding=UTF8",
        "-D",
    ])
    .arg(&data);
    succeed(init.arg("--pwfile").arg(&password));
    let mut command = as_nobody(&program);
    if let Some([certificate, key]) = &secure {
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all all scram-sha-256\n").expect("written");
        for (name, value) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            command.arg("-c").arg(format!("{name}={}", value.display()));
        }
        command.args(["-c", "ssl=on"]);
    }
    command.args([
        "-F",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        // It is killed at the end, and would leave its segments in /dev/shm.
        "-c",
        "dynamic_shared_memory_type=mmap",
        "-p",
    ]);
    command.arg(port.to_string()).arg("-D").arg(&data);
    Some(start(
        &mut command,
        port,
        directory,
        "ready to accept connections",
    ))
}

/// With the user root, who needs no password.
pub fn mysql() -> Option<Server> {
    mysql_with(None)
}

/// With TLS alone, where there is an authority.
pub fn mysql_with(authority: Option<&Authority>) -> Option<Server> {
    let init = program(&["mariadb-install-db"])?;
    let program = program(&["mariadbd"])?;
    let (port, directory) = (free_port(), directory());
    let data = directory.path().join("data");
    let user = if nix::unistd::geteuid().is_root() {
        "--user=root"
    } else {
        "--user="
    };
    let mut init = Command::new(init);
    init.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        user,
    ]);
    init.arg(format!("--datadir={}", data.display()));
    // One that starts removes all temporary tables of its directory, those of others too.
    succeed(init.env("TMPDIR", directory.path()));
    let mut command = Command::new(program);
    command.env("TMPDIR", directory.path()).args([
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--innodb-flush-log-at-trx-commit=0",
        user,
    ]);
    if let Some(authority) = authority {
        let [certificate, key] = authority.files();
        command
            .arg(format!("--ssl-cert={}", certificate.display()))
            .arg(format!("--ssl-key={}", key.display()))
            .arg("--require-secure-transport=ON");
    }
    command
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--port={port}"));
    command.arg(format!("--socket={}", directory.path().join("socket").display()));
    command.arg(format!("--pid-file={}", directory.path().join("pid").display()));
    Some(start(&mut command, port, directory, "ready for connections"))
}

pub fn mqtt() -> Option<Server> {
    mqtt_with(None)
}

/// With TLS alone, where there is an authority.
pub fn mqtt_with(authority: Option<&Authority>) -> Option<Server> {
    mqtt_at(free_port(), authority)
}

pub fn mqtt_at(port: u16, authority: Option<&Authority>) -> Option<Server> {
    let program = program(&["mosquitto"])?;
    let directory = directory();
    let configuration = directory.path().join("configuration");
    let secure = authority.map(|authority| {
        let [certificate, key] = authority.files();
        format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display())
    });
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n{}",
        secure.unwrap_or_default()
    );
    std::fs::write(&configuration, text).expect("written");
    let mut command = Command::new(program);
    command.arg("-c").arg(&configuration);
    Some(start(&mut command, port, directory, "running"))
}

/// Answers every request with a page about the connection.
pub fn https(authority: &Authority) -> Option<Server> {
    let program = program(&["openssl"])?;
    let (port, directory) = (free_port(), directory());
    let [certificate, key] = authority.files();
    let mut command = Command::new(program);
    command
        .args(["s_server", "-www", "-accept"])
        .arg(format!("127.0.0.1:{port}"));
    command.arg("-cert").arg(certificate).arg("-key").arg(key);
    Some(start(&mut command, port, directory, "ACCEPT"))
}
