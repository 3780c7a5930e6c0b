//! Puts the secrets where the app finds them: files on a tmpfs, sealed memfds under planned numbers.
//!
//! [`prepare`] decides everything that can be decided before the fetch, and refuses what cannot work. [`deliver`] then
//! writes all of it before any of it is reachable. [`inspect`] makes the same decisions and touches nothing.
#![forbid(unsafe_code)]

mod acceptance;
mod access_lists;
mod arrivals;
mod descriptors;
mod directory;
mod entries;
mod files;
mod generation;
mod leftovers;
mod lock;
mod mounts;
mod own_mount;
mod ownership;
mod powers;
mod swap;
#[cfg(test)]
mod tests;
mod way;

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use handfast_core::SecretValue;

use crate::error::{Class, Error, Phase, Result};
use crate::plan::{Plan, Swap};
use descriptors::{Reopener, Reserved, Sealing};
use lock::{Lock, Patience};
use powers::Powers;
use swap::Swapping;

/// A secret that the worker has fetched.
pub struct Arrived {
    /// The secret, as an index into [`Plan::secrets`].
    pub secret: usize,
    /// The name of its file, checked; `None` where it goes into a descriptor.
    pub file: Option<String>,
    /// Its value.
    pub value: SecretValue,
}

/// The places for the secrets: checked, opened, reserved.
pub struct Destination {
    powers: Powers,
    files: Option<files::Prepared>,
    reserved: Vec<Reserved>,
    /// Where the memfds are made before they are filled.
    reopener: Option<Reopener>,
}

/// What was delivered. It holds the descriptors open until the app takes over, and other starts back from the files directory.
pub struct Handover {
    /// The secrets that are there, as indices into [`Plan::secrets`], sorted: an optional one may be missing.
    pub delivered: Vec<usize>,
    descriptors: Vec<OwnedFd>,
    turn: Option<Lock>,
}

