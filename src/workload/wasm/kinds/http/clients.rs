//! Those who wait for what an instance does, and how long it may compute when there are none: it would keep its place
//! for ever.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::admission::{Admission, Permits};

/// How long an instance may compute for nobody, and, where all clients have had their answers, after them: some of the work
/// may come then.
const TIME: Duration = Duration::from_secs(3);
const TIME_AFTER: Duration = Duration::from_secs(30);
/// How many turns of an epoch it has at least, however many instances want the threads. Each is a hundredth of a second.
const TURNS: u32 = 30;
const TURNS_AFTER: u32 = 300;

/// Of the requests that an instance serves.
#[derive(Default)]
pub struct Clients {
    /// As long as there is anything of them.
    requests: Vec<Weak<Admission>>,
    /// Since when the instance computes for nobody, and the turns it had since then.
    nobody: Option<(Instant, u32)>,
}

impl Clients {
    pub fn serve(&mut self, request: &Permits) {
        self.requests.retain(|other| other.strong_count() > 0);
        self.requests.push(Arc::downgrade(request));
    }

    /// The instance has computed for one more turn.
    ///
    /// # Errors
    /// That was one too many for nobody.
    pub fn turn(&mut self) -> wasmtime::Result<()> {
        self.turn_at(Instant::now())
    }

    fn turn_at(&mut self, now: Instant) -> wasmtime::Result<()> {
        let (mut waits, mut left) = (false, false);
        for request in self.requests.iter().filter_map(Weak::upgrade) {
            waits |= request.is_waited_for();
            left |= request.is_left();
        }
        if waits {
            self.nobody = None;
            return Ok(());
        }
        let (since, turns) = self.nobody.get_or_insert((now, 0));
        *turns += 1;
        let had = (now.saturating_duration_since(*since), *turns);
        let over = |time, turns| had.0 > time && had.1 > turns;
        if left && over(TIME, TURNS) {
            wasmtime::bail!("it went on computing after its client had left without an answer");
        }
        if over(TIME_AFTER, TURNS_AFTER) {
            wasmtime::bail!("it went on computing for nobody after its answer");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::{Client, Taking};
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// How many turns an instance has that has one at each of these ticks; `None` where there is no end.
    fn turns(clients: &mut Clients, tick: Duration) -> Option<u32> {
        let began = Instant::now();
        (0..10_000).find(|turn| clients.turn_at(began + tick * *turn).is_err())
    }

    #[test]
    fn an_instance_computes_for_those_who_wait() {
        let (one, other) = (Admission::new([]), Admission::new([]));
        let (first, second) = (Client::new(&one), Client::new(&other));
        let mut clients = Clients::default();
        clients.serve(&one);
        clients.serve(&other);
        assert_eq!(turns(&mut clients, TICK), None);
        drop(first);
        assert_eq!(turns(&mut clients, TICK), None, "one has left");
        drop(second);
        assert_eq!(turns(&mut clients, TICK), Some(301), "both have");
        // Where others want the threads too it has few turns, but some.
        clients.nobody = None;
        assert_eq!(turns(&mut clients, 100 * TICK), Some(TURNS));
    }

    #[test]
    fn there_may_be_more_to_do_after_an_answer() {
        let request = Admission::new([]);
        let mut clients = Clients::default();
        clients.serve(&request);
        Client::new(&request).answered();
        let taking = Taking::new(Arc::clone(&request));
        assert_eq!(turns(&mut clients, TICK), None, "it is being taken");
        drop(taking);
        assert_eq!(turns(&mut clients, TICK), Some(3001));
        let mut clients = Clients::default();
        clients.serve(&request);
        drop(request);
        assert_eq!(turns(&mut clients, TICK), Some(3001), "nothing is left of it");
    }
}
