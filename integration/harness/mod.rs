//! What every test stands on: the runtime as a parameter, bundles, commands with time limits and captured
//! output, and the search for what a test left behind. No test and no expectation about a runtime in here.

pub mod bundle;
pub mod case;
pub mod command;
pub mod comparison;
pub mod conmon;
pub mod container;
pub mod containerd;
pub mod cri;
pub mod crio;
pub mod disk;
pub mod docker;
pub mod engines;
pub mod facts;
pub mod guest;
pub mod holder;
pub mod http;
pub mod image;
pub mod installed;
pub mod leaks;
pub mod network;
pub mod podman;
pub mod program;
pub mod runtime;
pub mod suite;
pub mod terminal;

pub use case::Case;
pub use command::Output;
pub use container::Container;
pub use facts::Need;
pub use suite::Test;

/// A [`Test`] named after its function.
macro_rules! test {
    ($body:ident) => {
        crate::harness::Test::new(stringify!($body), $body)
    };
}
pub(crate) use test;
