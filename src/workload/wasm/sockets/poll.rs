//! `poll_oneoff` of sockets together with standard streams, files and clocks: one ppoll(2). A poll without
//! sockets is left to the engine.
//!
//! `epoll_oneoff` is the same. It is edge-triggered in that an event is one call's: each call arms what it
//! subscribes to anew, and what is ready at that moment counts as an edge. So it is with WasmEdge, which
//! modifies the kernel's subscription in each call, and epoll_ctl(2) then reports what is ready already.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Arguments;
use super::errno::{Errno, Result};
use super::memory::Memory;
use super::standard::{Context, Stock, number};
use super::table::Sockets;

/// Bytes of preview 1's `subscription` and `event`.
const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;

/// Most subscriptions in one call, to bound what it makes us allocate; above what anyone has descriptors for.
const MOST: u32 = 1 << 18;

/// Of `eventtype`.
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// Of `subclockflags`.
const ABSOLUTE: u16 = 1;
/// Of `eventrwflags`.
const HANGUP: u16 = 1;
/// Of `filetype`.
const DIRECTORY: u8 = 3;

/// Of `clockid`: realtime and monotonic can be waited for.
const LAST_CLOCK: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscription {
    userdata: u64,
    kind: u8,
    descriptor: u32,
    /// The descriptor's place holds the clock.
    timeout: u64,
    absolute: bool,
}

impl Subscription {
    fn parse(bytes: &[u8]) -> Self {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        Self {
            userdata: long(0),
            kind: bytes[8],
            descriptor: long(16) as u32,
            timeout: long(24),
            absolute: u16::from_le_bytes([bytes[40], bytes[41]]) & ABSOLUTE != 0,
        }
    }

    fn all(memory: &Memory<'_>, pointer: u32, count: u32) -> Result<Vec<Self>> {
        let length = count.checked_mul(SUBSCRIPTION).ok_or(Errno::FAULT)?;
        let bytes = memory.bytes(pointer, length)?;
        Ok(bytes
            .chunks_exact(SUBSCRIPTION as usize)
            .map(Self::parse)
            .collect())
    }

    fn is_of_a_socket(&self, sockets: &Sockets) -> bool {
        [FD_READ, FD_WRITE].contains(&self.kind) && sockets.contains(self.descriptor)
    }
}

/// What a subscription waits for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Socket(u32),
    /// The host's descriptor 0, 1 or 2.
    Stream(usize),
    /// `None` is never.
    Clock(Option<Instant>),
    /// Nothing: it is ready, or wrong.
    Known(Result<()>),
}

pub async fn poll(context: &mut Context<'_>, arguments: Arguments) -> wasmtime::Result<i32> {
    let [subscriptions, events, count, result, ..] = arguments;
    let memory = &context.call.memory;
    let wanted = match Subscription::all(memory, subscriptions, count.min(MOST + 1)) {
        Ok(wanted) if wanted.iter().any(|one| one.is_of_a_socket(context.call.sockets)) => wanted,
        // The engine says what is wrong with memory that is not there.
        _ => return context.stock(Stock::Poll, arguments).await,
    };
    if count > MOST {
        return Ok(number(Err(Errno::NOMEM)));
    }
    let room = memory
        .check(events, count.saturating_mul(EVENT))
        .and_then(|()| memory.check(result, 4));
    if let Err(errno) = room {
        return Ok(number(Err(errno)));
    }
    let mut sources = Vec::with_capacity(wanted.len());
    for one in &wanted {
        sources.push(source(context, one).await?);
    }
    let outcome = wait(context.call.sockets, &wanted, &sources);
    let written = outcome.and_then(|happened| {
        context.call.memory.put(events, &happened)?;
        context.call.memory.put_u32(result, happened.len() as u32 / EVENT)
    });
    Ok(number(written))
}

