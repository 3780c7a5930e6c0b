//! The leases that Vault has issued to handfast, each with its login: the lease ends with the login.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use handfast_core::Locator;

use crate::active_login::ActiveLogin;
use crate::api::Lease;

/// Leases, the oldest first.
#[derive(Default)]
pub struct Leases(Vec<Issued>);

struct Issued {
    locator: Locator,
    id: String,
    /// The original lifetime, which a renewal requests again.
    whole: Duration,
    left: Duration,
    since: SystemTime,
    active: Rc<ActiveLogin>,
}

impl Leases {
    /// Adds a lease that was issued to a login. Removes leases that have ended.
    pub fn add(
        &mut self,
        locator: &Locator,
        Lease { id, duration, .. }: Lease,
        active: Rc<ActiveLogin>,
        now: SystemTime,
    ) {
        self.0.retain(|issued| !issued.left(now).is_zero());
        let locator = locator.clone();
        self.0.push(Issued { locator, id, whole: duration, left: duration, since: now, active });
    }

    /// The id and the original lifetime of a locator's newest lease.
    pub fn newest(&self, locator: &Locator) -> Option<(String, Duration)> {
        let issued = self.0.iter().rev().find(|issued| issued.locator == *locator)?;
        Some((issued.id.clone(), issued.whole))
    }

    /// Sets the remaining lifetime of a lease after its renewal.
    pub fn renewed(&mut self, id: &str, left: Duration, now: SystemTime) {
        if let Some(issued) = self.0.iter_mut().find(|issued| issued.id == id) {
            (issued.left, issued.since) = (left, now);
        }
    }

    /// The ids of the leases that have not ended, each with its login.
    pub fn alive(&self, now: SystemTime) -> Vec<(String, Rc<ActiveLogin>)> {
        let alive = self.0.iter().filter(|issued| !issued.left(now).is_zero());
        alive.map(|issued| (issued.id.clone(), issued.active.clone())).collect()
    }

    /// The path of the lease that ends first, and its remaining lifetime.
    pub fn first_end(&self, now: SystemTime) -> Option<(&str, Duration)> {
        let ends = self.0.iter().map(|issued| (&*issued.locator.path, issued.left(now)));
        ends.min_by_key(|(_, left)| *left)
    }
}

impl Issued {
    fn left(&self, now: SystemTime) -> Duration {
        self.left.saturating_sub(now.duration_since(self.since).unwrap_or_default())
    }
}
