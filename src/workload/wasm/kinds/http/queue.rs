//! Requests that wait for an instance. Instances of WASI 0.3 say whether they could take one more while they answer
//! others; where none could, one more is made.
//!
//! An instance that computes says nothing and takes nothing, whatever it has said before. So what waits for more than a
//! moment has another made, and instances must say again that they could.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub struct Queue<T> {
    /// What is not wanted any more is passed over.
    is_wanted: fn(&T) -> bool,
    state: Mutex<State<T>>,
    pushed: Notify,
}

struct State<T> {
    /// Each with its number.
    waiting: VecDeque<(u64, T)>,
    next: u64,
    /// Instances that have said that they could take one.
    ready: usize,
    /// Instances that are being made, and will take one.
    coming: usize,
    /// What was said in an earlier round does not count.
    round: u64,
}

/// An instance's last word: in which round it could take one.
#[derive(Default)]
pub struct Word(Option<u64>);

/// One more instance is to be made.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted(pub bool);

impl<T> Queue<T> {
    pub fn new(is_wanted: fn(&T) -> bool) -> Self {
        Self {
            is_wanted,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                next: 0,
                ready: 0,
                coming: 0,
                round: 0,
            }),
            pushed: Notify::new(),
        }
    }

    fn pop(&self, state: &mut State<T>) -> Option<T> {
        let next = || state.waiting.pop_front().map(|(_, item)| item);
        std::iter::from_fn(next).find(self.is_wanted)
    }
}

impl<T> State<T> {
    fn wanted(&mut self) -> Wanted {
        let wanted = self.ready == 0 && self.coming < self.waiting.len();
        self.coming += usize::from(wanted);
        Wanted(wanted)
    }
}

impl<T> Queue<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one at the end, and gives its number.
    pub fn push(&self, item: T) -> (u64, Wanted) {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, item));
        let wanted = state.wanted();
        drop(state);
        self.pushed.notify_one();
        (number, wanted)
    }

    /// The one of this number was not taken for a moment; `None` where it is by now.
    pub fn overdue(&self, number: u64) -> Option<Wanted> {
        let mut state = self.state();
        // They are taken in their order.
        let (first, _) = state.waiting.front()?;
        if *first > number {
            return None;
        }
        state.round += 1;
        state.ready = 0;
        Some(state.wanted())
    }

    /// An instance can be made: for the first of those that wait, if any does still.
    pub fn come(&self) -> (Option<T>, Wanted) {
        let mut state = self.state();
        state.coming -= 1;
        (self.pop(&mut state), state.wanted())
    }

    /// An instance says whether it could take one.
    pub fn say(&self, word: &mut Word, ready: bool) -> Wanted {
        let mut state = self.state();
        let said = word.0 == Some(state.round);
        match (said, ready) {
            (false, true) => state.ready += 1,
            (true, false) => state.ready -= 1,
            (true, true) | (false, false) => {}
        }
        word.0 = ready.then_some(state.round);
        if said && !ready {
            state.wanted()
        } else {
            Wanted(false)
        }
    }

    /// The next, as soon as there is one.
    pub async fn take(&self) -> T {
        let mut pushed = pin!(self.pushed.notified());
        loop {
            pushed.as_mut().enable();
            if let Some(item) = self.pop(&mut self.state()) {
                return item;
            }
            pushed.as_mut().await;
            pushed.set(self.pushed.notified());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Wanted = Wanted(false);
    const ONE: Wanted = Wanted(true);

    #[tokio::test]
    async fn one_is_made_for_each_that_nobody_could_take() {
        let queue = Queue::new(|_| true);
        assert_eq!(queue.push('a').1, ONE);
        assert_eq!(queue.push('b').1, ONE);
        assert_eq!(queue.come(), (Some('a'), NONE));
        let mut word = Word::default();
        assert_eq!(queue.say(&mut word, true), NONE);
        assert_eq!(queue.take().await, 'b');
        // The one that was made for it is needed no more.
        assert_eq!(queue.come(), (None, NONE));
        assert_eq!(queue.push('c').1, NONE);
        assert_eq!(queue.push('d').1, NONE);
        assert_eq!(queue.take().await, 'c');
        assert_eq!(queue.say(&mut word, false), ONE);
        assert_eq!(queue.say(&mut word, false), NONE);
        assert_eq!(queue.come(), (Some('d'), NONE));
    }

    #[test]
    fn those_that_arrived_together_are_not_forgotten() {
        let queue = Queue::new(|_| true);
        let mut word = Word::default();
        assert_eq!(queue.say(&mut word, true), NONE);
        for item in 'a'..='c' {
            assert_eq!(queue.push(item).1, NONE);
        }
        assert_eq!(queue.say(&mut word, false), ONE);
        assert_eq!(queue.come(), (Some('a'), ONE));
        assert_eq!(queue.come(), (Some('b'), ONE));
        assert_eq!(queue.come(), (Some('c'), NONE));
    }

    #[test]
    fn who_said_that_he_could_and_does_not_is_not_waited_for() {
        let queue = Queue::new(|_| true);
        let (mut computing, mut other) = (Word::default(), Word::default());
        assert_eq!(queue.say(&mut computing, true), NONE);
        let (number, wanted) = queue.push('a');
        assert_eq!(wanted, NONE);
        assert_eq!(queue.overdue(number), Some(ONE));
        assert_eq!(queue.overdue(number), Some(NONE), "it is coming");
        assert_eq!(queue.come(), (Some('a'), NONE));
        assert_eq!(queue.overdue(number), None);
        // The next does not wait, until somebody says it anew.
        assert_eq!(queue.push('b').1, ONE);
        assert_eq!(queue.come(), (Some('b'), NONE));
        assert_eq!(queue.say(&mut other, true), NONE);
        assert_eq!(queue.push('c').1, NONE);
        // Its last word was of another round.
        assert_eq!(queue.say(&mut computing, false), NONE);
        assert_eq!(queue.say(&mut other, false), ONE);
    }

    #[test]
    fn what_nobody_wants_any_more_is_passed_over() {
        let queue = Queue::new(|item| *item != 'a');
        for item in ['a', 'b', 'a'] {
            assert_eq!(queue.push(item).1, ONE);
        }
        assert_eq!(queue.come(), (Some('b'), NONE));
        assert_eq!(queue.come(), (None, NONE));
        assert_eq!(queue.come(), (None, NONE));
    }
}
