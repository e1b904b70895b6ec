//! The process that `exec` adds to a container. It gets everything the first process got: what the request
//! does not say comes from the container's configuration, as in runc.

use std::path::PathBuf;

use super::PlanError;
use super::process::{Process, convert};
use crate::host::Host;
use crate::spec::runtime_options::RuntimeOptions;
use crate::spec::{self, Spec, capabilities, model};

/// What `exec` is asked for.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per command, and it is moved twice"
)]
pub enum ExecRequest {
    /// `--process FILE`, parsed with [`spec::process_from_json`].
    Process(model::Process),
    /// Flags and arguments.
    Flags(Flags),
}

/// The flags of `exec` (runc-exec(8)).
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The command with its arguments.
    pub args: Vec<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--user UID[:GID]`; without a group the container's stays.
    pub user: Option<User>,
    /// `--cwd`.
    pub cwd: Option<PathBuf>,
    /// `--env KEY=value`, added to the container's.
    pub env: Vec<String>,
    /// `--cap`, added to the container's.
    pub caps: Vec<String>,
    /// `--additional-gids`, added to the container's.
    pub additional_gids: Vec<u32>,
    /// `--no-new-privs`; `None` where it is not given.
    pub no_new_privs: Option<bool>,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--process-label`.
    pub process_label: Option<String>,
}

/// `UID[:GID]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: Option<u32>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("user {value:?} is not UID or UID:GID in numbers")]
pub struct UserError {
    value: String,
}

impl std::str::FromStr for User {
    type Err = UserError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (uid, gid) = match value.split_once(':') {
                Some((uid, gid)) => (uid, Some(gid.parse().ok()?)),
                None => (value, None),
            };
            Some(Self {
                uid: uid.parse().ok()?,
                gid,
            })
        };
        parse().ok_or_else(|| UserError {
            value: value.to_owned(),
        })
    }
}

/// Plans the process. `new_keyring` is what the container was created with (`--no-new-keyring` unset): the
/// process then joins the container's session keyring.
pub fn for_exec(
    container: &Spec,
    request: ExecRequest,
    new_keyring: bool,
    host: &Host,
) -> Result<Process, PlanError> {
    let process = match request {
        ExecRequest::Process(process) => with_container_defaults(process, container),
        ExecRequest::Flags(flags) => with_flags(flags, container)?,
    };
    spec::check_exec(&process, container)?;
    let asked = RuntimeOptions::parse(&container.config.annotations)?;
    convert(&process, &container.config.linux, &asked, new_keyring, host)
}

/// What a process file leaves out and the container's own process has.
fn with_container_defaults(mut process: model::Process, container: &Spec) -> model::Process {
    let Some(own) = &container.config.process else {
        return process;
    };
    if process.capabilities.is_none() {
        process.capabilities.clone_from(&own.capabilities);
    }
    if process.rlimits.is_empty() {
        process.rlimits.clone_from(&own.rlimits);
    }
    if process.apparmor_profile.is_empty() {
        process.apparmor_profile.clone_from(&own.apparmor_profile);
    }
    if process.selinux_label.is_empty() {
        process.selinux_label.clone_from(&own.selinux_label);
    }
    process.oom_score_adj = process.oom_score_adj.or(own.oom_score_adj);
    process.user.umask = process.user.umask.or(own.user.umask);
    process.io_priority = process.io_priority.or(own.io_priority);
    if process.scheduler.is_none() {
        process.scheduler.clone_from(&own.scheduler);
    }
    if process.exec_cpu_affinity.is_none() {
        process.exec_cpu_affinity.clone_from(&own.exec_cpu_affinity);
    }
    process
}

