//! `wrun kill`.

use std::str::FromStr as _;

use nix::sys::signal::Signal;

use super::{Invocation, log::Log};
use crate::container;

/// The first and the last real-time signal that programs may use (signal(7); the C library keeps 32 and 33).
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// Send a signal to a container.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// Name of the container, or with --regex what is found in the names of those that are meant.
    #[arg(value_name = "CONTAINER-ID")]
    container_id: String,

    /// Signal to send: a name with or without SIG, in either case, or a number.
    ///
    /// Real-time signals are RTMIN+N and RTMAX-N. 0 sends nothing and tells whether the container runs.
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", value_parser = signal)]
    signal: i32,

    /// Send the signal to all processes of the container, not only to the first.
    #[arg(long, short)]
    all: bool,

    /// Take the name for an extended regular expression (regex(7)) and signal every container in whose name it is
    /// found. What fails with one of them is an error in the log; the others have their turn all the same.
    #[arg(long, short)]
    regex: bool,
}

impl Kill {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let context = invocation.context(&warn)?;
        let kill = |id: &str| container::kill(&context, id, self.signal, self.all);
        if self.regex {
            container::each_matching(&context, &self.container_id, kill, |error| {
                log.report(&error.into())
            })?;
        } else {
            kill(&self.container_id)?;
        }
        Ok(0)
    }
}

fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=SIGRTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(format!("signals have numbers from 0 to {SIGRTMAX}"))
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    named(name).ok_or_else(|| "there is no signal of this name".into())
}

/// The number of a signal by its name without SIG.
fn named(name: &str) -> Option<i32> {
    // Second names of signal(7), and those of real-time signals, which nix has not.
    match name {
        "IOT" => return Some(Signal::SIGABRT as i32),
        "CLD" => return Some(Signal::SIGCHLD as i32),
        "POLL" => return Some(Signal::SIGIO as i32),
        _ => {}
    }
    let (base, offset) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (
            SIGRTMIN,
            rest.strip_prefix('+').or(rest.is_empty().then_some("0"))?,
        )
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        (
            SIGRTMAX,
            rest.strip_prefix('-').or(rest.is_empty().then_some("0"))?,
        )
    } else {
        return Signal::from_str(&format!("SIG{name}"))
            .ok()
            .map(|signal| signal as i32);
    };
    let offset = i32::from(offset.parse::<u8>().ok()?);
    let number = if base == SIGRTMIN {
        base + offset
    } else {
        base - offset
    };
    (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_are_named_as_users_name_them() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("term", 15),
            ("sigkill", 9),
            ("15", 15),
            ("0", 0),
            ("64", 64),
            ("HUP", 1),
            ("USR1", 10),
            ("WINCH", 28),
            ("PWR", 30),
            ("SYS", 31),
            ("IOT", 6),
            ("SIGCLD", 17),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-14", 50),
        ] {
            assert_eq!(signal(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "", "SIG", "FOO", "65", "-1", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMIN+", "RTMINX", "9x",
        ] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
