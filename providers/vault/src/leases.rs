//! The leases that were given to us: which are alive, and which logins they end with.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use handfast_core::Locator;

use crate::api::Lease;
use crate::held::Held;

/// Leases, the oldest first.
#[derive(Default)]
pub struct Leases(Vec<Given>);

struct Given {
    locator: Locator,
    id: String,
    /// For how long it was given, which a renewal asks for again.
    whole: Duration,
    left: Duration,
    since: SystemTime,
    held: Rc<Held>,
}

impl Leases {
    /// One more, given to a login. Those that have ended are forgotten.
    pub fn add(&mut self, locator: &Locator, Lease { id, duration, .. }: Lease, held: Rc<Held>, now: SystemTime) {
        self.0.retain(|given| !given.left(now).is_zero());
        let locator = locator.clone();
        self.0.push(Given { locator, id, whole: duration, left: duration, since: now, held });
    }

    /// The id of a locator's newest, and for how long it was given.
    pub fn newest(&self, locator: &Locator) -> Option<(String, Duration)> {
        let given = self.0.iter().rev().find(|given| given.locator == *locator)?;
        Some((given.id.clone(), given.whole))
    }

    /// One lives this long from now.
    pub fn renewed(&mut self, id: &str, left: Duration, now: SystemTime) {
        if let Some(given) = self.0.iter_mut().find(|given| given.id == id) {
            (given.left, given.since) = (left, now);
        }
    }

    /// The ids of those that are alive, each with its login.
    pub fn alive(&self, now: SystemTime) -> Vec<(String, Rc<Held>)> {
        let alive = self.0.iter().filter(|given| !given.left(now).is_zero());
        alive.map(|given| (given.id.clone(), given.held.clone())).collect()
    }

    /// The path of the one that ends first, and in how long.
    pub fn first_end(&self, now: SystemTime) -> Option<(&str, Duration)> {
        let ends = self.0.iter().map(|given| (&*given.locator.path, given.left(now)));
        ends.min_by_key(|(_, left)| *left)
    }
}

impl Given {
    fn left(&self, now: SystemTime) -> Duration {
        self.left.saturating_sub(now.duration_since(self.since).unwrap_or_default())
    }
}
