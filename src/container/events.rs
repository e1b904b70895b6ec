//! `events`: what a container uses, again and again, and when it runs out of memory.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::stored::{init_pidfd, permitted, refuse, store};
use super::{Context, Error};
use crate::cgroup::{Cgroup, Notice, OomWatch};
use crate::rdt;
use crate::state::{Record, Refused, Verb};

/// One event, in runc's form (its `types/events.go`).
#[derive(Debug, Serialize)]
pub struct Event {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// What a container has used, in runc's form.
#[derive(Debug, Serialize)]
struct Stats {
    #[serde(flatten)]
    cgroup: crate::cgroup::Stats,
    intel_rdt: rdt::Stats,
    /// runc knows only of interfaces that it would have made itself; it makes none.
    network_interfaces: Option<()>,
}

/// The figures of now, as one event.
pub fn stats(context: &Context<'_>, id: &str) -> Result<Event, Error> {
    let entry = store(context).open(id)?;
    let (record, _) = permitted(&entry, Verb::Events)?;
    stats_of(&record)
}

fn stats_of(record: &Record) -> Result<Event, Error> {
    Ok(Event {
        kind: "stats",
        id: record.id.clone(),
        data: Some(Stats {
            cgroup: Cgroup::open(&record.placement).stats(record.rootless)?,
            intel_rdt: rdt::stats(record.rdt.as_ref())?,
            network_interfaces: None,
        }),
    })
}

/// The events of a container from now until it stops, or has no cgroup any more.
pub struct Events<'a> {
    context: &'a Context<'a>,
    record: Record,
    init: OwnedFd,
    /// `None` where there is no memory controller.
    oom: Option<OomWatch>,
    interval: Duration,
    next: Instant,
    ended: bool,
}

impl<'a> Events<'a> {
    /// Begins to watch; the first figures come after `interval`.
    pub fn watch(context: &'a Context<'a>, id: &str, interval: Duration) -> Result<Self, Error> {
        let entry = store(context).open(id)?;
        let (record, _) = permitted(&entry, Verb::Events)?;
        let gone = || refuse(id)(Refused::Events { id: id.to_owned() });
        let init = init_pidfd(&record)?.ok_or_else(gone)?;
        let oom = Cgroup::open(&record.placement).watch_oom()?;
        if oom.is_none() {
            (context.warn)("no memory controller limits the container: there will be no oom events");
        }
        Ok(Self {
            context,
            record,
            init,
            oom,
            interval,
            next: Instant::now() + interval,
            ended: false,
        })
    }

    /// Waits for the next event; `None` when there will be no more.
    pub fn wait_for_next(&mut self) -> Result<Option<Event>, Error> {
        while !self.ended {
            // However short the interval: the end must be seen.
            self.ended = self.poll(self.next.saturating_duration_since(Instant::now()))?;
            // Asked also at the end: the notice of the kill may come after the death.
            match self.oom.as_mut().map_or(Notice::Nothing, OomWatch::take) {
                Notice::Nothing => {}
                Notice::Killed => {
                    return Ok(Some(Event {
                        kind: "oom",
                        id: self.record.id.clone(),
                        data: None,
                    }));
                }
                // Whoever took it away has moved the processes elsewhere, where nothing is measured. As runc.
                Notice::Gone => self.ended = true,
            }
            if self.ended || Instant::now() < self.next {
                continue;
            }
            // Figures that were due while nobody took the last ones are left out, as Go's ticker leaves out ticks.
            self.next = (self.next + self.interval).max(Instant::now());
            match stats_of(&self.record) {
                Ok(event) => return Ok(Some(event)),
                // It may be about to stop, with its cgroup half gone; if not, there is a next time.
                Err(error) => (self.context.warn)(&crate::reason::chain(&error)),
            }
        }
        Ok(None)
    }

    /// Waits for a notice, for the time of the next figures, or for the end of the container, which is told.
    fn poll(&self, limit: Duration) -> Result<bool, Error> {
        let limit = Timespec::try_from(limit).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let mut files = vec![PollFd::new(&self.init, PollFlags::IN)];
        if let Some(oom) = &self.oom {
            let (file, events) = oom.poll();
            files.push(PollFd::from_borrowed_fd(file, events));
        }
        match poll(&mut files, Some(&limit)) {
            Ok(_) => Ok(!files[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(Error::Process {
                id: self.record.id.clone(),
                action: "wait for events",
                source: errno.into(),
            }),
        }
    }
}