async fn source(context: &mut Context<'_>, one: &Subscription) -> wasmtime::Result<Source> {
    Ok(match one.kind {
        CLOCK => deadline(context, one)?,
        FD_READ | FD_WRITE if context.call.sockets.contains(one.descriptor) => Source::Socket(one.descriptor),
        FD_READ | FD_WRITE => match (context.call.sockets.stream(one.descriptor), one.kind) {
            (Some(0), FD_READ) => Source::Stream(0),
            (Some(stream @ 1..), FD_WRITE) => Source::Stream(stream),
            (Some(_), _) => Source::Known(Err(Errno::BADF)),
            (None, _) => Source::Known(match context.stock_kind(one.descriptor).await? {
                Ok(DIRECTORY) => Err(Errno::BADF),
                // Files are always ready, as poll(2) has it.
                Ok(_) => Ok(()),
                Err(errno) => Err(errno),
            }),
        },
        _ => Source::Known(Err(Errno::INVAL)),
    })
}

fn deadline(context: &mut Context<'_>, one: &Subscription) -> wasmtime::Result<Source> {
    let clock = one.descriptor;
    if clock > LAST_CLOCK {
        return Ok(Source::Known(Err(Errno::INVAL)));
    }
    let mut remaining = one.timeout;
    if one.absolute {
        match context.stock_time(clock)? {
            Ok(now) => remaining = remaining.saturating_sub(now),
            Err(errno) => return Ok(Source::Known(Err(errno))),
        }
    }
    Ok(Source::Clock(
        Instant::now().checked_add(Duration::from_nanos(remaining)),
    ))
}

/// The host's descriptors that are waited for, each once.
#[derive(Default)]
struct Polled<'a> {
    wanted: Vec<(BorrowedFd<'a>, PollFlags)>,
    places: BTreeMap<i32, usize>,
}

impl<'a> Polled<'a> {
    /// Adds what to wait for, and gives where its answer will be.
    fn add(&mut self, fd: BorrowedFd<'a>, flags: PollFlags) -> usize {
        let place = *self.places.entry(fd.as_raw_fd()).or_insert(self.wanted.len());
        match self.wanted.get_mut(place) {
            Some((_, known)) => *known |= flags,
            None => self.wanted.push((fd, flags)),
        }
        place
    }

    fn entries(&self) -> Vec<PollFd<'a>> {
        let entries = self.wanted.iter();
        entries
            .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect()
    }
}

