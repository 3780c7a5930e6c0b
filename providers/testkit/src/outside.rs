//! The environment variables, files and clock that a test gives a provider.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use handfast_core::{BoxFuture, Clock, Context, Environment, Files, Identities, SecretValue, files};

/// The environment, files and clock for a provider. By default: no variables, the real files, a clock that starts in 2026.
pub struct Outside {
    /// The environment.
    pub variables: Variables,
    /// The files.
    pub files: Rc<dyn Files>,
    /// The clock.
    pub clock: TestClock,
    /// The identities that other providers have.
    pub identities: Identities,
}

impl Default for Outside {
    fn default() -> Self {
        Self {
            variables: Variables::default(),
            files: Rc::new(files::System),
            clock: TestClock::default(),
            identities: Identities::default(),
        }
    }
}

impl Outside {
    /// The context for a provider.
    pub fn context(self) -> Context {
        Context {
            environment: Rc::new(self.variables),
            files: self.files,
            clock: Arc::new(self.clock),
            identities: self.identities,
            several: true,
        }
    }
}

/// Environment variables. As in handfast's own environment, a credential is not readable as a variable, an empty variable or
/// credential counts as unset, and white space around a variable's value is removed.
#[derive(Default)]
pub struct Variables {
    plain: BTreeMap<String, String>,
    credentials: BTreeMap<String, SecretValue>,
}

impl Variables {
    /// Adds a variable that contains no credential.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.plain.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a bootstrap credential.
    pub fn with_credential(mut self, name: &str, value: &str) -> Self {
        self.credentials.insert(name.to_owned(), SecretValue::from(value.as_bytes().to_vec()));
        self
    }
}

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<&str> {
        self.plain.get(name).map(|value| value.trim_ascii()).filter(|value| !value.is_empty())
    }

    fn credential(&self, name: &str) -> Option<&SecretValue> {
        self.credentials.get(name).filter(|value| !value.expose().trim_ascii().is_empty())
    }
}

/// A clock that starts at a fixed time of day, and can be set forward. Its waits take real time, and are counted.
#[derive(Clone)]
pub struct TestClock(Arc<ClockState>);

struct ClockState {
    started: Instant,
    /// In milliseconds.
    ahead: AtomicU64,
    sleeping: AtomicUsize,
}

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(ClockState { started: Instant::now(), ahead: AtomicU64::new(0), sleeping: AtomicUsize::new(0) }))
    }
}

impl TestClock {
    /// Sets the time of day forward.
    pub fn advance(&self, duration: Duration) {
        let milliseconds = u64::try_from(duration.as_millis()).expect("a test does not wait so long");
        self.0.ahead.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// The number of waits on this clock that have not ended.
    pub fn sleeping(&self) -> usize {
        self.0.sleeping.load(Ordering::Relaxed)
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        /// 2026-01-01T00:00:00Z: the same in every run, so that signatures can be compared.
        const START: Duration = Duration::from_secs(1_767_225_600);
        SystemTime::UNIX_EPOCH
            + START
            + Duration::from_millis(self.0.ahead.load(Ordering::Relaxed))
            + self.0.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        /// Counts a wait until it ends or is dropped.
        struct Counted<'c>(&'c AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.sleeping.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(&self.0.sleeping);
        Box::pin(async move {
            let _counted = counted;
            tokio::time::sleep(duration).await;
        })
    }
}
