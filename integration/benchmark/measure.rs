//! One command's time, from before its start to after its end.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

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

/// Runs `command`, which must succeed. It has no descriptor of ours to pass on, so std uses posix_spawn.
pub fn time(mut command: Command) -> Sample {
    let (before, start) = (children(), Instant::now());
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let wall = start.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    Sample {
        wall,
        cpu: children().saturating_sub(before),
    }
}

/// All samples of one command.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Milliseconds.
    pub fn minimum(&self) -> f64 {
        self.0
            .iter()
            .map(|sample| sample.wall)
            .min()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e3
    }

    /// Milliseconds.
    pub fn median(&self) -> f64 {
        Self::middle(self.0.iter().map(|sample| sample.wall).collect())
    }

    /// Milliseconds of processor time.
    pub fn median_cpu(&self) -> f64 {
        Self::middle(self.0.iter().map(|sample| sample.cpu).collect())
    }

    fn middle(mut times: Vec<Duration>) -> f64 {
        times.sort_unstable();
        times
            .get(times.len() / 2)
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e3
    }
}
