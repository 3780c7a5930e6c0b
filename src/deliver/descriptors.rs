//! Secrets in descriptors: each a sealed memfd, handed over read-only under the number that was planned.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl, open, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Whence, dup3, fchown, lseek};

use handfast_core::SecretValue;

use super::ownership::{can_give_group, with_group_at_once};
use super::powers::{Power, Powers};
use super::write_all;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::plan::{Plan, Target};
use crate::sys;

/// The name shows in /proc/PID/maps and in the link of the descriptor, so it is the same for all.
const NAME: &str = "secret";
/// `MFD_NOEXEC_SEAL` (6.3), which nix does not name; the seal that it sets is `F_SEAL_EXEC`.
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);
const SEAL_EXEC: SealFlag = SealFlag::from_bits_retain(0x20);
/// What delivery itself opens at the same time, at most: a memfd, what it is read by, and what is read of /proc, with one to spare.
const SPARE: usize = 4;
/// The same with files: the directory that only we write, its lock, a generation, and an older one with its list, or a memfd and what it
/// is read by.
const SPARE_WITH_FILES: usize = 5;
const MODE: u32 = 0o440;
const READER: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC);

/// A number that is kept free for a secret.
pub struct Reserved {
    /// The secret, as an index into the plan.
    pub secret: usize,
    /// First a copy of stderr, then the memfd.
    held: OwnedFd,
    made: Option<Made>,
}

/// The memfd of a place, which is held read-only.
struct Made {
    sealing: Sealing,
    /// What it is written by.
    writer: File,
}

/// By which a memfd is opened again: the list of our descriptors, and one number in it. The kernel makes an entry for each number that
/// is looked for, which takes half of the time; so all go through the same.
pub struct Reopener {
    list: OwnedFd,
    number: OwnedFd,
}

/// Whether this kernel can keep a memfd from being made executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// It can: seals 0x2f.
    Complete,
    /// It is older than 6.3: seals 0x0f.
    WithoutExec,
}

/// The secrets that go into descriptors, with their numbers.
fn targets(plan: &Plan) -> impl Iterator<Item = (usize, RawFd)> {
    plan.deliveries.iter().filter_map(|delivery| match delivery.target {
        Target::Descriptor(number) => Some((delivery.secret, number)),
        Target::File { .. } => None,
    })
}

/// The numbers of the plan.
pub fn numbers(plan: &Plan) -> Vec<RawFd> {
    targets(plan).map(|(_, number)| number).collect()
}

