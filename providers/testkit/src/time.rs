//! handfast can drop a fetch at any time: at the deadline, after another secret's failure, at a signal.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::fixture::{Fixture, Instance, possible};

/// The scheduler drops a fetch at the deadline. No timer and no request of the fetch may outlive it.
pub fn a_fetch_dropped_at_its_deadline_leaves_nothing_running<F: Fixture>() {
    const DEADLINE: Duration = Duration::from_millis(50);
    let mut fixture = F::new();
    let Some(reference) = possible(fixture.slow(Duration::from_secs(3600))) else { return };
    crate::run(async {
        let instance = Instance::connect(&fixture);
        // Twice, because the first fetch may have left a lock held.
        for _ in 0..2 {
            let answer = timeout(DEADLINE, instance.fetch(&reference)).await;
            assert!(answer.is_err(), "the fetch ended before its deadline: it does not wait for the store");
            instance.settle(&fixture).await;
        }
    });
}

/// Drops fetches after 0, 1, 2, … polls, until one completes. The instance stays usable, and nothing keeps running.
pub fn a_fetch_can_be_dropped_at_any_await_point<F: Fixture>() {
    /// The test ends here even if no fetch completes.
    const MOST: usize = 100;
    let mut fixture = F::new();
    let Some(plain) = possible(fixture.put("plain", b"plain")) else { return };
    // With a slow store, each fetch waits at least once.
    let reference = fixture.slow(Duration::from_millis(2)).unwrap_or_else(|_| plain.clone());
    crate::run(async {
        let instance = Instance::connect(&fixture);
        for polls in 0..MOST {
            let done = dropped_after(polls, instance.fetch(&reference)).await;
            instance.settle(&fixture).await;
            assert_eq!(instance.value(&plain).await, b"plain", "after a fetch that was dropped after {polls} polls");
            if let Some(answer) = done {
                assert!(answer.is_ok(), "it was not dropped, yet it failed");
                return;
            }
        }
    });
}

/// Polls a future `polls` times, and then drops it. Returns its output if it completed.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
