//! Whether the machine was quiet enough for times to be called a result. It is looked at before the first part, after
//! each one and at the end; what makes a run noisy is decided by [`reasons`] from those looks alone. During a part only stolen
//! time is counted: others' work that begins and ends in it shows in the spread of the figures, if at all.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::figures::Figures;
use crate::measure::time;

/// Load average of the last minute before we begin, for each processor.
const LOAD: f64 = 0.5;
/// Processors' worth of time that others use while we do nothing.
const OTHERS: f64 = 0.10;
/// Share of the time in which the processors belonged to other virtual machines.
const STOLEN: f64 = 0.02;
/// Distance of the quartiles of the calibration as a share of its median.
const SPREAD: f64 = 0.25;
/// How many times as long the calibration may take as at its best.
const DRIFT: f64 = 1.25;

/// How long the load of what was before may take to go: from 3 to 0.5 it takes 108 s.
const SETTLING: Duration = Duration::from_secs(120);
/// How long others are watched.
const WATCH: Duration = Duration::from_millis(1000);
/// What [`settle`] watches at least.
const BREATH: Duration = Duration::from_millis(20);
/// Starts of the calibration, a few for warming up before.
const STARTS: usize = 60;

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Which moment that was.
    pub when: String,
    /// Load average of the last minute, only before we begin: afterwards it is ours.
    pub load: Option<f64>,
    /// Processors' worth of time that others used.
    pub others: f64,
    /// Share of all processors' time that was stolen since the look before.
    pub stolen: f64,
    /// A static program that says hello, ms.
    pub calibration: Figures,
}

/// Processor time since the machine's start, in ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: u64,
    stolen: u64,
    all: u64,
}

/// The first line of /proc/stat (proc_stat(5)).
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's already.
    let [user, nice, system, idle, waiting, irq, soft, stolen, ..] = numbers[..] else {
        return None;
    };
    let busy = user + nice + system + irq + soft;
    Some(Ticks {
        busy,
        stolen,
        all: busy + idle + waiting + stolen,
    })
}

fn now() -> Ticks {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    ticks(&text).expect("/proc/stat begins with the sum of all processors")
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").expect("/proc/loadavg");
    let first = text.split_whitespace().next().map(str::parse);
    first
        .and_then(Result::ok)
        .expect("/proc/loadavg begins with a number")
}

/// Waits until the load of what was done before, such as building the release, has gone out of the average of the last
/// minute; for so long and no longer, since a machine that is busy stays so.
pub fn wait_for_quiet(processors: usize) {
    let start = Instant::now();
    let mut told = false;
    while load() > LOAD * processors as f64 && start.elapsed() < SETTLING {
        if !told {
            eprintln!(
                "waiting until the load average is at most {} ({} now), for at most {} s",
                LOAD * processors as f64,
                load(),
                SETTLING.as_secs()
            );
            told = true;
        }
        std::thread::sleep(WATCH);
    }
}

/// Waits, a second at most, until the kernel and systemd have done what they do after a runtime has said that its containers
/// are gone: that is not the next one's time.
pub fn settle() {
    let begin = Instant::now();
    loop {
        let before = now().busy;
        std::thread::sleep(BREATH);
        // A tick or two are everybody's.
        if now().busy - before <= 1 || begin.elapsed() >= WATCH {
            return;
        }
    }
}

/// Looks, and remembers what it saw.
pub struct Watch {
    hello: Box<dyn Fn() -> Command>,
    before: Ticks,
    pub looks: Vec<Look>,
}

impl Watch {
    /// `hello` is the program that the calibration starts.
    pub fn new(hello: impl Fn() -> Command + 'static) -> Self {
        Watch {
            hello: Box::new(hello),
            before: now(),
            looks: Vec::new(),
        }
    }