/// The numbers for a message: `descriptors 3, 4`.
pub fn list(numbers: &[RawFd]) -> String {
    const MOST: usize = 8;
    match numbers {
        [one] => format!("descriptor {one}"),
        many if many.len() > MOST => format!("{} descriptors", many.len()),
        few => format!("descriptors {}", few.iter().map(RawFd::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether the limit on descriptors can hold those of the plan, as far as it can be told without opening any.
pub fn check_limit(plan: &Plan) -> Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| resource(format!("cannot read RLIMIT_NOFILE: {}", reason(error))))?;
    let Some(highest) = targets(plan).map(|(_, number)| number).max() else { return Ok(()) };
    let count = 3 + targets(plan).count() + SPARE;
    let needed = (u64::from(highest.unsigned_abs()) + 1).max(count as u64);
    if needed > limit { Err(too_many(needed, limit)) } else { Ok(()) }
}

/// Takes every target number, so that nothing else gets it. The placeholder is a close-on-exec copy of stderr.
pub fn reserve(plan: &Plan) -> Result<Vec<Reserved>> {
    check_limit(plan)?;
    let reserve = |(secret, number)| {
        let placeholder = sys::fs::duplicate_from(std::io::stderr().as_fd(), number)
            .map_err(|error| resource(format!("cannot reserve descriptor {number}: {}", reason(error))))?;
        if placeholder.as_raw_fd() != number {
            let message = format!("cannot reserve descriptor {number}: it is already open in handfast");
            return Err(Error::new(Phase::Deliver, Class::Internal, message));
        }
        Ok(Reserved { secret, held: placeholder, made: None })
    };
    targets(plan).map(reserve).collect()
}

/// Makes sure that delivery has descriptors to work with, the worker's socket and its log, which will be closed by then, among them.
pub fn check_spare(with_files: bool) -> Result<()> {
    const OF_THE_WORKER: usize = 2;
    let needed = if with_files { SPARE_WITH_FILES } else { SPARE };
    let mut spare = Vec::with_capacity(needed);
    for taken in OF_THE_WORKER..needed {
        match sys::fs::duplicate_from(std::io::stderr().as_fd(), 3) {
            Ok(descriptor) => spare.push(descriptor),
            Err(error) if error.raw_os_error() == Some(Errno::EMFILE as i32) => {
                let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
                return Err(too_many(limit + (needed - taken) as u64, limit));
            }
            Err(error) => return Err(resource(format!("cannot open a descriptor: {}", reason(error)))),
        }
    }
    Ok(())
}

/// Whether memfds can be made here, which a filter may deny, and how far they can be sealed.
pub fn probe() -> Result<Sealing> {
    create().map(|(_, sealing)| sealing)
}

/// Whether the app's group can be given to a memfd.
pub fn check_group(gid: u32, powers: &Powers) -> Result<()> {
    if can_give_group(powers, gid) || powers.has(Power::Chown) {
        return Ok(());
    }
    Err(super::refusal(format!("cannot give descriptors the group {gid}: handfast is not in it and lacks CAP_SETGID"))
        .hint(format!("add the capability SETGID, or start handfast with group {gid}")))
}

impl Reopener {
    /// `None` where so many descriptors are not to be had that each memfd can be made, with a second one to write it by, before the
    /// first is filled.
    pub fn open(plan: &Plan) -> Option<Self> {
        let count = targets(plan).count();
        // The standard ones, two for each secret, the worker's socket and log, the signals, these two.
        let needed = 3 + 2 * count + 5 + SPARE;
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        if count == 0 || needed as u64 > limit {
            return None;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let list = open("/proc/self/fd", flags, Mode::empty()).ok()?;
        let number = sys::fs::duplicate_from(std::io::stderr().as_fd(), 3).ok()?;
        Some(Self { list, number })
    }

    fn reopen(&mut self, memfd: &File) -> nix::Result<OwnedFd> {
        dup3(memfd, &mut self.number, OFlag::O_CLOEXEC)?;
        openat(&self.list, self.number.as_raw_fd().to_string().as_str(), READER, Mode::empty())
    }
}

/// Puts an empty memfd under the first number, readable for `gid`, and says how far it can be sealed. There is a first.
pub fn make_first(reserved: &mut [Reserved], gid: u32, powers: &Powers, reopener: &mut Reopener) -> Result<Sealing> {
    make(&mut reserved[..1], gid, powers, reopener)?;
    Ok(reserved[0].made.as_ref().map_or(Sealing::WithoutExec, |made| made.sealing))
}

/// Puts an empty memfd under each number that has none yet, readable for `gid`. They are closed by exec until they are filled.
pub fn make(reserved: &mut [Reserved], gid: u32, powers: &Powers, reopener: &mut Reopener) -> Result<()> {
    with_group_at_once(powers, gid, || {
        reserved.iter_mut().filter(|place| place.made.is_none()).try_for_each(|place| {
            place.made = Some(Made::new(&mut place.held, gid, |memfd| reopener.reopen(memfd))?);
            Ok(())
        })
    })
}

impl Made {
    fn new(held: &mut OwnedFd, gid: u32, reopen: impl FnOnce(&File) -> nix::Result<OwnedFd>) -> Result<Self> {
        let number = held.as_raw_fd();
        let at = |step: &str, error: Errno| explain(number, step, error);
        let (writer, sealing) = create()?;
        fchmod(&writer, Mode::from_bits_truncate(MODE)).map_err(|error| at("set the mode of", error))?;
        if fstat(&writer).map_err(|error| at("look at", error))?.st_gid != gid {
            fchown(&writer, None, Some(Gid::from_raw(gid))).map_err(|error| at("set the group of", error))?;
        }
        // A description of its own: read-only, at offset 0.
        let reader = reopen(&writer).map_err(|error| at("open again", error))?;
        dup3(&reader, held, OFlag::O_CLOEXEC).map_err(|error| at("place", error))?;
        Ok(Self { sealing, writer })
    }
}

impl Reserved {
    /// Puts the secret under the number, readable for `gid`, and checks that all is as planned.
    pub fn fill(mut self, value: &SecretValue, gid: u32, powers: &Powers) -> Result<OwnedFd> {
        let Made { sealing, writer } = match self.made {
            Some(made) => made,
            None => with_group_at_once(powers, gid, || Made::new(&mut self.held, gid, reopen))?,
        };
        let number = self.held.as_raw_fd();
        let at = |step: &str, error: Errno| explain(number, step, error);
        write_all(writer.as_fd(), value.expose()).map_err(|error| at("write", error))?;
        let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&writer, FcntlArg::F_ADD_SEALS(seals)).map_err(|error| at("seal", error))?;
        drop(writer);
        fcntl(&self.held, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| at("hand over", error))?;
        let expected = if sealing == Sealing::Complete { seals | SEAL_EXEC } else { seals };
        verify(self.held.as_fd(), expected, value.len(), gid, powers.uid)?;
        Ok(self.held)
    }
}

fn reopen(memfd: &File) -> nix::Result<OwnedFd> {
    open(format!("/proc/self/fd/{}", memfd.as_raw_fd()).as_str(), READER, Mode::empty())
}

fn create() -> Result<(File, Sealing)> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let made = match memfd_create(NAME, flags | NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(NAME, flags).map(|memfd| (memfd, Sealing::WithoutExec)),
        made => made.map(|memfd| (memfd, Sealing::Complete)),
    };
    made.map(|(memfd, sealing)| (File::from(memfd), sealing)).map_err(|error| match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => resource(format!("cannot create a memfd: {}", reason(error))),
        error => super::refusal(format!("cannot create a memfd: {}", reason(error)))
            .hint("allow memfd_create in the seccomp profile, or deliver into files"),
    })
}

