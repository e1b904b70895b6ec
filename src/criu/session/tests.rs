//! The ends of CRIU and of other processes, as a session sees them.

use super::*;

#[test]
fn a_process_that_has_ended_is_known() {
    assert!(!is_ending(std::process::id().cast_signed()));
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id().cast_signed();
    while !is_ending(pid) {
        std::thread::yield_now();
    }
    child.wait().unwrap();
    assert!(is_ending(pid));
}

#[test]
#[expect(clippy::zombie_processes, reason = "the session waits for it")]
fn how_it_ended_is_told_also_where_it_ended_unasked() {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    drop(theirs);
    let child = std::process::Command::new("sh")
        .args(["-c", "kill -9 $$"])
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut session = Session {
        pid: Pid::from_raw(pid.as_raw_pid()),
        pidfd: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap(),
        socket: ours,
        ended: false,
        interrupt: None,
        subject: None,
    };
    let mut request = rpc::Criu_req::new();
    request.set_type(rpc::Criu_req_type::DUMP);
    let error = session
        .exchange::<CriuError>(&request, &mut |_| Ok(()))
        .expect_err("nobody is there");
    assert!(
        matches!(&error, CriuError::Ended(how) if how.contains("SIGKILL")),
        "{error:?}"
    );
}
