//! Whose files a privileged process trusts: checks who may change or replace a file that tells it what to do.
#![forbid(unsafe_code)]

mod access;
mod rules;
mod suspect;
mod way;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use handfast_core::{Place, Problems};
use nix::fcntl::{OFlag, openat, readlink};
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use nix::unistd::getresuid;

use super::environment::{Environment, NotText};
use crate::sys::capabilities;
use crate::sys::fs::{kind, same};
pub use rules::{Refusal, Trust};
pub use suspect::{App, Suspect};
use suspect::{Fault, Kind};
use way::{Way, is_directory};

/// The variable that names a trusted owner besides root. No file can set it, because the file would declare itself trusted.
const OWNER: &str = "HANDFAST_CONFIG_OWNER";

/// The running program.
const EXECUTABLE: &str = "/proc/self/exe";

/// A file that was opened, and its suspects.
pub struct Opened {
    /// The file, open for reading, non-blocking.
    pub file: OwnedFd,
    /// Who else may change the file. Problems in it may be reported, but its settings must not be followed.
    pub suspects: Vec<Suspect>,
}

impl Trust {
    /// The rules for this process; `None` if it has no privilege that a file could misuse.
    pub fn of_this_process(environment: &Environment, problems: &mut Problems) -> Option<Self> {
        let owner = match environment.text(OWNER) {
            Ok(None) => Some(0),
            Ok(Some(text)) => uid(text),
            Err(NotText) => None,
        };
        if owner.is_none() {
            let hint = "the uid, besides root's, whose configuration a privileged process takes";
            problems.add_with_hint(&Place::Environment, format!("`{OWNER}` is no uid"), hint);
        }
        is_privileged().then_some(Self { owner: owner.unwrap_or(0) })
    }

    /// Opens a file that may tell this process what to do.
    pub fn open(self, path: &Path) -> Result<Opened, Refusal> {
        let Way { parent, name, entry, status, path, mut suspects } = way::walk(self, path)?;
        let suspect = |fault| Refusal::Suspect(Box::new(Suspect::new(&path, &status, Kind::File, fault)));
        if kind(&status) != SFlag::S_IFREG {
            return Err(match is_directory(&status) {
                true => Refusal::System(io::ErrorKind::IsADirectory.into()),
                false => suspect(Fault::NoRegularFile),
            });
        }
        if let Some(fault) = access::no_file_at_all(entry.as_fd(), self)? {
            return Err(suspect(fault));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(&parent, name.as_os_str(), flags, Mode::empty())?;
        let opened = fstat(&file)?;
        if !same(&opened, &status) {
            return Err(suspect(Fault::Exchanged));
        }
        suspects.extend(access::suspect(file.as_fd(), &path, &opened, Kind::File, self)?);
        Ok(Opened { file, suspects })
    }

    /// Who else may change the running program.
    pub fn executable(self) -> Vec<Suspect> {
        match self.try_executable() {
            Ok(suspects) => suspects,
            Err(Refusal::Suspect(suspect)) => vec![*suspect],
            Err(Refusal::System(error)) => vec![Suspect::unseen(Path::new(EXECUTABLE), error)],
        }
    }

    fn try_executable(self) -> Result<Vec<Suspect>, Refusal> {
        let path = readlink(EXECUTABLE)?;
        let Way { entry, status, path, mut suspects, .. } = way::walk(self, Path::new(&path))?;
        let suspect = |fault| Refusal::Suspect(Box::new(Suspect::new(&path, &status, Kind::File, fault)));
        if !same(&status, &stat(EXECUTABLE)?) {
            return Err(suspect(Fault::Exchanged));
        }
        if let Some(fault) = access::no_file_at_all(entry.as_fd(), self)? {
            return Err(suspect(fault));
        }
        suspects.extend(access::suspect(entry.as_fd(), &path, &status, Kind::File, self)?);
        Ok(suspects)
    }
}

/// Whether a file could make this process do more than its caller may do. Privileges that the process could still acquire count
/// too: the real and the saved uid, and the permitted capabilities.
fn is_privileged() -> bool {
    let root = getresuid().map_or(true, |ids| [ids.real, ids.effective, ids.saved].iter().any(|uid| uid.is_root()));
    root || capabilities::sets().map_or(true, |sets| sets.permitted != 0)
}

/// Reads a uid: only digits, and not the last number, which means "no change" to system calls.
fn uid(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|uid| digits && *uid != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_digits_and_nothing_else() {
        assert_eq!((uid("0"), uid("1000"), uid("4294967294")), (Some(0), Some(1000), Some(4_294_967_294)));
        for text in ["", "-1", "+1", " 1", "1 ", "0x1", "app", "4294967295", "4294967296", "1:1"] {
            assert_eq!(uid(text), None, "{text:?}");
        }
    }
}
