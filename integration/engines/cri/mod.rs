//! Pods of Kubernetes, by the interface that the kubelet calls: under containerd, with its shim for runc, and under
//! CRI-O, with conmon. The same tests for both; the engine knows the runtime as wrun-engines(7) says.

mod lifecycle;
mod namespaces;
mod security;
mod storage;
mod streams;
mod wasm;

use crate::harness::cri::{Cri, Kind};
use crate::harness::{Need, Test};

/// A test on pods of the engine `$kind`, named after its function, which is given the engine.
macro_rules! pods {
    ($kind:expr, $body:ident) => {
        crate::harness::Test::new(
            stringify!($body),
            match $kind {
                crate::harness::cri::Kind::Containerd => {
                    |case| $body(super::Cri::start(case, super::Kind::Containerd))
                }
                crate::harness::cri::Kind::Crio => |case| $body(super::Cri::start(case, super::Kind::Crio)),
            },
        )
    };
}
pub(crate) use pods;

/// Tests of one engine; those on Wasm are for ours alone.
pub fn tests(kind: Kind) -> Vec<Test> {
    let mut tests = lifecycle::tests(kind);
    tests.extend(streams::tests(kind));
    tests.extend(namespaces::tests(kind));
    tests.extend(security::tests(kind));
    tests.extend(storage::tests(kind));
    tests.extend(
        wasm::tests(kind)
            .into_iter()
            .map(|test| test.wrun_only("runc runs no Wasm")),
    );
    let engine = match kind {
        Kind::Containerd => Need::Containerd,
        Kind::Crio => Need::Crio,
    };
    let needs = |test: Test| test.needs(engine).needs(Need::Crictl);
    tests.into_iter().map(needs).collect()
}
