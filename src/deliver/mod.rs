//! Puts the secrets where the app finds them: files on a tmpfs, sealed memfds under planned numbers.
//!
//! [`prepare`] decides everything that can be decided before the fetch, and refuses what cannot work. [`Destination::publish`]
//! writes all of a set before any of it is reachable. [`inspect`] makes the same decisions and touches nothing.
#![forbid(unsafe_code)]

mod acceptance;
mod access_lists;
mod adopt;
mod arrivals;
mod assessment;
mod descriptors;
mod entries;
mod failure;
mod files;
mod generation;
mod keeper;
mod leftovers;
mod lock;
mod mounts;
mod own_mount;
mod ownership;
mod paths;
mod powers;
mod survey;
mod swap;
#[cfg(test)]
mod tests;
mod turn;
mod way;
mod write;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::plan::Plan;
pub use adopt::EarlierSet;
pub use arrivals::{Arrived, Changes};
use assessment::Assessment;
use descriptors::{Descriptor, Replacements, Sealing};
use failure::warn;
use files::FilesDirectory;
use generation::NewFile;
pub use keeper::{ALIVE, PRIVATE, Presence, STATUS};
use lock::Patience;
use powers::Powers;
use swap::Swapping;

/// Where the secrets go: checked, opened, reserved. From the first set on, it keeps other starts out of the files directory.
pub struct Destination {
    powers: Powers,
    files: Option<FilesDirectory>,
    descriptors: Vec<Descriptor>,
}

/// The proof that a set of secrets is there. Only [`Destination::publish`] makes it.
pub struct Published {
    /// The secrets of the set, as indices into [`Plan::secrets`], sorted: an optional one may be missing.
    secrets: Vec<usize>,
}

/// The descriptors of the secrets, open until the app takes over.
pub struct Handover {
    descriptors: Vec<OwnedFd>,
}

/// What a start would do, for `check`.
#[derive(Default)]
pub struct Inspection {
    /// Where the files go, and what that is.
    pub files: Option<Placement>,
    /// What the descriptors are.
    pub descriptors: Option<Placement>,
    /// The capabilities that later sets need, a bit per number.
    pub capabilities: u64,
    /// What this kernel lacks.
    pub missing: Vec<String>,
    /// What a start would warn of.
    pub warnings: Vec<String>,
    /// Why a start would end.
    pub refusal: Option<Error>,
}

/// Where secrets go, and whether they stay in memory there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What it is.
    pub medium: String,
    /// `not swappable`, or `swappable` and whether swap is on.
    pub protection: String,
}

/// The descriptor numbers of the plan, kept free for its secrets.
pub struct Reservation(Vec<Descriptor>);

/// Reserves the descriptor numbers of the plan. Must run before handfast opens anything else, which could take one of them, and after
/// the inherited descriptors were closed.
pub fn reserve_descriptors(plan: &Plan) -> Result<Reservation> {
    descriptors::reserve(plan).map(Reservation)
}

/// Fails where this process may not open as many descriptors as the plan needs.
pub fn check_descriptor_limit(plan: &Plan) -> Result<()> {
    descriptors::check_limit(plan)
}

/// Decides everything before the fetch.
pub fn prepare(plan: &Plan, Reservation(descriptors): Reservation) -> Result<Destination> {
    let powers = powers(plan)?;
    let decided = decide(plan, &powers, &mut Inspection::default())?;
    let files = decided.files.map(|assessment| assessment.prepare(plan, &powers)).transpose()?;
    decided.warnings.iter().for_each(|text| warn(text));
    Ok(Destination { powers, files, descriptors })
}

/// Makes the decisions of [`prepare`] and touches nothing.
pub fn inspect(plan: &Plan) -> Inspection {
    let mut inspection = Inspection::default();
    let decided = powers(plan).and_then(|powers| decide(plan, &powers, &mut inspection));
    match decided {
        Ok(decided) => inspection.warnings.extend(decided.warnings),
        Err(error) => inspection.refusal = Some(error),
    }
    inspection
}

/// The capabilities of this process; for a keeper, those that it will still have when it writes later sets.
fn powers(plan: &Plan) -> Result<Powers> {
    let powers = Powers::read()?;
    Ok(if plan.keeps_fresh() { powers.later() } else { powers })
}

