//! A whole dump or restore: the request, what CRIU tells meanwhile, the answer and CRIU's end.

use std::path::Path;

use super::{CriuError, Images, Notice, Session, log, rpc};

/// What CRIU is asked to do with a process tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Dump,
    /// Memory alone, of processes that go on.
    PreDump,
    Restore,
}

impl Task {
    /// The name of its log, as with runc.
    pub const fn log(self) -> &'static str {
        match self {
            Self::Dump | Self::PreDump => "dump.log",
            Self::Restore => "restore.log",
        }
    }

    /// The name of the file with its counts and times.
    pub(super) const fn counts(self) -> &'static str {
        match self {
            Self::Dump | Self::PreDump => "stats-dump",
            Self::Restore => "stats-restore",
        }
    }

    const fn message(self) -> rpc::Criu_req_type {
        match self {
            Self::Dump => rpc::Criu_req_type::DUMP,
            Self::PreDump => rpc::Criu_req_type::PRE_DUMP,
            Self::Restore => rpc::Criu_req_type::RESTORE,
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Dump => "checkpoint",
            Self::PreDump => "pre-dump",
            Self::Restore => "restore",
        }
    }

    /// Has CRIU do it. `watch` is told of each step; where it fails, CRIU undoes all and its error is the result.
    ///
    /// # Errors
    /// That of `watch`, or CRIU's with what its log says.
    pub fn carry_out<E: From<CriuError>>(
        self,
        mut session: Session,
        opts: rpc::Criu_opts,
        images: &Images,
        watch: &mut dyn FnMut(Notice) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = images.log(opts.log_file());
        images.clear(opts.log_file(), self)?;
        let mut request = rpc::Criu_req::new();
        request.set_type(self.message());
        request.opts = protobuf::MessageField::some(opts);
        let answer = session.exchange(&request, &mut |notice| watch(notice).map_err(Failure::Other));
        let answer = answer.map_err(|failure| match failure {
            Failure::Own(CriuError::Ended(how)) => self.failed(&path, &how).into(),
            Failure::Own(CriuError::Conversation(source)) => {
                self.failed(&path, &format!("it said no more: {source}")).into()
            }
            Failure::Own(error) => error.into(),
            Failure::Other(error) => error,
        })?;
        // After a pre-dump it waits for the next one, and calls it a failure that none comes.
        let ended_well = session.end() || self == Self::PreDump;
        if answer.success() && ended_well {
            return Ok(());
        }
        Err(self.failed(&path, &said(&answer)).into())
    }

    fn failed(self, log: &Path, said: &str) -> CriuError {
        CriuError::Failed {
            action: self.verb(),
            reason: log::reason(log, said),
        }
    }
}

/// Whose failure it was.
enum Failure<E> {
    Own(CriuError),
    Other(E),
}

impl<E> From<CriuError> for Failure<E> {
    fn from(error: CriuError) -> Self {
        Self::Own(error)
    }
}

/// The reason in an answer, where it has one.
fn said(answer: &rpc::Criu_resp) -> String {
    let message = answer.cr_errmsg().trim();
    if message.is_empty() && answer.cr_errno() != 0 {
        return std::io::Error::from_raw_os_error(answer.cr_errno()).to_string();
    }
    message.to_owned()
}
