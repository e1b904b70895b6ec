//! What the third generation of interfaces gives as a stream with a future of how it ended: here both are known
//! when the call returns, since a call holds no more than it may. What a guest has not read yet stays counted: it may
//! leave as many streams unread as it likes.

use std::pin::Pin;
use std::task::{Context, Poll};

use wasmtime::component::{
    Destination, FutureReader, Lift, Lower, StreamProducer, StreamReader, StreamResult, VecBuffer,
};
use wasmtime::{AsContextMut, StoreContextMut};

use super::bounds::Hold;

/// A stream, and how it ended.
type Given<T, E> = (StreamReader<T>, FutureReader<Result<(), E>>);

/// The stream of what there is, and the future of the error that there was. `hold` is of the items.
pub fn of<S, T, E>(mut store: S, hold: Hold, outcome: Result<Vec<T>, E>) -> wasmtime::Result<Given<T, E>>
where
    S: AsContextMut,
    T: Lift + Lower + Unpin + Send + Sync + 'static,
    E: Lift + Lower + Send + Sync + 'static,
{
    let (items, end) = match outcome {
        Ok(items) => (items, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    let held = Held {
        items: items.into_iter(),
        _hold: hold,
    };
    let items = StreamReader::new(&mut store, held)?;
    let end = FutureReader::new(&mut store, async move { wasmtime::error::Ok(end) })?;
    Ok((items, end))
}

/// Items that are still to be read.
struct Held<T> {
    items: std::vec::IntoIter<T>,
    _hold: Hold,
}

impl<T, D> StreamProducer<D> for Held<T>
where
    T: Unpin + Send + Sync + 'static,
{
    type Item = T;
    type Buffer = VecBuffer<T>;

    /// Gives as many as there is room for: what is given is no more counted.
    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let held = self.get_mut();
        let room = destination.remaining(store).unwrap_or(usize::MAX);
        let given: Vec<T> = held.items.by_ref().take(room).collect();
        if !given.is_empty() {
            destination.set_buffer(given.into());
        }
        Poll::Ready(Ok(match held.items.len() {
            0 => StreamResult::Dropped,
            _ => StreamResult::Completed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Engine, Store};

    use super::*;
    use crate::workload::wasm::spin::host::bounds::Bounds;

    #[test]
    fn what_nobody_has_read_yet_is_counted() {
        let bounds = Bounds::new(Some(1 << 20), None);
        let share = bounds.share();
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        let mut store = Store::new(&Engine::new(&config).expect("an engine"), ());
        let mut streams = Vec::new();
        while let Ok(hold) = share.held(bounds.call_bytes) {
            let items: Result<Vec<u8>, u8> = Ok(vec![7]);
            streams.push(of(&mut store, hold, items).expect("a stream"));
        }
        assert_eq!(streams.len(), 4, "as many as may be held");
        let (mut unread, mut end) = streams.pop().expect("one");
        unread.close(&mut store).expect("closed");
        end.close(&mut store).expect("closed");
        share.held(bounds.call_bytes).expect("what came back");
    }
}
