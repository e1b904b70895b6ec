//! What a guest may take: memory and fuel. The same for every kind of guest, and for all instances that a
//! process makes of one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::{ResourceLimiter, Store};

use crate::plan::GuestOptions;

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// The limits of one store, which count together with those of the others made by [`Limits::another`].
#[derive(Debug)]
pub struct Limits {
    budget: Arc<Budget>,
    /// Bytes that this store has of it.
    held: usize,
    /// Bytes that this store may have at most, whatever is left of the budget.
    each: Option<usize>,
    fuel: Option<u64>,
    yields: bool,
}

#[derive(Debug)]
struct Budget {
    /// `None` where all is given.
    bounds: Option<Bounds>,
    used: AtomicUsize,
    /// The first request that was refused.
    refused: OnceLock<Shortage>,
}

/// Both in bytes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Of the container's cgroup.
    limit: u64,
    /// What of it the guest's memories and tables may take together.
    usable: usize,
}

/// Memory that a guest asked for and did not get; all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    asked: usize,
    used: usize,
    left: usize,
    limit: u64,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the guest, with {} bytes of memory, asked for {} more; the container's limit of {} bytes \
             (memory.limit) leaves {}",
            self.used, self.asked, self.limit, self.left
        )
    }
}

impl Limits {
    /// `memory` is the limit in bytes of the container's cgroup, of which the engine keeps its share ([`usable`]).
    pub fn new(memory: Option<u64>, options: &GuestOptions) -> Self {
        Self::with_share(memory, usable, options)
    }

    /// [`Limits::new`] where the guest may take `share` of the limit.
    pub fn with_share(memory: Option<u64>, share: fn(u64) -> u64, options: &GuestOptions) -> Self {
        let bounds = memory.map(|limit| Bounds {
            limit,
            // What does not fit an address cannot be asked for either.
            usable: usize::try_from(share(limit)).unwrap_or(usize::MAX),
        });
        Self {
            budget: Arc::new(Budget {
                bounds,
                used: AtomicUsize::new(0),
                refused: OnceLock::new(),
            }),
            held: 0,
            each: None,
            fuel: options.fuel,
            yields: false,
        }
    }

    /// The same, where no store may have more than so many bytes.
    #[must_use]
    pub fn at_most_each(mut self, bytes: Option<usize>) -> Self {
        self.each = bytes;
        self
    }

    /// The same, where a store that computes leaves its thread to others at each of its engine's epochs.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        self.yields = true;
        self
    }

    /// No limits.
    pub fn none() -> Self {
        Self::new(None, &GuestOptions::default())
    }

    /// Limits for a further store: the same memory is shared, the fuel is its own.
    pub fn another(&self) -> Self {
        Self {
            budget: Arc::clone(&self.budget),
            held: 0,
            each: self.each,
            fuel: self.fuel,
            yields: self.yields,
        }
    }

    /// Puts a store under these limits: to be called before anything is instantiated in it. `limiter` finds, in the
    /// store's data, limits that share this memory.
    ///
    /// # Errors
    /// Fuel is limited, and the engine was not made to count it.
    pub fn apply<T: 'static>(
        &self,
        store: &mut Store<T>,
        limiter: fn(&mut T) -> &mut dyn ResourceLimiter,
    ) -> wasmtime::Result<()> {
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel)?;
        }
        if self.yields {
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
        }
        store.limiter(limiter);
        Ok(())
    }

    /// The first request for memory that was refused, by any of the stores that share it.
    pub fn shortage(&self) -> Option<Shortage> {
        self.budget.refused.get().copied()
    }

    /// Whether `bytes` more, beside all that the guest has, would stay within the limit.
    pub fn leaves(&self, bytes: usize) -> bool {
        let used = self.budget.used.load(Ordering::Relaxed);
        let bounds = self.budget.bounds.as_ref();
        bounds.is_none_or(|bounds| used.saturating_add(bytes) <= bounds.usable)
    }

    /// Takes `asked` bytes of what is left. What a growth took that then failed for another reason (the kernel
    /// had no memory) is not given back before the store ends: the engine also tells of failures that it has not
    /// asked about, so that a guest could have memory that it keeps given back.
    fn take(&mut self, asked: usize) -> bool {
        let holds = self.held.saturating_add(asked);
        if self.each.is_some_and(|each| holds > each) {
            return false;
        }
        let Some(Bounds { limit, usable }) = self.budget.bounds else {
            self.held = holds;
            return true;
        };
        let fits = |used: usize| used.checked_add(asked).filter(|sum| *sum <= usable);
        match self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
        {
            Ok(_) => {
                self.held = holds;
                true
            }
            Err(used) => {
                self.budget.refused.get_or_init(|| Shortage {
                    asked,
                    used,
                    left: usable - used,
                    limit,
                });
                false
            }
        }
    }
}

