//! Which processors the two processes run on. All of it is best effort: nothing here can fail a start.
#![forbid(unsafe_code)]

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// Those that this process may run on.
///
/// Some schedulers start a child on its parent's processor, where it waits until the parent sleeps. The two have work to do side by
/// side, so the worker begins on another processor, and may then run where it likes.
pub struct Processors(Option<CpuSet>);

impl Processors {
    /// Reads them; more than 1024 are not told.
    pub fn read() -> Self {
        Self(sched_getaffinity(Pid::from_raw(0)).ok())
    }

    /// For the privileged process: wakes the worker on another processor than this one. Changes nothing where there is no other.
    pub fn start_elsewhere(self, worker: Pid) {
        if let (Some(mut others), Ok(ours)) = (self.0, sched_getcpu()) {
            others.unset(ours).and_then(|()| sched_setaffinity(worker, &others)).unwrap_or_default();
        }
    }

    /// For the worker, where it has begun: it is no longer kept from any.
    pub fn use_all(&self) {
        if let Some(all) = &self.0 {
            sched_setaffinity(Pid::from_raw(0), all).unwrap_or_default();
        }
    }
}
