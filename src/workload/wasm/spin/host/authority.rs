//! An authority of a test's own, and a certificate of 127.0.0.1 and server.test that it has given out. Both are made by the
//! `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Authority {
    directory: TempDir,
    /// Its own certificate, in PEM.
    pub root: String,
}

impl Authority {
    /// `None` where the command is not installed, and the test is skipped.
    pub fn new() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let names = "subjectAltName=IP:127.0.0.1,DNS:server.test\nbasicConstraints=CA:FALSE\n";
        std::fs::write(at("names"), names).expect("written");
        let key = |more: &[&str]| {
            let new = [
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ];
            run(&[&new[..], more].concat())
        };
        key(&[
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            &at("ca.key"),
            "-out",
            &at("ca.pem"),
        ])?;
        key(&[
            "-subj",
            "/CN=server",
            "-keyout",
            &at("key"),
            "-out",
            &at("request"),
        ])?;
        run(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &at("request"),
            "-CA",
            &at("ca.pem"),
            "-CAkey",
            &at("ca.key"),
            "-CAcreateserial",
            "-extfile",
            &at("names"),
            "-out",
            &at("certificate"),
        ])?;
        let root = std::fs::read_to_string(at("ca.pem")).expect("made");
        Some(Self { directory, root })
    }

    /// The server's certificate, and its key.
    pub fn files(&self) -> [PathBuf; 2] {
        ["certificate", "key"].map(|name| self.directory.path().join(name))
    }

    /// Copies of these two in a directory, for a server that reads none but its own.
    pub fn copies(&self, to: &Path) -> [PathBuf; 2] {
        self.files().map(|file| {
            let copy = to.join(file.file_name().expect("a name"));
            std::fs::copy(file, &copy).expect("copied");
            copy
        })
    }
}

fn run(arguments: &[&str]) -> Option<()> {
    let output = match Command::new("openssl").args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: openssl is not installed");
            return None;
        }
        Err(error) => panic!("openssl: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(())
}
