//! The OOM killer's score adjustment (proc_pid_oom_score_adj(5)).

use super::{ProcDirectory, SecurityError};

/// Sets the adjustment, -1000 to 1000, of the process whose directory this is.
///
/// Below the value that the process has, it needs CAP_SYS_RESOURCE in the first user namespace: hence the
/// parent does it, with the child's directory, before it lets the child go on; and before the child makes
/// itself undumpable, which gives the file to root. A rootless engine gives the value that it has itself.
///
/// # Errors
/// `EACCES` without that capability, `EINVAL` for a value out of range.
pub fn set_score_adjustment(process: ProcDirectory<'_>, adjustment: i32) -> Result<(), SecurityError> {
    process.write("oom_score_adj", &adjustment.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::proc_directory::tests::own_directory;
    use super::*;

    #[test]
    fn writes_the_value_and_passes_the_kernels_refusal_on() {
        let directory = own_directory();
        let proc = ProcDirectory::new(directory.as_fd());
        // Its own value again needs no privilege.
        let now: i32 = String::from_utf8(proc.read("oom_score_adj").unwrap())
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        set_score_adjustment(proc, now).unwrap();
        let error = set_score_adjustment(proc, 1001).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write \"1001\" to oom_score_adj of the process's directory in procfs"
        );
    }
}
