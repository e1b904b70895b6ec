//! What an application does besides answering requests: it takes messages, and runs a command.

use std::pin::pin;

use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::program::Once;
use super::redis::Subscriber;
use crate::sys::signal::StopRequest;
use crate::workload::wasm::kinds::http::{NOTICE, start_runtime, stopped};

/// Nothing, where an application has only HTTP triggers.
pub struct Beside {
    pub subscribers: Vec<Subscriber>,
    pub once: Option<Once>,
}

impl Beside {
    /// Goes on until it is asked to stop and the messages that are at work are done with, or until the command ends,
    /// with what that ends with. The command is not waited for: it may take for ever.
    pub async fn run(self, stopping: watch::Receiver<bool>) -> wasmtime::Result<()> {
        let mut messages = JoinSet::new();
        for subscriber in self.subscribers {
            messages.spawn(subscriber.run(stopping.clone()));
        }
        let rest = async {
            while let Some(ended) = messages.join_next().await {
                ended.map_err(wasmtime::Error::new)??;
            }
            stopped(stopping).await;
            Ok(())
        };
        let Some(once) = self.once else {
            return rest.await;
        };
        // In a task of its own, since it may compute for long.
        let once = tokio::spawn(once.run());
        match select(once, pin!(rest)).await {
            Either::Left((ended, _)) => ended.map_err(wasmtime::Error::new)?,
            Either::Right((outcome, _)) => outcome,
        }
    }

    /// The same in a process that does nothing else. Without `stop` a signal ends it at once.
    pub fn run_alone(self, stop: Option<StopRequest>, threads: usize) -> wasmtime::Result<()> {
        let runtime = start_runtime(threads)?;
        let outcome = runtime.block_on(async {
            let (stopping, is_stopping) = watch::channel(false);
            let work = self.run(is_stopping);
            let Some(stop) = stop else { return work.await };
            let guard = stop.guard(NOTICE)?;
            let stop = stop.watch()?;
            let signal = pin!(stop.readable());
            match select(pin!(work), signal).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right((signal, work)) => {
                    drop(signal?);
                    // Ends the guard's wait.
                    drop(guard);
                    stopping.send_replace(true);
                    work.await
                }
            }
        });
        // The process ends right after; a name lookup that still hangs in a thread must not hold it up.
        runtime.shutdown_background();
        outcome
    }
}
