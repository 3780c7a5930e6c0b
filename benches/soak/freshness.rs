//! Whether the files follow the store.

use std::time::{Duration, Instant};

/// A file whose source changes all the time.
pub struct Freshness {
    pub file: String,
    /// The longest time between two changes that nothing but its source, its `refresh` and one fault explain.
    bound: Duration,
    content: Option<Vec<u8>>,
    since: Instant,
    pub changes: u64,
    pub longest: Duration,
}

impl Freshness {
    pub fn new(file: &str, bound: Duration) -> Self {
        let (content, longest) = (None, Duration::ZERO);
        Self { file: file.to_owned(), bound, content, since: Instant::now(), changes: 0, longest }
    }

    /// Takes what it holds now.
    pub fn see(&mut self, content: Option<Vec<u8>>) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.since);
        if content != self.content {
            (self.content, self.since) = (content, now);
            self.changes += 1;
        }
    }

    /// What is wrong with it.
    pub fn complaint(&self, keeper: &str) -> Option<String> {
        let Self { file, longest, bound, .. } = self;
        (longest > bound)
            .then(|| format!("{keeper}: `{file}` was the same for {longest:.1?}, at most {bound:?} are right"))
    }
}

/// A time in which something is not as it should be.
#[derive(Default)]
pub struct Outage {
    since: Option<Instant>,
    pub longest: Duration,
    pub count: u64,
}

impl Outage {
    /// Takes whether it is as it should be now.
    pub fn see(&mut self, is_right: bool) {
        let now = Instant::now();
        if is_right {
            self.since = None;
            return;
        }
        self.count += u64::from(self.since.is_none());
        let since = *self.since.get_or_insert(now);
        self.longest = self.longest.max(now - since);
    }

    /// Whether it lasts.
    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }
}