struct Decided {
    files: Option<Assessment>,
    warnings: Vec<String>,
}

fn decide(plan: &Plan, powers: &Powers, inspection: &mut Inspection) -> Result<Decided> {
    let swapping = swap::read();
    let mut swappable = Vec::new();
    let mut warnings = Vec::new();
    let numbers = descriptors::numbers(plan);
    if !numbers.is_empty() {
        descriptors::check_group(plan.isolation.gid, powers)?;
        let (memfd, sealing) = descriptors::create()?;
        paths::check(plan, &memfd, assessment::app(plan), powers.uid)?;
        if sealing == Sealing::WithoutExec {
            inspection.missing.push("MFD_NOEXEC_SEAL and F_SEAL_EXEC (Linux 6.3)".into());
        }
        let protection = protection(true, swapping);
        inspection.descriptors = Some(Placement { medium: "sealed memfd".into(), protection });
        swappable.push(descriptors::list(&numbers));
    }
    let files = assessment::assess(plan, powers)?;
    if let Some(assessment) = &files {
        let medium = assessment.medium();
        if assessment.mounts() && medium.can_be_swapped() {
            inspection.missing.push("tmpfs option `noswap` (Linux 6.4)".into());
        }
        let protection = protection(medium.can_be_swapped(), swapping);
        inspection.capabilities = assessment.capabilities(powers);
        inspection.files = Some(Placement { medium: assessment.describe(), protection });
        if assessment.mounts() {
            inspection.warnings.push(
                "`init` would refuse the files directory (73): only the app that `run` starts would see the mount"
                    .into(),
            );
        }
        if medium.can_be_swapped() {
            swappable.push(assessment.target());
        }
        warnings.extend_from_slice(&assessment.warnings);
    }
    warnings.extend(swap::judge(plan.swap, swapping, &swappable)?);
    Ok(Decided { files, warnings })
}

fn protection(can_be_swapped: bool, swapping: Swapping) -> String {
    match (can_be_swapped, swapping) {
        (false, _) => "not swappable",
        (true, Swapping::Off) => "swappable, but swap is off",
        (true, Swapping::On) => "swappable, and swap is on",
        (true, Swapping::Unknown) => "swappable, and whether swap is on cannot be seen",
    }
    .into()
}

impl Destination {
    /// Delivers a set, all of it or nothing, in place of the one before, which stays whole after a failure. The first set waits while
    /// another start writes into the directory: until the plan's deadline, or until `check_interrupts` fails. It is called
    /// once more right before the set can be reached.
    pub fn publish(
        &mut self,
        plan: &Plan,
        set: Vec<Arrived>,
        check_interrupts: &dyn Fn() -> Result<()>,
    ) -> Result<Published> {
        let mut secrets: Vec<usize> = set.iter().map(|arrived| arrived.secret).collect();
        secrets.sort_unstable();
        secrets.dedup();
        let (new_files, values) = arrivals::sort(self.files.as_ref(), set)?;
        self.place(plan, Some(new_files), check_interrupts, |descriptors, powers| {
            descriptors::fill(descriptors, values, &plan.isolation, powers)
        })?;
        Ok(Published { secrets })
    }

    /// Delivers a later set: what has changed since the one before, and the rest of that. The sets before stay for a while.
    pub fn publish_changes(
        &mut self,
        plan: &Plan,
        changes: Changes,
        check_interrupts: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let gone = changes.gone.clone();
        let (new_files, values) = arrivals::merge(self.files.as_ref(), changes)?;
        self.place(plan, new_files, check_interrupts, |descriptors, powers| {
            descriptors::change(descriptors, values, &gone, &plan.isolation, powers)
        })
    }

