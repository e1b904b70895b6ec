//! One command's time, from before its start to after its end.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::figures::Figures;

/// Wall clock and processor time of a command and what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    pub wall: Duration,
    pub cpu: Duration,
}

impl std::ops::Add for Sample {
    type Output = Sample;

    fn add(self, other: Sample) -> Sample {
        Sample {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// Processor time of all children that were waited for.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage of our children");
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::new(
            time.tv_sec().unsigned_abs(),
            u32::try_from(time.tv_usec()).unwrap_or(0) * 1000,
        )
    };
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Whose turn it is in a round of so many: each is first as often, and comes after each other as often, since what a command
/// leaves to the kernel's and systemd's workers costs the next one time.
pub fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    let backwards = round % 2 == 1;
    (0..count).map(move |turn| {
        let turn = if backwards { count - 1 - turn } else { turn };
        (round / 2 + turn) % count
    })
}

/// How long a command may take. A peer's may hang: youki's `run` waits for good for a program that ended before it
/// began to wait.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How long one may take that must succeed: compiling a large module, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `command`, which must succeed.
#[track_caller]
pub fn time(command: Command) -> Sample {
    within(PATIENCE, command).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `command`; why it did not succeed.
pub fn attempt(command: Command) -> Result<Sample, String> {
    within(LIMIT, command)
}

/// It has no descriptor of ours to pass on, so std uses posix_spawn.
fn within(limit: Duration, mut command: Command) -> Result<Sample, String> {
    let (before, start) = (children(), Instant::now());
    let child = command.spawn();
    let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
    let status = finish(&mut child, limit);
    let wall = start.elapsed();
    match status {
        Some(status) if status.success() => Ok(Sample {
            wall,
            cpu: children().saturating_sub(before),
        }),
        Some(status) => Err(format!("{command:?} ended with {status}")),
        None => Err(format!("{command:?} did not end within {limit:?}")),
    }
}

/// Waits for the end of a child, which is killed when its time is over.
pub fn finish(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    // One that was waited for already has no pidfd any more.
    if let Some(status) = child.try_wait().expect("it is our child") {
        return Some(status);
    }
    let pid = Pid::from_raw(child.id().cast_signed()).expect("the id of a child");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd of our child");
    let timeout = Timespec::try_from(limit).expect("a limit of seconds");
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).expect("poll");
    if ended == 0 {
        child.kill().expect("it is our child");
    }
    let status = child.wait().expect("it is our child");
    (ended > 0).then_some(status)
}

/// All samples of one command.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// In milliseconds; `None` of no samples.
    pub fn figures(&self) -> Option<Figures> {
        let milliseconds = |duration: &Duration| duration.as_secs_f64() * 1e3;
        let wall: Vec<f64> = self.0.iter().map(|sample| milliseconds(&sample.wall)).collect();
        let cpu: Vec<f64> = self.0.iter().map(|sample| milliseconds(&sample.cpu)).collect();
        Some(Figures {
            cpu: Figures::of(&cpu).map(|figures| figures.median),
            ..Figures::of(&wall)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn each_comes_after_each_other_as_often() {
        let order = |round| turns(round, 3).collect::<Vec<_>>();
        assert_eq!(
            [0, 1, 2, 3].map(order),
            [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]].map(Vec::from)
        );
        let all: Vec<usize> = (0..6).flat_map(|round| turns(round, 3)).collect();
        for one in 0..3 {
            let after = |other: usize| all.windows(2).filter(|pair| **pair == [other, one]).count();
            let others: Vec<usize> = (0..3).filter(|other| *other != one).map(after).collect();
            assert!(others[0].abs_diff(others[1]) <= 1, "{one}: {others:?}");
        }
    }
}
