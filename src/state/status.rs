//! A container's status, and the one table of what may be done to it in which status.

use std::fmt;

use serde::Serialize;

use super::Record;

/// The runtime spec's statuses, and `paused` as every runtime has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// What a container's status is now. Each question is asked only where the answer matters: `alive` (is
    /// [`super::Identity::alive`] of the record's init) first, then `frozen` (is its cgroup frozen), then
    /// `waits` (does init still wait on the start gate).
    ///
    /// # Errors
    /// Those of the questions.
    pub fn observe<E>(
        record: &Record,
        alive: impl FnOnce(super::Identity) -> Result<bool, E>,
        frozen: impl FnOnce() -> Result<bool, E>,
        waits: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Self, E> {
        Ok(match record.init {
            None => Self::Creating,
            Some(init) if !alive(init)? => Self::Stopped,
            Some(_) if frozen()? => Self::Paused,
            Some(_) if waits()? => Self::Created,
            Some(_) => Self::Running,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a command wants to do to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Kill,
    Delete { force: bool },
    Exec { ignore_paused: bool },
    Pause,
    Resume,
    Update,
    Events,
    Ps,
    Mounts,
    Checkpoint,
}

/// Why a command may not do what it wants, in runc's words, which engines look for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("cannot start an already running container")]
    StartRunning,
    #[error("cannot start a container that has stopped")]
    StartStopped,
    #[error("cannot start a container in the {0} state")]
    Start(Status),
    #[error("container not running: it is {0}")]
    NotRunning(Status),
    #[error("container not paused: it is {0}")]
    NotPaused(Status),
    #[error("cannot delete container {id} that is not stopped: {status}")]
    Delete { id: String, status: Status },
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    #[error("cannot exec in a container in the {0} state")]
    Exec(Status),
    #[error("container with id {id} is not running")]
    Events { id: String },
    #[error("container cannot be checkpointed in {0} state")]
    Checkpoint(Status),
    #[error(
        "cannot {0} a container without a mount namespace: whoever comes to it would find the host's root"
    )]
    HostMounts(&'static str),
}

impl Status {
    /// Whether `verb` may be done to container `id`, which is in this status.
    ///
    /// A container that was created but not started may be deleted without force, as with runc: its process
    /// has run nothing of the image yet.
    ///
    /// # Errors
    /// [`Refused`], with runc's text.
    pub fn allows(self, verb: Verb, id: &str) -> Result<(), Refused> {
        use Status::*;
        match (verb, self) {
            (Verb::Start, Created) => Ok(()),
            (Verb::Start, Running) => Err(Refused::StartRunning),
            (Verb::Start, Stopped) => Err(Refused::StartStopped),
            (Verb::Start, Creating | Paused) => Err(Refused::Start(self)),

            (Verb::Kill | Verb::Update, Created | Running | Paused) => Ok(()),
            (Verb::Kill | Verb::Update, Creating | Stopped) => Err(Refused::NotRunning(self)),

            (Verb::Delete { force: true }, _) => Ok(()),
            (Verb::Delete { force: false }, Created | Stopped) => Ok(()),
            (Verb::Delete { force: false }, Creating | Running | Paused) => Err(Refused::Delete {
                id: id.to_string(),
                status: self,
            }),

            (Verb::Exec { .. }, Created | Running) => Ok(()),
            (Verb::Exec { ignore_paused }, Paused) => {
                if ignore_paused {
                    Ok(())
                } else {
                    Err(Refused::ExecPaused)
                }
            }
            (Verb::Exec { .. }, Stopped) => Err(Refused::ExecStopped),
            (Verb::Exec { .. }, Creating) => Err(Refused::Exec(self)),

            (Verb::Pause | Verb::Mounts, Created | Running) => Ok(()),
            (Verb::Pause | Verb::Mounts, Creating | Paused | Stopped) => Err(Refused::NotRunning(self)),

            (Verb::Resume, Paused) => Ok(()),
            (Verb::Resume, Creating | Created | Running | Stopped) => Err(Refused::NotPaused(self)),

            (Verb::Events, Created | Running | Paused) => Ok(()),
            (Verb::Events, Creating | Stopped) => Err(Refused::Events { id: id.to_string() }),

            (Verb::Checkpoint, Running | Paused) => Ok(()),
            (Verb::Checkpoint, Creating | Created | Stopped) => Err(Refused::Checkpoint(self)),

            // The answer is a list, empty where nothing runs.
            (Verb::Ps, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    const ALL: [Status; 5] = [
        Status::Creating,
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Stopped,
    ];

    fn refusal(status: Status, verb: Verb) -> String {
        status
            .allows(verb, "x")
            .map_or_else(|refused| refused.to_string(), |()| String::new())
    }

    #[test]
    fn refuses_in_runcs_words() {
        use Status::*;
        let exec = Verb::Exec { ignore_paused: false };
        let delete = Verb::Delete { force: false };
        for (status, verb, text) in [
            (Created, Verb::Start, ""),
            (Running, Verb::Start, "cannot start an already running container"),
            (Stopped, Verb::Start, "cannot start a container that has stopped"),
            (
                Paused,
                Verb::Start,
                "cannot start a container in the paused state",
            ),
            (Running, Verb::Kill, ""),
            (Created, Verb::Kill, ""),
            (Stopped, Verb::Kill, "container not running: it is stopped"),
            (
                Running,
                delete,
                "cannot delete container x that is not stopped: running",
            ),
            (
                Paused,
                delete,
                "cannot delete container x that is not stopped: paused",
            ),
            (Stopped, delete, ""),
            (Created, delete, ""),
            (Stopped, exec, "cannot exec in a stopped container"),
            (
                Paused,
                exec,
                "cannot exec in a paused container (use --ignore-paused to override)",
            ),
            (Paused, Verb::Exec { ignore_paused: true }, ""),
            (Paused, Verb::Pause, "container not running: it is paused"),
            (Paused, Verb::Mounts, "container not running: it is paused"),
            (Running, Verb::Mounts, ""),
            (Running, Verb::Resume, "container not paused: it is running"),
            (Stopped, Verb::Events, "container with id x is not running"),
            (Stopped, Verb::Update, "container not running: it is stopped"),
            (Paused, Verb::Checkpoint, ""),
            (
                Created,
                Verb::Checkpoint,
                "container cannot be checkpointed in created state",
            ),
        ] {
            assert_eq!(refusal(status, verb), text, "{verb:?} when {status}");
        }
    }

    #[test]
    fn force_deletes_whatever_there_is() {
        assert!(
            ALL.iter()
                .all(|status| status.allows(Verb::Delete { force: true }, "x").is_ok())
        );
    }

    #[test]
    fn observes_in_order_and_asks_no_more_than_needed() {
        let observe = |init, alive, frozen: Option<bool>, waits: Option<bool>| {
            let record = Record { init, ..sample("x") };
            Status::observe(
                &record,
                |_| Ok::<_, ()>(alive),
                || Ok(frozen.expect("asked for frozen")),
                || Ok(waits.expect("asked for the gate")),
            )
            .unwrap()
        };
        let init = sample("x").init;
        assert_eq!(observe(None, true, None, None), Status::Creating);
        assert_eq!(observe(init, false, None, None), Status::Stopped);
        assert_eq!(observe(init, true, Some(true), None), Status::Paused);
        assert_eq!(observe(init, true, Some(false), Some(true)), Status::Created);
        assert_eq!(observe(init, true, Some(false), Some(false)), Status::Running);
    }
}
