//! Work in a task of its own. An instance of WASI 0.3 can ask for much at once and then compute, and until that is over
//! it looks at nothing that it has asked for: what it was to have next, it would keep from all others.

use tokio::task::JoinHandle;

use super::bounds::Bounds;

/// The size of what comes of some work, and an error of why it is not there.
pub type Ends<T, E> = (fn(&T) -> usize, fn(String) -> E);

/// Does it, for as long as somebody waits for it. What comes of it counts until they take it.
pub async fn apart<T: Send + 'static, E: Send + 'static>(
    bounds: &Bounds,
    (size, other): Ends<T, E>,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    let bounds = bounds.clone();
    let mut task = EndOnDrop(tokio::spawn(async move {
        let value = work.await?;
        let hold = bounds.held(size(&value)).map_err(other)?;
        Ok((value, hold))
    }));
    let done = (&mut task.0).await;
    // No task fails but with its runtime: a panic ends the process.
    let (value, _hold) = done.map_err(|error| other(error.to_string()))??;
    Ok(value)
}

struct EndOnDrop<T>(JoinHandle<T>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::sync::{Mutex, oneshot};

    use super::*;

    const PLAIN: Ends<usize, String> = (|size| *size, |text| text);

    #[tokio::test]
    async fn whoever_does_not_look_keeps_nothing_from_others() {
        let bounds = Bounds::new(None, None);
        let lock = Arc::new(Mutex::new(()));
        let turn = || {
            let lock = Arc::clone(&lock);
            apart(&bounds, PLAIN, async move {
                drop(lock.lock_owned().await);
                Ok(0)
            })
        };
        let held = Arc::clone(&lock).lock_owned().await;
        let mut idle = pin!(turn());
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            idle.as_mut().poll(&mut context).is_pending(),
            "it asks, and looks no more"
        );
        tokio::task::yield_now().await;
        let next = turn();
        drop(held);
        assert_eq!(next.await, Ok(0));
    }

    #[tokio::test]
    async fn what_nobody_has_taken_yet_counts() {
        let bounds = Bounds::new(Some(1), None);
        let most = bounds.call_bytes;
        let mut idle: Vec<_> = (0..5)
            .map(|_| Box::pin(apart(&bounds, PLAIN, async move { Ok(most) })))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for asked in &mut idle {
            assert!(asked.as_mut().poll(&mut context).is_pending());
        }
        tokio::task::yield_now().await;
        let error = idle.pop().expect("the last").await.expect_err("one too many");
        assert!(error.contains("all calls at once"), "{error}");
        for asked in idle {
            assert_eq!(asked.await, Ok(most));
        }
        assert_eq!(apart(&bounds, PLAIN, async move { Ok(most) }).await, Ok(most));
    }

    #[tokio::test]
    async fn it_ends_with_those_who_wait_for_it() {
        let (sender, receiver) = oneshot::channel::<()>();
        let bounds = Bounds::new(None, None);
        let endless = async move {
            let _sender = sender;
            std::future::pending().await
        };
        let mut asked = Box::pin(apart(&bounds, PLAIN, endless));
        let mut context = Context::from_waker(Waker::noop());
        assert!(asked.as_mut().poll(&mut context).is_pending());
        tokio::task::yield_now().await;
        drop(asked);
        receiver.await.expect_err("it is gone");
    }
}
