//! Whose files a process with privileges believes, and why a file is refused.
#![forbid(unsafe_code)]

use std::io;

use super::suspect::Suspect;

/// Who may write what a process with privileges believes.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Root, and one more uid where the environment names one.
    pub owner: u32,
}

impl Trust {
    /// Whether what belongs to this uid is believed.
    pub fn believes(self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }
}

/// Why a file was not opened.
pub enum Refusal {
    /// As the system says.
    System(io::Error),
    /// Somebody else may choose what stands there: it could be any file, so not even its problems are told.
    Suspect(Box<Suspect>),
}

impl From<nix::Error> for Refusal {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
