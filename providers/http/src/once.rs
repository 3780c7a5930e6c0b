//! Shares the result of one request between all callers that need it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use handfast_core::ProviderError;
use tokio::sync::Mutex;

/// The result of a request that the first caller sends, and that every other caller waits for: a login, a token, the kind of a
/// mount.
///
/// All callers that waited get the same failure. A later caller sends the request again.
pub struct Once<T> {
    result: Mutex<Option<Result<T, ProviderError>>>,
    /// The number of finished requests. A caller compares it to see whether the failure came while it waited.
    requests: AtomicU64,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { result: Mutex::new(None), requests: AtomicU64::new(0) }
    }
}

impl<T: Clone> Once<T> {
    /// The stored result if it `is_valid`, else the result of `request`.
    pub async fn get(
        &self,
        is_valid: impl Fn(&T) -> bool,
        request: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let before = self.requests.load(Ordering::Relaxed);
        let mut result = self.result.lock().await;
        match &*result {
            Some(Ok(value)) if is_valid(value) => return Ok(value.clone()),
            Some(Err(error)) if self.requests.load(Ordering::Relaxed) != before => return Err(error.once_more()),
            _ => {}
        }
        let new = request.await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        *result = Some(new.as_ref().map(T::clone).map_err(ProviderError::once_more));
        new
    }

    /// The stored result, if there is one.
    pub async fn known(&self) -> Option<T> {
        self.result.lock().await.as_ref()?.as_ref().ok().cloned()
    }

    /// Removes the stored result, so that the next caller sends the request again.
    pub async fn forget(&self) {
        *self.result.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use handfast_core::ErrorKind;

    use super::*;

    #[test]
    fn one_caller_sends_the_request_and_all_that_waited_share_the_result() {
        handfast_testkit::run(async {
            let (once, requests) = (Once::default(), &Cell::new(0));
            let request = |works: bool| async move {
                tokio::task::yield_now().await;
                works.then_some(7).ok_or_else(|| ProviderError::new(ErrorKind::Denied, "no"))
            };
            let get = |works| {
                once.get(|_| true, async move {
                    requests.set(requests.get() + 1);
                    request(works).await
                })
            };
            let (first, second) = tokio::join!(get(false), get(true));
            assert_eq!((first.unwrap_err().message, second.unwrap_err().message), ("no".into(), "no".into()));
            assert_eq!(requests.get(), 1);
            assert_eq!((get(true).await.unwrap(), get(false).await.unwrap()), (7, 7));
            assert_eq!((requests.get(), once.known().await), (2, Some(7)));
            once.forget().await;
            assert_eq!((once.known().await, get(false).await.is_err(), requests.get()), (None, true, 3));
        });
    }

    #[test]
    fn a_result_that_is_no_longer_valid_is_requested_again() {
        handfast_testkit::run(async {
            let once = Once::default();
            assert_eq!(once.get(|_| true, async { Ok(1) }).await.unwrap(), 1);
            assert_eq!(once.get(|value| *value > 1, async { Ok(2) }).await.unwrap(), 2);
            assert_eq!(once.get(|value| *value > 1, async { Ok(3) }).await.unwrap(), 2);
        });
    }
}