/// What a start would do, for `check`.
#[derive(Default)]
pub struct Inspection {
    /// Where the files go, and what that is.
    pub files: Option<Placement>,
    /// What the descriptors are.
    pub descriptors: Option<Placement>,
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
pub struct Reservation(Vec<Reserved>);

/// Keeps the descriptor numbers of the plan free. Before anything else is opened, since nothing of ours may take one of them; those
/// from 3 up that are not ours must be closed by now.
pub fn reserve(plan: &Plan) -> Result<Reservation> {
    descriptors::reserve(plan).map(Reservation)
}

/// Decides everything before the fetch.
pub fn prepare(plan: &Plan, Reservation(mut reserved): Reservation) -> Result<Destination> {
    let powers = Powers::read()?;
    let mut reopener = Reopener::open(plan);
    // The first shows what the others will be.
    let probe = || match &mut reopener {
        Some(reopener) => descriptors::make_first(&mut reserved, plan.isolation.gid, &powers, reopener),
        None => descriptors::probe(),
    };
    let decided = decide(plan, &powers, probe, &mut Inspection::default())?;
    let files = decided.files.map(|assessment| assessment.prepare(plan, &powers)).transpose()?;
    descriptors::check_spare(files.is_some())?;
    decided.warnings.iter().for_each(|text| warn(text));
    Ok(Destination { powers, files, reserved, reopener })
}

/// Makes what will hold the descriptors' secrets, still empty. For the time in which the worker fetches them; [`deliver`] makes
/// what is not made by then.
pub fn make_ready(destination: &mut Destination, plan: &Plan) -> Result<()> {
    let Destination { powers, reserved, reopener, .. } = destination;
    reopener.as_mut().map_or(Ok(()), |reopener| descriptors::make(reserved, plan.isolation.gid, powers, reopener))
}

/// Makes the decisions of [`prepare`] and touches nothing.
pub fn inspect(plan: &Plan) -> Inspection {
    let mut inspection = Inspection::default();
    let decided = Powers::read().and_then(|powers| decide(plan, &powers, descriptors::probe, &mut inspection));
    match decided {
        Ok(decided) => inspection.warnings.extend(decided.warnings),
        Err(error) => inspection.refusal = Some(error),
    }
    inspection
}

struct Decided {
    files: Option<files::Assessment>,
    warnings: Vec<String>,
}

fn decide(
    plan: &Plan,
    powers: &Powers,
    probe: impl FnOnce() -> Result<Sealing>,
    inspection: &mut Inspection,
) -> Result<Decided> {
    let swapping = swap::read();
    let mut swappable = Vec::new();
    let mut warnings = Vec::new();
    let numbers = descriptors::numbers(plan);
    if !numbers.is_empty() {
        descriptors::check_limit(plan)?;
        descriptors::check_group(plan.isolation.gid, powers)?;
        let sealing = probe()?;
        if sealing == Sealing::WithoutExec {
            inspection.missing.push("MFD_NOEXEC_SEAL and F_SEAL_EXEC (Linux 6.3)".into());
        }
        let protection = protection(true, swapping);
        inspection.descriptors = Some(Placement { medium: "sealed memfd".into(), protection });
        swappable.push(descriptors::list(&numbers));
    }
    let files = files::assess(plan, powers)?;
    if let Some(assessment) = &files {
        let medium = assessment.medium();
        if assessment.mounts() && medium.can_be_swapped() {
            inspection.missing.push("tmpfs option `noswap` (Linux 6.4)".into());
        }
        let protection = protection(medium.can_be_swapped(), swapping);
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
    warnings.extend(judge_swap(plan.swap, swapping, &swappable)?);
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

/// The warning, if there is cause for one, or the refusal.
fn judge_swap(rule: Swap, swapping: Swapping, targets: &[String]) -> Result<Option<String>> {
    let list = targets.join(", ");
    match rule {
        _ if targets.is_empty() => Ok(None),
        Swap::Warn => Ok(swapping.warning(&list)),
        Swap::Refuse => swapping.refusal(&list).map_or(Ok(None), Err),
    }
}

/// Delivers what has arrived: all of it, or nothing. Waits while another start writes into the directory: until the plan's deadline,
/// or until `interrupted` is a failure.
pub fn deliver(
    destination: Destination,
    plan: &Plan,
    arrived: Vec<Arrived>,
    interrupted: &dyn Fn() -> Result<()>,
) -> Result<Handover> {
    let Destination { powers, files, reserved, .. } = destination;
    let mut delivered: Vec<usize> = arrived.iter().map(|one| one.secret).collect();
    delivered.sort_unstable();
    delivered.dedup();
    let (new_files, mut values) = arrivals::sort(files.as_ref(), arrived)?;
    // Nothing of the files can be reached before the descriptors are there too.
    let patience = Patience { deadline: plan.deadline.at(), interrupted };
    let written = files.map(|files| files.write(plan, &powers, &new_files, &patience)).transpose()?;
    let fill = |place: Reserved| {
        let value = values.remove(&place.secret)?;
        Some(place.fill(&value, plan.isolation.gid, &powers))
    };
    match (reserved.into_iter().filter_map(fill).collect::<Result<Vec<_>>>(), written) {
        (Ok(descriptors), written) => {
            let turn = written.map(|written| written.publish(&powers)).transpose()?;
            Ok(Handover { delivered, descriptors, turn })
        }
        (Err(error), written) => {
            if let Some(written) = written {
                written.discard(&powers);
            }
            Err(error)
        }
    }
}

impl Handover {
    /// The numbers that must stay open in the app; they are not close-on-exec.
    pub fn numbers(&self) -> Vec<RawFd> {
        self.descriptors.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Leaves the end of our turn in the files directory to whatever closes all of our descriptors.
    pub fn keep_turn(&mut self) {
        self.turn.take().into_iter().for_each(Lock::keep);
    }

    /// Whether a secret was delivered.
    pub fn has(&self, secret: usize) -> bool {
        self.delivered.binary_search(&secret).is_ok()
    }
}

/// Writes all of it, whatever the kernel takes at a time.
fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(descriptor, bytes) {
            Ok(0) => return Err(Errno::ENOSPC),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A failure to deliver (73).
fn refusal(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Deliver, message)
}

fn warn(text: &str) {
    tracing::warn!(target: "handfast", "{text}");
}
