//! How much a service takes on at once, so that what it was not made for waits outside instead of growing
//! inside: connections, requests and instances are counted, and the memories of all instances share one
//! budget, so that growing fails in a guest before the kernel ends the container.

use serde::{Deserialize, Serialize};
#[cfg(feature = "slight")]
use wasmtime::Module;
use wasmtime::ResourcesRequired;
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
        component.resources_required().map(Self::from)
    }

    #[cfg(feature = "slight")]
    pub fn of_module(module: &Module) -> Self {
        Self::from(module.resources_required())
    }

    fn from(required: ResourcesRequired) -> Self {
        Self {
            memories: required.num_memories,
            memory_bytes: required
                .max_initial_memory_size
                .unwrap_or(0)
                .saturating_mul(WASM_PAGE),
            tables: required.num_tables,
            table_elements: required.max_initial_table_size.unwrap_or(0),
        }
    }

    /// What is enough for an instance of either.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self {
            memories: self.memories.max(other.memories),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            tables: self.tables.max(other.tables),
            table_elements: self.table_elements.max(other.table_elements),
        }
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
            };
        };
        let connections = (memory / 4 / CONNECTION_BYTES).clamp(MIN_CONNECTIONS, by_descriptors);
        let requests = (memory / 8 / REQUEST_BYTES).max(MIN_REQUESTS);
        let instances = (guest_memory(memory) / size.bytes()).max(1);
        Self {
            connections: at_most(MAX_CONNECTIONS, connections),
            requests: at_most(max_requests, requests),
            instances: at_most(max_instances, instances),
        }
    }
}

/// What of `memory` the memories and tables of all instances may take together; both in bytes.
pub const fn guest_memory(memory: u64) -> u64 {
    memory / 8 * 5
}

fn at_most(limit: u32, number: u64) -> u32 {
    u32::try_from(number).map_or(limit, |number| number.min(limit))
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
}