/// What of the cgroup's limit a guest's memory may take: the rest is for the engine and page tables, so that
/// the guest is told that memory is short before the kernel kills it. In bytes.
pub const fn usable(limit: u64) -> u64 {
    let reserve = limit / 16;
    limit - if reserve < 16 << 20 { reserve } else { 16 << 20 }
}

impl Drop for Limits {
    /// A store's memory goes with it.
    fn drop(&mut self) {
        if self.budget.bounds.is_some() {
            self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
        }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum it does not grow, whatever is said here.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.take(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT);
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.take(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn limits(memory: u64) -> Limits {
        Limits::new(Some(memory), &GuestOptions::default())
    }

    #[test]
    fn the_engine_keeps_a_share_of_the_limit() {
        assert_eq!(usable(64 << 20), 60 << 20);
        assert_eq!(usable(1 << 30), (1 << 30) - (16 << 20));
        assert_eq!(usable(0), 0);
    }

    #[test]
    fn memories_and_tables_count_together() {
        let mut limits = limits(64 << 20);
        assert!(limits.memory_growing(0, 40 * MIB, None).expect("said"));
        assert!(limits.memory_growing(0, 10 * MIB, None).expect("said"));
        assert!(
            limits
                .table_growing(0, 10 * MIB / TABLE_ELEMENT, None)
                .expect("said")
        );
        assert_eq!(limits.shortage(), None);
        assert!(!limits.memory_growing(40 * MIB, 41 * MIB, None).expect("said"));
        assert!(!limits.table_growing(0, 1, None).expect("said"));
        let shortage = limits.shortage().expect("the first");
        assert_eq!((shortage.asked, shortage.used, shortage.left), (MIB, 60 * MIB, 0));
    }

    #[test]
    fn stores_of_one_process_share_what_there_is_and_give_it_back() {
        let first = limits(64 << 20);
        let mut second = first.another();
        assert!(second.memory_growing(0, 60 * MIB, None).expect("said"));
        let mut third = first.another();
        assert!(!third.memory_growing(0, MIB, None).expect("said"));
        drop(second);
        assert!(third.memory_growing(0, MIB, None).expect("said"));
        assert!(first.shortage().is_some());
    }

    #[test]
    fn a_growth_beyond_the_memory_s_own_maximum_takes_nothing() {
        let mut limits = limits(64 << 20);
        assert!(!limits.memory_growing(0, 2 * MIB, Some(MIB)).expect("said"));
        assert_eq!(limits.shortage(), None);
        assert!(limits.memory_growing(0, 60 * MIB, None).expect("said"));
    }

    #[test]
    fn one_store_may_be_held_to_less() {
        let first = limits(64 << 20).at_most_each(Some(MIB));
        let (mut second, mut third) = (first.another(), first.another());
        assert!(second.memory_growing(0, MIB, None).expect("said"));
        assert!(!second.memory_growing(MIB, MIB + 1, None).expect("said"));
        assert!(third.memory_growing(0, MIB, None).expect("said"));
        let mut alone = Limits::none().at_most_each(Some(MIB));
        assert!(alone.memory_growing(0, MIB, None).expect("said"));
        assert!(!alone.table_growing(0, 1, None).expect("said"));
    }

    #[test]
    fn without_a_limit_all_is_given() {
        let mut limits = Limits::none();
        assert!(limits.memory_growing(0, usize::MAX, None).expect("said"));
        assert!(limits.leaves(usize::MAX));
    }

    #[test]
    fn a_failed_growth_frees_nothing_that_a_guest_has() {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, "(module (memory (export \"m\") 1))").unwrap();
        let shared = Limits::with_share(Some(4 << 16), |limit| limit / 2, &GuestOptions::default());
        let mut store = Store::new(&engine, shared.another());
        shared.apply(&mut store, |limits| limits).unwrap();
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        // More than its type allows, of which the limiter hears only that it failed.
        assert!(memory.grow(&mut store, 1 << 16).is_err());
        assert!(shared.leaves(1 << 16) && !shared.leaves((1 << 16) + 1));
        assert!(memory.grow(&mut store, 1).is_ok());
        assert!(memory.grow(&mut store, 1).is_err());
    }
}
