//! wrun in the place of runc under the engines that people use: real daemons with data of their own, which the tests
//! start and end. Each test runs with every runtime, and a peer's passing shows that the test asks for nothing new.

pub mod containerd;
pub mod docker;
