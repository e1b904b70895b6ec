//! Has instances that compute for long leave their threads to others now and then: compiled code of an application looks
//! at its engine's epoch, and yields where that has moved on. A thread moves it on as long as there are instances; an
//! application that has nothing to do is not woken.
//!
//! Where the container's limit on processes leaves no thread for that, instances go on as long as they like.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How long an instance goes on before others have their turn; Spin has the same.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of the thread's stack, on which there is next to nothing.
const STACK: usize = 64 << 10;

/// The epochs of an application's engines.
pub struct Pace {
    engines: Vec<Engine>,
    /// Instances that there are.
    instances: AtomicUsize,
    ticker: OnceLock<Option<Thread>>,
}

/// One instance, for as long as it is there.
pub struct Busy(Arc<Pace>);

impl Pace {
    pub fn new(engines: Vec<Engine>) -> Arc<Self> {
        Arc::new(Self {
            engines,
            instances: AtomicUsize::new(0),
            ticker: OnceLock::new(),
        })
    }

    pub fn begin(self: &Arc<Self>) -> Busy {
        if self.instances.fetch_add(1, Ordering::AcqRel) == 0 {
            let start = || {
                let (pace, name) = (Arc::clone(self), "wrun-pace".to_owned());
                let thread = thread::Builder::new().name(name).stack_size(STACK);
                let started = thread.spawn(move || pace.tick());
                started.ok().map(|handle| handle.thread().clone())
            };
            if let Some(ticker) = self.ticker.get_or_init(start) {
                ticker.unpark();
            }
        }
        Busy(Arc::clone(self))
    }

    fn tick(&self) {
        loop {
            // Whoever comes first after this look unparks us.
            if self.instances.load(Ordering::Acquire) == 0 {
                thread::park();
                continue;
            }
            thread::sleep(TICK);
            for engine in &self.engines {
                engine.increment_epoch();
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wasmtime::{Instance, Module, Store};

    use super::*;
    use crate::plan::GuestOptions;
    use crate::workload::wasm::engine::{Build, compiler_engine, runtime_engine};
    use crate::workload::wasm::limits::Limits;

    #[test]
    fn code_yields_to_others_while_it_computes() {
        let build = Build {
            yields: true,
            ..Build::default()
        };
        // The one that compiles can run as well.
        let engine = compiler_engine(build, false).expect("an engine");
        runtime_engine(build, &GuestOptions::default()).expect("an engine");
        let module = Module::new(&engine, r#"(module (func (export "f") (loop (br 0))))"#).expect("a module");
        let pace = Pace::new(vec![engine.clone()]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let busy = pace.begin();
            let looping = async {
                let mut store = Store::new(&engine, Limits::none().yielding());
                Limits::none()
                    .yielding()
                    .apply(&mut store, |limits| limits)
                    .expect("limits");
                let instance = Instance::new_async(&mut store, &module, &[])
                    .await
                    .expect("an instance");
                let function = instance
                    .get_typed_func::<(), ()>(&mut store, "f")
                    .expect("a function");
                function.call_async(&mut store, ()).await
            };
            // One thread for both: without a look at the epoch this would never end.
            let began = Instant::now();
            let ended = tokio::time::timeout(Duration::from_millis(50), looping).await;
            assert!(ended.is_err() && began.elapsed() < Duration::from_secs(20));
            drop(busy);
        });
        assert_eq!(pace.instances.load(Ordering::Relaxed), 0);
    }
}
