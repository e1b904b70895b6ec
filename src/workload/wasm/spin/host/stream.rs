//! What the third generation of interfaces gives as a stream with a future of how it ended: here both are known
//! when the call returns, since a call holds no more than it may.

use wasmtime::AsContextMut;
use wasmtime::component::{FutureReader, Lift, Lower, StreamReader};

/// A stream, and how it ended.
type Given<T, E> = (StreamReader<T>, FutureReader<Result<(), E>>);

/// The stream of what there is, and the future of the error that there was.
pub fn of<S, T, E>(mut store: S, outcome: Result<Vec<T>, E>) -> wasmtime::Result<Given<T, E>>
where
    S: AsContextMut,
    T: Lift + Lower + Unpin + Send + Sync + 'static,
    E: Lift + Lower + Send + Sync + 'static,
{
    let (items, end) = match outcome {
        Ok(items) => (items, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    let items = StreamReader::new(&mut store, items)?;
    let end = FutureReader::new(&mut store, async move { wasmtime::error::Ok(end) })?;
    Ok((items, end))
}
