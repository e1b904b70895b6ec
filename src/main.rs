//! The program. Its command line comes with the lifecycle.

#![deny(unsafe_code)]

fn main() {}
