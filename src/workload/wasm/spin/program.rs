//! Components that are programs: they export `wasi:cli/run`, and are run to their end.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::{I32Exit, p2, p3};

use super::seed::Ready;
use crate::workload::wasm::kinds::Wasi;
use crate::workload::wasm::kinds::wasi::Host;
use crate::workload::wasm::stdio;

/// A program that is linked.
pub enum Program {
    V02(p2::bindings::CommandPre<Host>),
    V03(p3::bindings::CommandPre<Host>),
}

impl Program {
    pub fn new(linked: InstancePre<Host>, wasi: Wasi) -> wasmtime::Result<Self> {
        Ok(match wasi {
            Wasi::V02 => Self::V02(p2::bindings::CommandPre::new(linked)?),
            Wasi::V03 => Self::V03(p3::bindings::CommandPre::new(linked)?),
        })
    }

    /// Runs it; an `Err` may be an [`I32Exit`].
    pub async fn run(&self, store: &mut Store<Host>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::V02(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::V03(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                let run = async |accessor: &_| command.wasi_cli_run().call_run(accessor).await;
                store.run_concurrent(run).await.and_then(|outcome| outcome)
            }
        }
    }
}

/// The component of a command trigger: runs once, with the container's arguments and standard input.
pub struct Once {
    component: Arc<Ready>,
    program: Program,
    args: Vec<String>,
}

impl Once {
    pub fn new(component: Arc<Ready>, args: Vec<String>) -> wasmtime::Result<Self> {
        let wasi = component.part.command().unwrap_or(Wasi::V02);
        Ok(Self {
            program: Program::new(component.linked.clone(), wasi)?,
            component,
            args,
        })
    }

    /// To be called in the runtime; what it returns is what a container of the program alone would end with.
    pub async fn run(self) -> wasmtime::Result<()> {
        let mut store = self.component.store(|wasi| {
            wasi.args(&self.args).stdin(stdio::Stdin::new());
        })?;
        let outcome = self.program.run(&mut store).await;
        // `result` without a payload: the program says only that it failed.
        outcome?.map_err(|()| I32Exit(1).into())
    }
}
