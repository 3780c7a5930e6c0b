//! Answers that many wait for, and one asks for.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use handfast_core::ProviderError;
use tokio::sync::Mutex;

/// An answer that the first caller asks for, and that every other caller waits for: a login, a token, what a mount is.
///
/// A failure is shared with all who waited for it; who calls later asks again.
pub struct Once<T> {
    answer: Mutex<Option<Result<T, ProviderError>>>,
    /// How often it was asked for: a caller sees by it that the failure came while it waited.
    asked: AtomicU64,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { answer: Mutex::new(None), asked: AtomicU64::new(0) }
    }
}

impl<T: Clone> Once<T> {
    /// The answer that is there, where it still `serves`; else what comes of `ask`.
    pub async fn get(
        &self,
        serves: impl Fn(&T) -> bool,
        ask: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let before = self.asked.load(Ordering::Relaxed);
        let mut answer = self.answer.lock().await;
        match &*answer {
            Some(Ok(value)) if serves(value) => return Ok(value.clone()),
            Some(Err(error)) if self.asked.load(Ordering::Relaxed) != before => return Err(error.once_more()),
            _ => {}
        }
        let result = ask.await;
        self.asked.fetch_add(1, Ordering::Relaxed);
        *answer = Some(result.as_ref().map(T::clone).map_err(ProviderError::once_more));
        result
    }

    /// The answer that is there, if any.
    pub async fn known(&self) -> Option<T> {
        self.answer.lock().await.as_ref()?.as_ref().ok().cloned()
    }

    /// Forgets the answer: the next caller asks again.
    pub async fn forget(&self) {
        *self.answer.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use handfast_core::ErrorKind;

    use super::*;

    #[test]
    fn one_asks_and_all_who_waited_share_the_answer_or_the_failure() {
        handfast_testkit::run(async {
            let (once, asked) = (Once::default(), &Cell::new(0));
            let ask = |works: bool| async move {
                tokio::task::yield_now().await;
                works.then_some(7).ok_or_else(|| ProviderError::new(ErrorKind::Denied, "no"))
            };
            let get = |works| {
                once.get(|_| true, async move {
                    asked.set(asked.get() + 1);
                    ask(works).await
                })
            };
            let (first, second) = tokio::join!(get(false), get(true));
            assert_eq!((first.unwrap_err().message, second.unwrap_err().message), ("no".into(), "no".into()));
            assert_eq!(asked.get(), 1);
            assert_eq!((get(true).await.unwrap(), get(false).await.unwrap()), (7, 7));
            assert_eq!((asked.get(), once.known().await), (2, Some(7)));
            once.forget().await;
            assert_eq!((once.known().await, get(false).await.is_err(), asked.get()), (None, true, 3));
        });
    }

    #[test]
    fn an_answer_that_no_longer_serves_is_asked_for_again() {
        handfast_testkit::run(async {
            let once = Once::default();
            assert_eq!(once.get(|_| true, async { Ok(1) }).await.unwrap(), 1);
            assert_eq!(once.get(|value| *value > 1, async { Ok(2) }).await.unwrap(), 2);
            assert_eq!(once.get(|value| *value > 1, async { Ok(3) }).await.unwrap(), 2);
        });
    }
}
