//! Guests in surroundings as those of a container.

use std::os::fd::AsFd;

use super::*;

alone! {
    fn our_descriptors_are_out_of_a_guests_reach() {
    // Through procfs a guest could otherwise reach the compiled code it runs, and write it.
    for fd in 3..12 {
        let (code, out, _) = run_guest("file.wat", &["file", &format!("/proc/self/fd/{fd}")]);
        assert!(code != 0 && out.is_empty(), "descriptor {fd} was opened");
    }
}
}

alone! {
    fn a_component_needs_no_proc() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        use nix::mount::{MsFlags, mount};
        let none: Option<&str> = None;
        let dir = tempfile::tempdir().expect("a directory");
        provide_guest("command.wat", cache_in(&dir)).expect("compiles");
        // Without a proc, and with files of the container's that pose as one.
        for fake in [false, true] {
            let provided = provide_guest("command.wat", cache_in(&dir)).expect("is there");
            let hide = || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshared");
                mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private");
                mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none).expect("mounted");
                if fake {
                    std::fs::create_dir_all("/proc/self/fd").expect("made");
                    for fd in 3..1100 {
                        std::fs::write(format!("/proc/self/fd/{fd}"), "not code").expect("written");
                    }
                }
            };
            let (code, out, err) = start_after(hide, provided, guest(&["x"]), null()).finish();
            assert_eq!((code, out.as_str(), err.as_str()), (0, "Hello from a component\n", ""));
        }
    }
}

alone! {
    fn too_little_address_space_is_explained() {
        let provided = provide_guest("exit.wat", no_cache()).expect("compiles");
        let limit = || {
            use nix::sys::resource::{Resource, setrlimit};
            setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30).expect("limited");
        };
        let (code, _, err) = start_after(limit, provided, guest(&["x"]), null()).finish();
        assert_eq!(code, 1);
        assert!(err.contains("RLIMIT_AS is 1073741824 bytes"), "{err}");
    }
}

alone! {
    fn signals_end_the_first_process_of_a_pid_namespace() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        use crate::sys::clone::{Cloned, clone3};
        let provided = provide_guest("spin.wat", no_cache()).expect("compiles");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        match clone3(libc::CLONE_NEWPID as u64, None).expect("cloned") {
            Cloned::Child => {
                let work = || {
                    assert_eq!(std::process::id(), 1);
                    nix::unistd::dup2_stdout(&writer).expect("stdout");
                    run(work(provided), guest(&["spin"]), proc_self(), || Ok(()))
                };
                std::process::exit(work().into());
            }
            Cloned::Parent { pid, .. } => {
                let mut said = [0; 9];
                reader.read_exact(&mut said).expect("it spins");
                kill(pid, Signal::SIGTERM).expect("signalled");
                let end = waitpid(pid, None).expect("its end");
                assert_eq!(end, WaitStatus::Exited(pid, 128 + libc::SIGTERM));
            }
        }
    }
}

alone! {
    fn any_user_of_a_container_can_run_a_component() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            let provided = provide_guest("command.wat", cache_in(&dir)).expect("provided");
            let become_user = || {
                nix::unistd::setresuid(1000.into(), 1000.into(), 1000.into()).expect("user 1000");
                nix::sys::prctl::set_dumpable(false).expect("as in a container");
            };
            let (code, out, err) = start_after(become_user, provided, guest(&["x"]), null()).finish();
            assert_eq!((code, out.as_str(), err.as_str()), (0, "Hello from a component\n", ""));
        }
    }
}

alone! {
    fn a_guests_process_can_do_what_guests_do_and_no_more() {
        use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
        let compiled = provide_guest("exit.wat", no_cache()).expect("compiles");
        let refused = |what: &str, result: std::io::Result<()>| match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
            other => panic!("{what}: {other:?}"),
        };
        let pid = fork::run_in_child(|| {
            guest_filter::install(guest_filter::INTERNET).expect("installed");
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
            let (mut accepted, _) = listener.accept().expect("accepted");
            accepted.write_all(b"x").expect("sent");
            let datagrams = UdpSocket::bind("127.0.0.1:0").expect("bound");
            datagrams.send_to(b"x", datagrams.local_addr().expect("an address")).expect("sent");
            // By a thread, as the engine does it.
            let found = std::thread::spawn(|| "localhost:80".to_socket_addrs().map(Iterator::count));
            assert!(found.join().expect("a thread").expect("found") > 0);
            let dir = std::env::temp_dir().join(format!("wrun-filter-{}", std::process::id()));
            std::fs::create_dir(&dir).expect("made");
            std::fs::write(dir.join("a"), "x").expect("written");
            std::fs::rename(dir.join("a"), dir.join("b")).expect("renamed");
            std::fs::remove_file(dir.join("b")).expect("removed");
            std::fs::remove_dir(&dir).expect("removed");

            let loaded = load(work(compiled), &guest(&[]), proc_self().as_fd());
            assert!(loaded.is_err(), "code was made executable");
            refused("fork", fork::run_in_child(|| 0).map(drop));
            refused("exec", nix::unistd::execv(c"/bin/true", &[c"true"]).map(drop).map_err(Into::into));
            refused("kill", kill(Pid::parent(), None).map_err(Into::into));
            refused("unshare", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(Into::into));
            refused("chroot", std::os::unix::fs::chroot("/"));
            refused("a Unix socket", std::os::unix::net::UnixDatagram::unbound().map(drop));
            0
        });
        let pid = pid.expect("a child");
        assert_eq!(waitpid(pid, None).expect("its end"), WaitStatus::Exited(pid, 0));
    }
}