/// The container's own process, changed by the flags.
fn with_flags(flags: Flags, container: &Spec) -> Result<model::Process, PlanError> {
    let Some(own) = &container.config.process else {
        return Err(PlanError::NoProcess);
    };
    let mut process = own.clone();
    process.args = flags.args;
    process.terminal = flags.tty;
    process.console_size = None;
    process.env.extend(flags.env);
    if let Some(cwd) = flags.cwd {
        process.cwd = cwd;
    }
    if let Some(user) = flags.user {
        process.user.uid = user.uid;
        process.user.gid = user.gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(flags.additional_gids);
    if let Some(no_new_privileges) = flags.no_new_privs {
        process.no_new_privileges = no_new_privileges;
    }
    if let Some(profile) = flags.apparmor {
        process.apparmor_profile = profile;
    }
    if let Some(label) = flags.process_label {
        process.selinux_label = label;
    }
    add_capabilities(process.capabilities.get_or_insert_default(), flags.caps)?;
    Ok(process)
}

/// Never to the inheritable set (CVE-2022-29162), and to the ambient one only where the container has
/// inheritable ones, without which an ambient capability cannot be.
fn add_capabilities(sets: &mut model::Capabilities, added: Vec<String>) -> Result<(), PlanError> {
    for name in added {
        if capabilities::number(&name).is_none() {
            return Err(PlanError::UnknownCapability { name });
        }
        sets.bounding.push(name.clone());
        sets.effective.push(name.clone());
        sets.permitted.push(name.clone());
        if !sets.inheritable.is_empty() {
            sets.ambient.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn container() -> Spec {
        let config = serde_json::json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs" },
            "process": {
                "args": ["sh"], "cwd": "/app", "env": ["A=1"], "terminal": true,
                "consoleSize": { "height": 1, "width": 1 },
                "user": { "uid": 7, "gid": 8, "umask": 18, "additionalGids": [9] },
                "rlimits": [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
                "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
                "noNewPrivileges": true, "oomScoreAdj": 100
            },
            "linux": {
                "namespaces": [{ "type": "mount" }, { "type": "user" }],
                "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 100 }],
                "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 100 }],
                "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" },
                "personality": { "domain": "LINUX32" }
            }
        });
        Spec::parse(config.to_string().as_bytes(), Path::new("config.json")).unwrap()
    }

    fn exec(request: ExecRequest) -> Result<Process, PlanError> {
        for_exec(&container(), request, true, &Host::for_tests())
    }

    fn file(json: &str) -> ExecRequest {
        ExecRequest::Process(
            spec::process_from_json(json.as_bytes(), Path::new("process.json"))
                .unwrap()
                .0,
        )
    }

    #[test]
    fn flags_change_the_containers_process() {
        let flags = Flags {
            args: vec!["id".into()],
            user: Some("5".parse().unwrap()),
            env: vec!["B=2".into()],
            caps: vec!["CAP_CHOWN".into()],
            additional_gids: vec![10],
            no_new_privs: Some(false),
            ..Flags::default()
        };
        let process = exec(ExecRequest::Flags(flags)).unwrap();
        assert_eq!(
            (process.user.uid, process.user.gid, process.user.umask),
            (5, 8, Some(18))
        );
        assert_eq!(process.user.additional_gids, [9, 10]);
        assert_eq!(process.env, ["A=1", "B=2"]);
        assert_eq!((process.terminal, process.console_size), (false, None));
        assert_eq!(process.cwd, Path::new("/app"));
        assert!(!process.no_new_privileges);
        assert_eq!(process.capabilities.bounding, 1 | 1 << 5);
        assert_eq!(
            (process.capabilities.effective, process.capabilities.inheritable),
            (1, 0)
        );
        assert_eq!(process.capabilities.ambient, 0);
        assert_eq!((process.oom_score_adj, process.personality), (Some(100), Some(8)));
        assert!(process.seccomp.is_some() && process.new_keyring);
        assert_eq!(process.rlimits.len(), 1);
    }

    #[test]
    fn a_file_gets_what_it_leaves_out() {
        let process = exec(file(
            r#"{"args": ["id"], "cwd": "/", "user": {"uid": 1, "gid": 1}}"#,
        ))
        .unwrap();
        assert_eq!(process.capabilities.bounding, 1 << 5);
        assert_eq!((process.rlimits.len(), process.oom_score_adj), (1, Some(100)));
        assert!(process.seccomp.is_some() && !process.no_new_privileges && process.env.is_empty());
        assert_eq!(process.user.additional_gids, Vec::<u32>::new());
        let process = exec(file(r#"{"args": ["id"], "cwd": "/", "capabilities": {}}"#)).unwrap();
        assert_eq!(process.capabilities.bounding, 0);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let refused = |request| exec(request).unwrap_err().to_string();
        let flags = |change: fn(&mut Flags)| {
            let mut flags = Flags {
                args: vec!["id".into()],
                ..Flags::default()
            };
            change(&mut flags);
            ExecRequest::Flags(flags)
        };
        let error = refused(flags(|flags| flags.user = Some(User { uid: 100, gid: None })));
        assert!(error.contains("user.uid: 100 is not mapped"), "{error}");
        let error = refused(flags(|flags| flags.caps = vec!["CAP_X".into()]));
        assert!(error.contains("\"CAP_X\""), "{error}");
        let error = refused(flags(|flags| flags.env = vec!["NAME".into()]));
        assert!(error.contains("env[1]"), "{error}");
        assert!(refused(flags(|flags| flags.cwd = Some("x".into()))).contains("cwd"));
        assert!(refused(flags(|flags| flags.args.clear())).contains("args: is empty"));
        assert!(refused(flags(|flags| flags.apparmor = Some("p".into()))).contains("\"p\""));
    }

    #[test]
    fn users_are_numbers() {
        assert_eq!("1:2".parse(), Ok(User { uid: 1, gid: Some(2) }));
        assert_eq!("1".parse(), Ok(User { uid: 1, gid: None }));
        for wrong in ["", "root", "1:", ":1", "-1", "1:2:3", "4294967296"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong}");
        }
    }
}
