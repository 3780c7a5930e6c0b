//! The paths of descriptors, `/dev/fd/N`: whether the app will find each secret under its own.
#![forbid(unsafe_code)]

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{fstat, stat};

use super::descriptors;
use super::failure::refusal;
use super::way::{Reader, Way};
use crate::error::{Error, Result, reason};
use crate::plan::{Delivery, Plan, Target};
use crate::sys::fs::same;

/// The directory of a process' own descriptors, as a link into procfs.
const DIRECTORY: &str = "/dev/fd";

/// Fails where the app could not open one of its secrets by path. `memfd` is any of ours, as the secrets' will be.
pub fn check(plan: &Plan, memfd: &OwnedFd, app: Reader, uid: u32) -> Result<()> {
    let numbers = numbers_by_path(plan);
    let Some(first) = numbers.first() else { return Ok(()) };
    let refused = |why: &str| {
        let list = descriptors::list(&numbers);
        refusal(format!("cannot hand over {list}: the app could not open `{DIRECTORY}/{first}`: {why}"))
    };
    if !leads_to(memfd) {
        return Err(refused(&describe_directory()).hint(
            "mount procfs on /proc and link /dev/fd to /proc/self/fd, deliver into files, or let the app read by number (`fd_env`)",
        ));
    }
    let uid_of_app = app.uid;
    let readers = [app];
    let way = match Way::walk(Path::new(DIRECTORY), uid, &readers) {
        Ok(way) => way,
        // The start itself needs no more of them.
        Err(Errno::EMFILE) => return Ok(()),
        Err(error) => return Err(refused(&reason(error))),
    };
    match way.closed_on_the_way() {
        None => Ok(()),
        Some(closed) => Err(closed_directory(refused, uid_of_app, closed)),
    }
}

/// The numbers of the secrets that the app may open by path: all but those for which it has only a number.
fn numbers_by_path(plan: &Plan) -> Vec<RawFd> {
    let by_path = |delivery: &&Delivery| !delivery.path_variables.is_empty() || delivery.number_variables.is_empty();
    let number = |delivery: &Delivery| match delivery.target {
        Target::Descriptor(number) => Some(number),
        Target::File { .. } => None,
    };
    plan.deliveries.iter().filter(by_path).filter_map(number).collect()
}

fn leads_to(memfd: &OwnedFd) -> bool {
    let path = format!("{DIRECTORY}/{}", memfd.as_raw_fd());
    stat(path.as_str()).is_ok_and(|found| fstat(memfd).is_ok_and(|made| same(&found, &made)))
}

/// Describes what is at the directory's path instead.
fn describe_directory() -> String {
    match (fs::read_link(DIRECTORY), fs::symlink_metadata(DIRECTORY)) {
        (Ok(target), _) => {
            format!("`{DIRECTORY}` is a link to `{}`, where its descriptors are not", target.display())
        }
        (Err(_), Ok(_)) => format!("its descriptors are not in `{DIRECTORY}`"),
        (Err(_), Err(error)) => format!("`{DIRECTORY}`: {}", reason(error)),
    }
}

fn closed_directory(refused: impl Fn(&str) -> Error, uid: u32, closed: &Path) -> Error {
    let closed = closed.display();
    refused(&format!("uid {uid} cannot enter `{closed}`"))
        .hint(format!("let uid {uid} enter `{closed}`, or let the app read by number (`fd_env`)"))
}
