//! What a service manager passes to wrun for the container.
//!
//! The descriptors that a container inherits beside standard input, output and error: those that a service
//! manager has passed to wrun for it (sd_listen_fds(3)), and then `--preserve-fds` more.

use std::ffi::OsString;

use clap::builder::RangedI64ValueParser;

/// More than a process can have (fs.nr_open, proc_sys_fs(5)), so that sums stay in range.
const MOST: u32 = 1 << 20;

/// Reads `--preserve-fds`.
pub(super) fn count() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=i64::from(MOST))
}

/// How many sockets were passed, from descriptor 3 on; 0 where they are meant for another process.
pub(super) fn sockets() -> u32 {
    let variable = |name| std::env::var(name).ok();
    listened(
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        std::process::id(),
    )
}

/// Where a service manager waits for word that the container is ready (sd_notify(3)).
pub(super) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

fn listened(listen_pid: Option<&str>, listen_fds: Option<&str>, pid: u32) -> u32 {
    if listen_pid.and_then(|value| value.parse().ok()) != Some(pid) {
        return 0;
    }
    listen_fds
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
        .min(MOST)
}

#[cfg(test)]
mod tests {
    use super::listened;

    #[test]
    fn only_sockets_meant_for_this_process_count() {
        assert_eq!(listened(Some("7"), Some("2"), 7), 2);
        assert_eq!(listened(Some("8"), Some("2"), 7), 0);
        assert_eq!(listened(None, Some("2"), 7), 0);
        assert_eq!(listened(Some("7"), None, 7), 0);
        assert_eq!(listened(Some("7"), Some("-1"), 7), 0);
    }
}