    /// Puts a set in place: `fill` makes its memfds.
    fn place(
        &mut self,
        plan: &Plan,
        new_files: Option<Vec<NewFile>>,
        check_interrupts: &dyn Fn() -> Result<()>,
        fill: impl for<'d> FnOnce(&'d mut [Descriptor], &Powers) -> Result<Replacements<'d>>,
    ) -> Result<()> {
        let Self { powers, files, descriptors } = self;
        let fill = || {
            let filled = fill(descriptors, powers)?;
            // The last moment: from here on the set can be reached.
            check_interrupts()?;
            Ok(filled)
        };
        let replacements = match files.as_mut().zip(new_files) {
            // No file can be reached before the memfds are made too.
            Some((files, new_files)) => {
                let patience = Patience { deadline: plan.deadline.at(), check_interrupts };
                files.publish(plan, powers, &new_files, &patience, fill)?
            }
            None => fill()?,
        };
        replacements.place()
    }

    /// Whether the set of an earlier keeper could be taken over now.
    pub fn could_adopt(&self, set: &EarlierSet) -> bool {
        self.files.as_ref().is_some_and(|files| files.could_adopt(&self.powers, set))
    }

    /// Takes over the set of an earlier keeper as it is, if it is still published. Returns whether it was taken over.
    pub fn adopt(&mut self, plan: &Plan, set: &EarlierSet, check_interrupts: &dyn Fn() -> Result<()>) -> Result<bool> {
        let Self { powers, files, .. } = self;
        let patience = Patience { deadline: plan.deadline.at(), check_interrupts };
        files.as_mut().map_or(Ok(false), |files| files.adopt(powers, &patience, set))
    }

    /// Shows that a keeper lives, once its first set is published; nothing where no secret is a file.
    pub fn announce(&self) -> Result<Option<Presence>> {
        self.files.as_ref().map(FilesDirectory::announce).transpose()
    }

    /// Replaces the status file; does nothing if no secret is a file.
    pub fn write_status(&self, status: &[u8]) -> Result<()> {
        self.files.as_ref().map_or(Ok(()), |files| files.write_status(status))
    }

    /// The names of the files that a secret is in, as they are published.
    pub fn files_of(&self, secret: usize) -> Vec<String> {
        let files = self.files.iter().flat_map(FilesDirectory::current);
        files.filter(|(of, _)| *of == secret).map(|(_, name)| name.to_owned()).collect()
    }

    /// Removes the sets whose grace is over, and returns when the next one's is. Both in [`boot_time`](crate::sys::clock::boot_time).
    pub fn tidy(&mut self, now: Duration) -> Option<Duration> {
        self.files.as_mut()?.tidy(&self.powers, now)
    }

    /// Opens the secrets' descriptors again for the next app, and returns the numbers that it gets.
    pub fn reopen_descriptors(&mut self) -> Result<Vec<RawFd>> {
        self.descriptors.iter_mut().try_for_each(Descriptor::reopen)?;
        Ok(self.app_numbers())
    }

    /// The numbers that the app gets: those of the secrets that were delivered.
    pub fn app_numbers(&self) -> Vec<RawFd> {
        self.descriptors.iter().filter_map(Descriptor::filled).collect()
    }

    /// Closes the descriptors of secrets, which the app has by now and no other one will get.
    pub fn close_descriptors(&mut self) {
        self.descriptors.clear();
    }

    /// Every number that is held for later sets.
    pub fn numbers(&self) -> Vec<RawFd> {
        let files = self.files.iter().flat_map(FilesDirectory::numbers);
        files.chain(self.descriptors.iter().map(Descriptor::number)).collect()
    }

    /// The capabilities that later sets need, a bit per number.
    pub fn capabilities(&self) -> u64 {
        self.files.as_ref().map_or(0, |files| files.capabilities(&self.powers))
    }

    /// Reads the capabilities of this process again, after it has dropped some.
    pub fn reread_powers(&mut self) -> Result<()> {
        self.powers = Powers::read()?;
        Ok(())
    }

    /// Gives the descriptors to the app's start, and leaves the end of our turn in the files directory to what closes all of our
    /// descriptors: lockdown, exec, or the end of this process.
    pub fn hand_over(self) -> Handover {
        self.files.into_iter().for_each(FilesDirectory::keep_turn);
        Handover { descriptors: self.descriptors.into_iter().filter_map(Descriptor::hand_over).collect() }
    }
}

impl Published {
    /// Whether a secret was delivered.
    pub fn has(&self, secret: usize) -> bool {
        self.secrets.binary_search(&secret).is_ok()
    }
}

impl Handover {
    /// The numbers that must stay open in the app; they are not close-on-exec.
    pub fn numbers(&self) -> Vec<RawFd> {
        self.descriptors.iter().map(AsRawFd::as_raw_fd).collect()
    }
}
