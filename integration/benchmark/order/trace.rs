//! Which functions of a program run, by a breakpoint on each that is taken away when it is hit (ptrace(2)): in all its
//! processes, whoever executes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `int3` of x86.
const BREAKPOINT: u8 = 0xcc;

/// The program's code as it lies in memory, at a fixed address.
struct Program {
    start: u64,
    code: Vec<u8>,
    /// The same with breakpoints.
    armed: Vec<u8>,
}

impl Program {
    /// Of a process that has just executed it.
    fn read(pid: Pid, functions: &BTreeMap<u64, usize>) -> io::Result<Self> {
        let ends = functions.first_key_value().zip(functions.last_key_value());
        let ((&start, _), (&last, _)) = ends.ok_or_else(|| io::Error::other("the map names no function"))?;
        let at = |address: u64| usize::try_from(address - start).map_err(io::Error::other);
        let mut code = vec![0; at(last)? + 1];
        memory(pid)?.read_exact_at(&mut code, start)?;
        let mut armed = code.clone();
        for address in functions.keys() {
            armed[at(*address)?] = BREAKPOINT;
        }
        Ok(Program { start, code, armed })
    }

    /// What is to be written to an address, if there is a breakpoint.
    fn original(&self, address: u64) -> Option<u8> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        (self.armed.get(at)? != self.code.get(at)?).then(|| self.code[at])
    }
}

fn memory(pid: Pid) -> io::Result<File> {
    let path = format!("/proc/{pid}/mem");
    OpenOptions::new().read(true).write(true).open(path)
}

/// What the processes that are followed have run.
struct Tracer<'a> {
    file: &'a Path,
    functions: &'a BTreeMap<u64, usize>,
    program: Option<Program>,
    runs: Vec<Vec<u64>>,
    /// In the last of them.
    seen: BTreeSet<u64>,
}

impl Tracer<'_> {
    /// A process has executed something: where that is the program, it gets its breakpoints.
    fn executed(&mut self, pid: Pid) -> io::Result<()> {
        let own = std::fs::metadata(self.file)?;
        let executed = std::fs::metadata(format!("/proc/{pid}/exe"))?;
        if (own.dev(), own.ino()) != (executed.dev(), executed.ino()) {
            return Ok(());
        }
        let program = match &self.program {
            Some(program) => program,
            None => self.program.insert(Program::read(pid, self.functions)?),
        };
        self.runs.push(Vec::new());
        self.seen.clear();
        memory(pid)?.write_all_at(&program.armed, program.start)
    }

    /// Whether a process has stopped at a breakpoint. It goes on as if there were none.
    fn hit(&mut self, pid: Pid) -> io::Result<bool> {
        let mut registers = ptrace::getregs(pid)?;
        let address = registers.rip - 1;
        let program = self.program.as_ref();
        let Some(original) = program.and_then(|program| program.original(address)) else {
            return Ok(false);
        };
        memory(pid)?.write_all_at(&[original], address)?;
        registers.rip = address;
        ptrace::setregs(pid, registers)?;
        if let Some(run) = self.runs.last_mut().filter(|_| self.seen.insert(address)) {
            run.push(address);
        }
        Ok(true)
    }
}

/// Runs a shell that stops itself at first, and follows it and all that comes of it to its end. Tells of each execution of
/// the program in `file` which of its `functions` ran, in the order in which they did first.
pub fn follow(
    shell: &mut Command,
    file: &Path,
    functions: &BTreeMap<u64, usize>,
) -> io::Result<Vec<Vec<u64>>> {
    let mut tracer = Tracer {
        file,
        functions,
        program: None,
        runs: Vec::new(),
        seen: BTreeSet::new(),
    };
    let shell = Pid::from_raw(shell.spawn()?.id().cast_signed());
    waitpid(shell, Some(WaitPidFlag::WUNTRACED))?;
    let makers = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    ptrace::seize(shell, makers | Options::PTRACE_O_TRACEEXEC)?;
    kill(shell, Signal::SIGCONT)?;
    loop {
        let (pid, signal) = match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(pid, 0) if pid == shell => return Ok(tracer.runs),
            ended @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == shell => {
                return Err(io::Error::other(format!("the shell ended: {ended:?}")));
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    tracer.executed(pid)?;
                }
                (pid, None)
            }
            WaitStatus::Stopped(pid, Signal::SIGTRAP) if tracer.hit(pid)? => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => continue,
        };
        match ptrace::cont(pid, signal) {
            // Killed meanwhile.
            Err(nix::Error::ESRCH) => (),
            result => result?,
        }
    }
}
