//! RLIMIT_CORE: no core files of this process, and none of the app unless the plan allows them.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use super::failure::{call, failed};
use crate::error::Result;

/// RLIMIT_CORE as handfast inherited it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreLimit {
    soft: rlim_t,
    hard: rlim_t,
}

impl CoreLimit {
    /// Forbids core files while handfast runs, so that no secret gets into a core file, and returns the inherited limit. The hard
    /// limit stays, because an app that may dump core gets the inherited limit back.
    pub fn suspend() -> Result<Self> {
        let found = Self::now()?;
        if found.soft != 0 {
            set(Self { soft: 0, ..found })?;
        }
        Ok(found)
    }

    /// The limit for the app, given this inherited limit.
    pub(super) fn planned(self, core_dumps: bool) -> Self {
        if core_dumps { self } else { Self { soft: 0, hard: 0 } }
    }

    /// The limit that the child of a process needs so that it can still set the app's: that one, and no core files until then.
    pub(super) fn before_the_app(self, core_dumps: bool) -> Self {
        Self { soft: 0, ..self.planned(core_dumps) }
    }

    /// Sets the limit for the app.
    pub(super) fn apply(self, core_dumps: bool) -> Result<()> {
        let planned = self.planned(core_dumps);
        if Self::now()? == planned { Ok(()) } else { set(planned) }
    }

    /// Fails unless the limit is the limit for the app.
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
