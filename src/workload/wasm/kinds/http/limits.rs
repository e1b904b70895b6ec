//! How much a service takes on at once, so that what it was not made for waits outside instead of growing
//! inside: connections, requests and instances are counted, and the memories of all instances share one
//! budget, so that growing fails in a guest before the kernel ends the container.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;
use wasmtime::component::Component;

use crate::workload::wasm::kinds::Wasi;

/// Most connections; `wasmtime serve` has the same.
const MAX_CONNECTIONS: u32 = 1000;

/// Most requests that are being answered and most instances, however much memory there is. Each stack, one for
/// an instance of 0.2 and one for an instance or a call of 0.3, costs two microseconds when the service starts.
const fn maxima(wasi: Wasi) -> (u32, u32) {
    match wasi {
        Wasi::V02 => (1000, 256),
        Wasi::V03 => (384, 128),
    }
}

/// Least of each, however small the container is.
const MIN_CONNECTIONS: u64 = 16;
const MIN_REQUESTS: u64 = 8;

/// What a client can make one connection hold without a request, in bytes: a head, or frames not yet read.
const CONNECTION_BYTES: u64 = 128 << 10;
/// What a request can hold outside its instance: body chunks in both directions.
const REQUEST_BYTES: u64 = 256 << 10;
/// What an instance takes besides its memories: stack, tables, the engine's own data.
const INSTANCE_BYTES: u64 = 128 << 10;

const WASM_PAGE: u64 = 64 << 10;

/// What one instance of a component takes from the start, as far as its text tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSize {
    /// Linear memories.
    pub memories: u32,
    /// Bytes of the largest when it starts.
    pub memory_bytes: u64,
    pub tables: u32,
    /// Elements of the largest when it starts.
    pub table_elements: u64,
}

impl InstanceSize {
    /// `None` where the component instantiates what it imports, which nothing here provides.
    pub fn of(component: &Component) -> Option<Self> {
        let required = component.resources_required()?;
        Some(Self {
            memories: required.num_memories,
            memory_bytes: required
                .max_initial_memory_size
                .unwrap_or(0)
                .saturating_mul(WASM_PAGE),
            tables: required.num_tables,
            table_elements: required.max_initial_table_size.unwrap_or(0),
        })
    }

    fn bytes(&self) -> u64 {
        let memories = u64::from(self.memories).saturating_mul(self.memory_bytes);
        memories.saturating_add(INSTANCE_BYTES)
    }
}

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients; more are left in the kernel's queue until one leaves.
    pub connections: u32,
    /// Requests that have an instance or are next to get one.
    pub requests: u32,
    pub instances: u32,
    /// Bytes that the memories and tables of all instances may have together.
    pub guest_memory: usize,
}

impl Limits {
    /// `memory` is in bytes, what the container may use; `descriptors` how many it may have open.
    pub fn new(wasi: Wasi, memory: Option<u64>, descriptors: u64, size: InstanceSize) -> Self {
        let (max_requests, max_instances) = maxima(wasi);
        // Half of the descriptors are left to the guests.
        let by_descriptors = (descriptors / 2).max(MIN_CONNECTIONS);
        let Some(memory) = memory else {
            return Self {
                connections: at_most(MAX_CONNECTIONS, by_descriptors),
                requests: max_requests,
                instances: max_instances,
                guest_memory: usize::MAX,
            };
        };
        let guest_memory = memory / 8 * 5;
        let connections = (memory / 4 / CONNECTION_BYTES).clamp(MIN_CONNECTIONS, by_descriptors);
        let requests = (memory / 8 / REQUEST_BYTES).max(MIN_REQUESTS);
        let instances = (guest_memory / size.bytes()).max(1);
        Self {
            connections: at_most(MAX_CONNECTIONS, connections),
            requests: at_most(max_requests, requests),
            instances: at_most(max_instances, instances),
            guest_memory: usize::try_from(guest_memory).unwrap_or(usize::MAX),
        }
    }
}