/// Success is what reads back.
fn verify(descriptor: BorrowedFd<'_>, seals: SealFlag, length: usize, gid: u32, uid: u32) -> Result<()> {
    let number = descriptor.as_raw_fd();
    let at = |error| explain(number, "read back", error);
    let status = fstat(descriptor).map_err(at)?;
    let checks = [
        ("seals", i64::from(fcntl(descriptor, FcntlArg::F_GET_SEALS).map_err(at)?), i64::from(seals.bits())),
        ("mode", i64::from(status.st_mode & 0o7777), i64::from(MODE)),
        ("owner", i64::from(status.st_uid), i64::from(uid)),
        ("group", i64::from(status.st_gid), i64::from(gid)),
        ("size", status.st_size, length as i64),
        ("offset", lseek(descriptor, 0, Whence::SeekCur).map_err(at)?, 0),
        (
            "access mode",
            i64::from(fcntl(descriptor, FcntlArg::F_GETFL).map_err(at)? & OFlag::O_ACCMODE.bits()),
            i64::from(OFlag::O_RDONLY.bits()),
        ),
        ("close-on-exec flag", i64::from(fcntl(descriptor, FcntlArg::F_GETFD).map_err(at)?), 0),
    ];
    match checks.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((what, found, expected)) => Err(Error::new(
            Phase::Deliver,
            Class::Isolation,
            format!("cannot hand over descriptor {number}: its {what} is {found:#o} instead of {expected:#o}"),
        )),
    }
}

fn explain(number: RawFd, step: &str, error: Errno) -> Error {
    let message = format!("cannot {step} the memfd for descriptor {number}: {}", reason(error));
    match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => resource(message),
        _ => super::refusal(message),
    }
}

fn too_many(needed: u64, limit: u64) -> Error {
    resource(format!("cannot hold the secrets' descriptors: {needed} needed, RLIMIT_NOFILE allows {limit}"))
        .hint("raise the limit (`ulimit -n`, `--ulimit nofile=`), choose lower numbers, or deliver into files")
}

fn resource(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Os, message)
}
