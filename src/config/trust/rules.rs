//! Whose files a privileged process trusts, and why a file is refused.
#![forbid(unsafe_code)]

use std::io;

use super::suspect::Suspect;

/// Who may write the files that a privileged process trusts.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// The uid that is trusted besides root; root's own if the environment names none.
    pub owner: u32,
}

impl Trust {
    /// Whether files of this uid are trusted.
    pub fn believes(self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }
}

/// Why a file was not opened.
pub enum Refusal {
    /// The operating system's error.
    System(io::Error),
    /// Somebody else may choose which file this is. It could be any file, so not even the problems in it are reported.
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
