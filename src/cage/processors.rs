//! Which processors the privileged process and the worker run on. Best effort: nothing here can fail a start.
#![forbid(unsafe_code)]

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this process may run on.
///
/// Some schedulers start a child on its parent's processor, where it waits until the parent sleeps. The privileged process and
/// the worker have work to do at the same time. So the worker starts on another processor, and may then run on any.
pub struct Processors(Option<CpuSet>);

impl Processors {
    /// Reads the set. The kernel does not report it on a machine of more than 1024 processors.
    pub fn read() -> Self {
        Self(sched_getaffinity(Pid::from_raw(0)).ok())
    }

    /// For the privileged process: starts the worker on another processor than its own. Changes nothing where there is no other.
    pub fn start_elsewhere(self, worker: Pid) {
        if let (Some(mut others), Ok(ours)) = (self.0, sched_getcpu()) {
            others.unset(ours).and_then(|()| sched_setaffinity(worker, &others)).unwrap_or_default();
        }
    }

    /// For the worker, once it runs: allows it every processor again.
    pub fn use_all(&self) {
        if let Some(all) = &self.0 {
            sched_setaffinity(Pid::from_raw(0), all).unwrap_or_default();
        }
    }
}