fn at_most(limit: u32, number: u64) -> u32 {
    u32::try_from(number).map_or(limit, |number| number.min(limit))
}

/// What is left of the bytes that all instances share.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One instance's part of the budget, given back when the instance is gone.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    taken: usize,
}

impl Share {
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            taken: 0,
        }
    }

    /// What a growth took that then fails (the kernel has no memory) is not given back before the instance ends:
    /// the engine also tells of failures that it has not asked about, so that a guest could have memory that it
    /// keeps given back.
    fn grow(&mut self, bytes: usize) -> bool {
        if !self.budget.take(bytes) {
            return false;
        }
        self.taken += bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

impl ResourceLimiter for Share {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum it does not grow, whatever is said here.
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = desired.saturating_sub(current).saturating_mul(size_of::<usize>());
        Ok(maximum.is_none_or(|maximum| desired <= maximum) && self.grow(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: InstanceSize = InstanceSize {
        memories: 1,
        memory_bytes: 17 * WASM_PAGE,
        tables: 1,
        table_elements: 50,
    };

    #[test]
    fn without_a_memory_limit_the_fixed_maxima_hold() {
        let limits = Limits::new(Wasi::V02, None, 1 << 20, RUST);
        assert_eq!(
            limits,
            Limits {
                connections: 1000,
                requests: 1000,
                instances: 256,
                guest_memory: usize::MAX,
            }
        );
        assert_eq!(Limits::new(Wasi::V02, None, 1024, RUST).connections, 512);
        assert_eq!(Limits::new(Wasi::V02, None, 4, RUST).connections, 16);
        let of_03 = Limits::new(Wasi::V03, None, 1 << 20, RUST);
        assert_eq!((of_03.requests, of_03.instances), (384, 128));
    }

    #[test]
    fn a_memory_limit_makes_them_smaller() {
        let limits = Limits::new(Wasi::V02, Some(64 << 20), 1 << 20, RUST);
        assert_eq!(
            limits,
            Limits {
                connections: 128,
                requests: 32,
                instances: 33,
                guest_memory: 40 << 20,
            }
        );
        let least = Limits::new(Wasi::V02, Some(1 << 20), 1 << 20, RUST);
        assert_eq!((least.connections, least.requests, least.instances), (16, 8, 1));
        let huge = InstanceSize {
            memories: u32::MAX,
            memory_bytes: u64::MAX,
            ..RUST
        };
        assert_eq!(Limits::new(Wasi::V02, Some(64 << 20), 1 << 20, huge).instances, 1);
    }

    #[test]
    fn the_instances_share_the_budget() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (Share::of(&budget), Share::of(&budget));
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!other.memory_growing(0, 60, None).unwrap());
        assert!(other.memory_growing(0, 30, None).unwrap());
        assert!(!one.memory_growing(60, 80, None).unwrap());
        drop(other);
        assert!(!one.memory_growing(60, 80, Some(70)).unwrap());
        assert!(one.memory_growing(60, 90, None).unwrap());
        let mut third = Share::of(&budget);
        assert!(third.table_growing(0, 1, None).unwrap());
        drop((one, third));
        assert_eq!(budget.0.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_failed_growth_frees_nothing_that_a_guest_has() {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, "(module (memory (export \"m\") 1))").unwrap();
        let budget = Budget::new(2 << 16);
        let mut store = wasmtime::Store::new(&engine, Share::of(&budget));
        store.limiter(|share| share);
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        // More than its type allows, of which the limiter hears only that it failed.
        assert!(memory.grow(&mut store, 1 << 16).is_err());
        assert_eq!(budget.0.load(Ordering::Relaxed), 1 << 16);
        assert!(memory.grow(&mut store, 1).is_ok());
        assert!(memory.grow(&mut store, 1).is_err());
    }
}
