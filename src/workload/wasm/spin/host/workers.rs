//! Threads for work that blocks, such as that of SQLite, so that it does not hold up the requests of others. A
//! few, started when they are first needed; where the container's limit on processes allows none, the work is
//! done in place, and told so, since it holds up all others there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// Where a piece of work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// On a thread of its own.
    Beside,
    /// On the thread of whoever asked, which serves others too.
    InPlace,
}

type Job = Box<dyn FnOnce(Spot) + Send>;

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    most: usize,
}

struct Shared {
    waiting: Mutex<mpsc::Receiver<Job>>,
    /// Pieces of work that are handed over and not yet done.
    unfinished: AtomicUsize,
    threads: Mutex<usize>,
}

/// The work ended without a result, which only a defect of ours can bring about.
#[derive(Debug, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

impl Workers {
    /// At most so many threads, and so pieces of work at once.
    pub fn new(most: usize) -> Self {
        let (jobs, waiting) = mpsc::channel();
        Self {
            shared: Arc::new(Shared {
                waiting: Mutex::new(waiting),
                unfinished: AtomicUsize::new(0),
                threads: Mutex::new(0),
            }),
            jobs,
            places: Arc::new(Semaphore::new(most.max(1))),
            most,
        }
    }

    /// Does the work on one of the threads, as soon as there is one. It goes on when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Spot) -> T + Send + 'static,
    ) -> Result<T, GivenUp> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| GivenUp)?;
        let (sender, result) = oneshot::channel();
        let job: Job = Box::new(move |spot| {
            let result = work(spot);
            drop(place);
            // Whoever asked may have left.
            let _ = sender.send(result);
        });
        match self.thread_for_it() {
            true => self.jobs.send(job).map_err(|_| GivenUp)?,
            false => job(Spot::InPlace),
        }
        result.await.map_err(|_| GivenUp)
    }

    /// Has a value dropped on one of the threads: one whose end is work that blocks.
    pub fn drop_there(&self, value: impl Send + 'static) {
        let job: Job = Box::new(move |_| drop(value));
        let job = match self.thread_for_it() {
            true => match self.jobs.send(job) {
                Ok(()) => return,
                Err(mpsc::SendError(job)) => job,
            },
            false => job,
        };
        job(Spot::InPlace);
    }

    /// Whether there is, or will be, a thread for one more piece of work, which is counted then.
    fn thread_for_it(&self) -> bool {
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = self.shared.unfinished.fetch_add(1, Ordering::Relaxed) + 1;
        if unfinished > *threads && *threads < self.most {
            let shared = Arc::clone(&self.shared);
            let name = "wrun-database".to_owned();
            // Where there can be no more, those that there are do all.
            if thread::Builder::new()
                .name(name)
                .spawn(move || shared.work())
                .is_ok()
            {
                *threads += 1;
            }
        }
        if *threads == 0 {
            self.shared.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
        *threads > 0
    }
}

impl Shared {
    /// Until there is nobody left to ask for anything.
    fn work(&self) {
        loop {
            let job = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            job(Spot::Beside);
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_beside_what_waits_for_it() {
        let workers = Arc::new(Workers::new(8));
        let (sender, receiver) = std::sync::mpsc::channel::<u32>();
        let blocked = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move { workers.run(move |_| receiver.recv().expect("a number")).await }
        });
        let here = thread::current().id();
        let there = workers.run(move |_| thread::current().id()).await.expect("done");
        assert_ne!(here, there);
        sender.send(7).expect("it waits");
        assert_eq!(blocked.await.expect("no panic").expect("done"), 7);
    }

    #[tokio::test]
    async fn there_are_no_more_threads_than_work() {
        let workers = Workers::new(8);
        for _ in 0..20 {
            workers.run(|_| ()).await.expect("done");
        }
        // A thread counts its work as done a moment after the result is there.
        let threads = *workers.shared.threads.lock().expect("no panic");
        assert!((1..=8).contains(&threads), "{threads}");
        let many = (0..50).map(|number| workers.run(move |_| number));
        for (number, result) in many.enumerate() {
            assert_eq!(result.await.expect("done"), number);
        }
    }

    #[tokio::test]
    async fn work_without_a_thread_knows_that_it_holds_up_others() {
        let workers = Workers::new(0);
        let here = thread::current().id();
        let (spot, there) = workers
            .run(|spot| (spot, thread::current().id()))
            .await
            .expect("done");
        assert_eq!((spot, there), (Spot::InPlace, here));
        let beside = Workers::new(1).run(|spot| spot).await.expect("done");
        assert_eq!(beside, Spot::Beside);
    }

    #[tokio::test]
    async fn what_blocks_at_its_end_ends_on_a_thread() {
        struct Telling(mpsc::Sender<thread::ThreadId>);
        impl Drop for Telling {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).expect("somebody waits");
            }
        }
        let (sender, dropped) = mpsc::channel();
        let workers = Workers::new(1);
        workers.drop_there(Telling(sender.clone()));
        assert_ne!(dropped.recv().expect("dropped"), thread::current().id());
        Workers::new(0).drop_there(Telling(sender));
        assert_eq!(dropped.recv().expect("dropped"), thread::current().id());
    }
}
