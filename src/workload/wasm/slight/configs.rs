//! The capability `configs`: values by their keys, from the container's environment.
//!
//! slight changes its own environment when a guest sets a value, for all guests and as long as it runs. Here instances
//! may run at once, so the environment stays as the container was given it, and setting a value is refused.

use std::sync::Arc;

use wasmtime::{Caller, Linker};

use super::host::{Handle, Host, other};
use crate::workload::wasm::kinds::shape::printable;
use crate::workload::wasm::legacy_abi::{Call, Failure, Value};

const NOT_FOUND: u8 = 0;
const PERMISSION_DENIED: u8 = 2;

fn open(host: &mut Host, name: &str) -> wasmtime::Result<Result<Value, Failure>> {
    let app = Arc::clone(&host.app);
    if app.configs.find(name).is_none() {
        return Ok(Err(Failure {
            case: NOT_FOUND,
            text: format!("the slightfile has no configs `{}`", printable(name)),
        }));
    }
    Ok(Ok(Value::Number(host.handles.insert(Handle::Configs)?)))
}

fn check(host: &Host, handle: u32) -> wasmtime::Result<()> {
    match host.handles.get(handle)? {
        Handle::Configs => Ok(()),
        _ => Err(other(handle, "configs")),
    }
}

fn get(host: &Host, key: &str) -> Result<Value, Failure> {
    let found = host.app.environment.iter().rfind(|(name, _)| name == key);
    match found {
        Some((_, value)) => Ok(Value::Bytes(value.clone().into_bytes())),
        None => Err(Failure {
            case: NOT_FOUND,
            text: format!("the container's environment has no {}", printable(key)),
        }),
    }
}

pub fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        "configs",
        "configs::open",
        |caller: Caller<'_, Host>, (name, length, result): (u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                let name = call.text(name, length)?;
                let outcome = open(call.host(), &name)?;
                call.answer(result, outcome).await
            })
        },
    )?;
    linker.func_wrap_async(
        "configs",
        "configs::get",
        |caller: Caller<'_, Host>, (handle, key, length, result): (u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                check(call.host(), handle)?;
                let key = call.text(key, length)?;
                let outcome = get(call.host(), &key);
                call.answer(result, outcome).await
            })
        },
    )?;
    linker.func_wrap_async(
        "configs",
        "configs::set",
        |caller: Caller<'_, Host>, (handle, key, length, _, _, result): (u32, u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let mut call = Call::new(caller)?;
                check(call.host(), handle)?;
                let key = call.text(key, length)?;
                let text = format!(
                    "{}: the container's environment cannot be changed",
                    printable(&key)
                );
                let case = PERMISSION_DENIED;
                call.answer(result, Err(Failure { case, text })).await
            })
        },
    )?;
    Ok(())
}
