//! The app as a child of this process, which stays and supervises it.
#![forbid(unsafe_code)]

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};

use nix::unistd::{ForkResult, Pid};

use crate::error::{Class, Phase, Result};
use crate::sys::{self, signals};

/// The two sides of the fork.
pub enum Spawned {
    /// This process becomes the app.
    App,
    /// This process supervises the app.
    Supervisor(Child),
}

/// A child that waits for permission to become the app. If it is dropped before [`start`](Self::start), the child ends.
pub struct Child {
    /// Its process id.
    pub pid: Pid,
    /// The pipe from which the child reads its permission, a byte.
    go: PipeWriter,
}

/// Forks. The child returns once the supervisor is ready ([`Child::start`]), so that there is no app without its supervisor.
///
/// From before the fork every signal is held back: in the supervisor until it passes it on, in the child until
/// [`exec`](super::exec) puts the mask back as found. None is lost.
pub fn spawn() -> Result<Spawned> {
    signals::block(signals::Signals::ALL).map_err(|error| Phase::Launch.cannot("hold signals back", error))?;
    let (wait, go) = pipe().map_err(|error| Phase::Launch.cannot("make a pipe for the app's start", error))?;
    match sys::process::fork().map_err(|error| Phase::Launch.cannot_fork("fork the app", error))? {
        ForkResult::Parent { child } => Ok(Spawned::Supervisor(Child { pid: child, go })),
        ForkResult::Child => {
            drop(go);
            await_go(wait);
            Ok(Spawned::App)
        }
    }
}

/// Waits for the permission. Ends this child if its supervisor has ended.
fn await_go(mut wait: PipeReader) {
    if wait.read_exact(&mut [0]).is_err() {
        sys::exit::now(Class::Isolation.exit_code().into());
    }
}

impl Child {
    /// Lets it become the app.
    pub fn start(mut self) -> Result<()> {
        self.go.write_all(&[0]).map_err(|error| Phase::Launch.cannot("let the app start", error))
    }

    /// The number of the pipe's descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.go.as_raw_fd()
    }
}