    pub fn look(&mut self, when: &str) {
        let load = self.looks.is_empty().then(load);
        let start = now();
        let since = Instant::now();
        std::thread::sleep(WATCH);
        let watched = since.elapsed();
        let end = now();
        let ticks_per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
        let ticks_per_second = ticks_per_second.ok().flatten().unwrap_or(100) as f64;
        let others = (end.busy - start.busy) as f64 / ticks_per_second / watched.as_secs_f64();
        let all = end.all.saturating_sub(self.before.all).max(1);
        let stolen = end.stolen.saturating_sub(self.before.stolen) as f64 / all as f64;
        self.before = end;
        let times: Vec<f64> = (0..STARTS + 5)
            .map(|_| {
                let mut command = (self.hello)();
                command.stdin(Stdio::null()).stdout(Stdio::null());
                time(command).wall.as_secs_f64() * 1e3
            })
            .skip(5)
            .collect();
        self.looks.push(Look {
            when: when.to_owned(),
            load,
            others,
            stolen,
            calibration: Figures::of(&times).expect("it was started"),
        });
    }
}

/// Why a run with these looks is no result; empty where it is one.
pub fn reasons(looks: &[Look], processors: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    let best = looks
        .iter()
        .map(|look| look.calibration.median)
        .fold(f64::INFINITY, f64::min);
    for look in looks {
        let mut say = |text: String| reasons.push(format!("{}: {text}", look.when));
        if let Some(load) = look.load
            && load > LOAD * processors as f64
        {
            say(format!(
                "the load average was {load:.2} on {processors} processors"
            ));
        }
        if look.others > OTHERS {
            say(format!("others used {:.0} % of a processor", look.others * 100.0));
        }
        if look.stolen > STOLEN {
            say(format!(
                "{:.0} % of the time was stolen from this virtual machine",
                look.stolen * 100.0
            ));
        }
        let spread = look.calibration.spread();
        if spread > SPREAD {
            say(format!(
                "the quartiles of the calibration were {:.0} % of its median apart",
                spread * 100.0
            ));
        }
        if look.calibration.median > DRIFT * best {
            say(format!(
                "the calibration took ×{:.2} of its best",
                look.calibration.median / best
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(when: &str) -> Look {
        Look {
            when: when.to_owned(),
            load: None,
            others: 0.02,
            stolen: 0.0,
            calibration: Figures::of(&[0.95, 1.0, 1.0, 1.0, 1.1]).unwrap(),
        }
    }

    #[test]
    fn a_quiet_run_is_a_result() {
        let first = Look {
            load: Some(0.9),
            ..quiet("before")
        };
        assert_eq!(reasons(&[first, quiet("after")], 2), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_noise_is_named_with_its_moment() {
        let calibration = |values: &[f64]| Figures::of(values).unwrap();
        let noisy = [
            (
                Look {
                    load: Some(1.2),
                    ..quiet("a")
                },
                "a: the load average was 1.20 on 2 processors",
            ),
            (
                Look {
                    others: 0.5,
                    ..quiet("b")
                },
                "b: others used 50 % of a processor",
            ),
            (
                Look {
                    stolen: 0.1,
                    ..quiet("c")
                },
                "c: 10 % of the time was stolen from this virtual machine",
            ),
            (
                Look {
                    calibration: calibration(&[0.8, 0.8, 1.0, 1.2, 1.2]),
                    ..quiet("d")
                },
                "d: the quartiles of the calibration were 40 % of its median apart",
            ),
            (
                Look {
                    calibration: calibration(&[1.5]),
                    ..quiet("e")
                },
                "e: the calibration took ×1.50 of its best",
            ),
        ];
        for (look, reason) in noisy {
            assert_eq!(reasons(&[quiet("quiet"), look], 2), [reason]);
        }
    }

    #[test]
    fn what_is_at_the_limit_is_quiet() {
        let look = Look {
            load: Some(LOAD * 4.0),
            others: OTHERS,
            stolen: STOLEN,
            ..quiet("at the limit")
        };
        assert!(reasons(&[look], 4).is_empty());
    }

    #[test]
    fn ticks_of_a_machine() {
        let ticks = ticks("cpu  10 20 30 400 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n").unwrap();
        assert_eq!((ticks.busy, ticks.stolen, ticks.all), (73, 8, 531));
        assert!(super::ticks("intr 1").is_none());
    }
}
