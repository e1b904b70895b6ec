//! What the calls of the third generation work with. An instance makes as many of them at once as it likes, and the host
//! has a copy of what each was given: so that counts until the call is over.

use std::ops::Deref;

use wasmtime::component::Accessor;

use super::{Hold, Spin, SpinCtxView};

/// A store or a connection, for as long as a call works with it.
pub struct Given<O> {
    opened: O,
    _hold: Hold,
}

impl<O> Deref for Given<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.opened
    }
}

/// Finds what a call works with that was given so many bytes besides.
pub fn given<T, O, E>(
    accessor: &Accessor<T, Spin>,
    bytes: usize,
    too_much: fn(String) -> E,
    find: impl FnOnce(&mut SpinCtxView<'_>) -> Result<O, E>,
) -> Result<Given<O>, E> {
    accessor.with(|mut access| {
        let mut view = access.get();
        let hold = view.ctx.share.held(bytes).map_err(too_much)?;
        Ok(Given {
            opened: find(&mut view)?,
            _hold: hold,
        })
    })
}

/// Opens something at an address of so many bytes, which counts until that is done or failed.
pub async fn opening<T, O, E, F: Future<Output = Result<O, E>>>(
    accessor: &Accessor<T, Spin>,
    bytes: usize,
    too_much: fn(String) -> E,
    open: impl FnOnce(&mut SpinCtxView<'_>) -> F,
) -> Result<O, E> {
    let (opening, _hold) = accessor.with(|mut access| {
        let mut view = access.get();
        let hold = view.ctx.share.held(bytes).map_err(too_much)?;
        Ok((open(&mut view), hold))
    })?;
    opening.await
}

/// Bytes of a list of texts.
pub fn texts(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len()).sum()
}