/// One ppoll(2); an interruption counts as nothing having happened.
fn poll_until(entries: &mut [PollFd<'_>], until: Option<Instant>) -> Result<()> {
    let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match rustix::event::poll(entries, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until something has happened, and gives all that has, as the guest's events.
fn wait(sockets: &Sockets, wanted: &[Subscription], sources: &[Source]) -> Result<Vec<u8>> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut polled = Polled::default();
    let mut places = Vec::with_capacity(sources.len());
    let mut until: Option<Instant> = None;
    let mut earlier = |instant: Instant| until = Some(until.map_or(instant, |until| until.min(instant)));
    for (one, source) in wanted.iter().zip(sources) {
        let flags = if one.kind == FD_READ {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        places.push(match *source {
            Source::Socket(number) => Some(polled.add(sockets.get(number)?, flags)),
            Source::Stream(stream) => Some(polled.add(streams[stream], flags)),
            Source::Clock(instant) => {
                instant.into_iter().for_each(&mut earlier);
                None
            }
            Source::Known(_) => {
                earlier(Instant::now());
                None
            }
        });
    }
    let mut entries = polled.entries();
    loop {
        poll_until(&mut entries, until)?;
        let now = Instant::now();
        let mut events = Vec::new();
        for ((one, source), place) in wanted.iter().zip(sources).zip(&places) {
            let happened = match (place, source) {
                (Some(place), _) => ready(one, &entries[*place]),
                (None, Source::Known(outcome)) => Some(Happened::of(*outcome)),
                (None, Source::Clock(Some(instant))) => (*instant <= now).then(|| Happened::of(Ok(()))),
                (None, _) => None,
            };
            events.extend(happened.iter().flat_map(|happened| happened.event(one)));
        }
        if !events.is_empty() {
            return Ok(events);
        }
    }
}

/// The part of an event that is not the subscription's.
#[derive(Debug, Clone, Copy)]
struct Happened {
    error: u16,
    bytes: u64,
    flags: u16,
}

impl Happened {
    fn of(outcome: Result<()>) -> Self {
        Self {
            error: outcome.map_or_else(|errno| errno.0, |()| 0),
            bytes: u64::from(outcome.is_ok()),
            flags: 0,
        }
    }

    fn event(&self, one: &Subscription) -> [u8; EVENT as usize] {
        let mut event = [0; EVENT as usize];
        event[..8].copy_from_slice(&one.userdata.to_le_bytes());
        event[8..10].copy_from_slice(&self.error.to_le_bytes());
        event[10] = one.kind;
        if one.kind != CLOCK {
            event[16..24].copy_from_slice(&self.bytes.to_le_bytes());
            event[24..26].copy_from_slice(&self.flags.to_le_bytes());
        }
        event
    }
}

/// What poll(2) says of one side of a descriptor. An error or a hang-up makes both sides ready: the next call on
/// it says which.
fn ready(one: &Subscription, entry: &PollFd<'_>) -> Option<Happened> {
    let side = if one.kind == FD_READ {
        PollFlags::IN
    } else {
        PollFlags::OUT
    };
    let found = entry.revents();
    if !found.intersects(side | PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
        return None;
    }
    let mut happened = Happened::of(Ok(()));
    if one.kind == FD_READ {
        // A listening socket has no number of bytes.
        happened.bytes = rustix::io::ioctl_fionread(entry).unwrap_or(1);
    }
    if found.contains(PollFlags::HUP) {
        happened.flags = HANGUP;
    }
    Some(happened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read() {
        let mut bytes = [0; 96];
        bytes[..8].copy_from_slice(&77u64.to_le_bytes());
        bytes[16] = 1;
        bytes[24..32].copy_from_slice(&5_000u64.to_le_bytes());
        bytes[40] = 1;
        bytes[56] = FD_WRITE;
        bytes[64..68].copy_from_slice(&0x10_0000u32.to_le_bytes());
        let memory = Memory::new(&mut bytes);
        let found = Subscription::all(&memory, 0, 2).expect("they are there");
        let clock = Subscription {
            userdata: 77,
            kind: CLOCK,
            descriptor: 1,
            timeout: 5_000,
            absolute: true,
        };
        assert_eq!(found[0], clock);
        assert_eq!((found[1].kind, found[1].descriptor), (FD_WRITE, 0x10_0000));
        assert_eq!(Subscription::all(&memory, 0, 3), Err(Errno::FAULT));
        assert_eq!(Subscription::all(&memory, 0, u32::MAX), Err(Errno::FAULT));
    }

    #[test]
    fn events_have_the_layout_of_preview1() {
        let one = Subscription {
            userdata: 0x0102,
            kind: FD_READ,
            descriptor: 4,
            timeout: 0,
            absolute: false,
        };
        let happened = Happened {
            error: 8,
            bytes: 300,
            flags: HANGUP,
        };
        let mut expected = [0; 32];
        expected[..2].copy_from_slice(&[2, 1]);
        expected[8] = 8;
        expected[10] = FD_READ;
        expected[16..18].copy_from_slice(&300u16.to_le_bytes());
        expected[24] = 1;
        assert_eq!(happened.event(&one), expected);
    }

    #[test]
    fn both_sides_of_a_descriptor_are_one_entry() {
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let mut polled = Polled::default();
        assert_eq!(polled.add(one.as_fd(), PollFlags::IN), 0);
        assert_eq!(polled.add(other.as_fd(), PollFlags::OUT), 1);
        assert_eq!(polled.add(one.as_fd(), PollFlags::OUT), 0);
        assert_eq!(polled.wanted[0].1, PollFlags::IN | PollFlags::OUT);
        let mut entries = polled.entries();
        poll_until(&mut entries, Some(Instant::now())).expect("poll(2)");
        assert_eq!(
            entries.iter().map(PollFd::revents).collect::<Vec<_>>(),
            [PollFlags::OUT; 2]
        );
    }
}
