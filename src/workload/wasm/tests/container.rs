//! Guests in surroundings as those of a container.

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
                    run(provided.code, &provided.kind, guest(&["spin"]))
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
