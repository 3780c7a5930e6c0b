//! RLIMIT_CORE: no core file of this process, and none of the app's unless the plan wants them.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::failure::{call, failed};
use crate::error::Result;

/// RLIMIT_CORE as found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreLimit {
    soft: rlim_t,
    hard: rlim_t,
}

impl CoreLimit {
    /// Forbids core files for now, so that no secret can get into one, and returns the limit as found. The hard limit stays,
    /// because an app that may dump core gets it back.
    pub fn suspend() -> Result<Self> {
        let found = Self::now()?;
        if found.soft != 0 {
            set(Self { soft: 0, ..found })?;
        }
        Ok(found)
    }

    /// The limit that the app gets where this was found.
    pub(super) fn planned(self, core_dumps: bool) -> Self {
        if core_dumps { self } else { Self { soft: 0, hard: 0 } }
    }

    /// Sets the limit that the app gets.
    pub(super) fn apply(self, core_dumps: bool) -> Result<()> {
        let planned = self.planned(core_dumps);
        if Self::now()? == planned { Ok(()) } else { set(planned) }
    }

    /// Fails where the limit is not the one that the app gets.
    pub(super) fn verify(self, core_dumps: bool) -> Result<()> {
        let (planned, now) = (self.planned(core_dumps), Self::now()?);
        if now == planned {
            return Ok(());
        }
        Err(failed(format!("RLIMIT_CORE is {}:{}, planned {}:{}", now.soft, now.hard, planned.soft, planned.hard)))
    }

    fn now() -> Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(|error| call("read RLIMIT_CORE", error))?;
        Ok(Self { soft, hard })
    }
}

fn set(limit: CoreLimit) -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, limit.soft, limit.hard)
        .map_err(|error| call(&format!("set RLIMIT_CORE to {}:{}", limit.soft, limit.hard), error))
}
