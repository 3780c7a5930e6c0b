//! Secrets in descriptors: each a sealed memfd, handed over read-only under the number that was planned.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{Gid, Whence, dup3, fchown, lseek};

use handfast_core::SecretValue;

use super::ownership::{can_give_group, with_group};
use super::powers::Powers;
use super::write::write_all;
use crate::error::{Class, Error, Phase, Result, reason};
use crate::plan::{Isolation, Plan, Target};
use crate::sys;
use crate::sys::capabilities::CHOWN;

/// The name shows in /proc/PID/maps and in the link of the descriptor, so it is the same for all.
const NAME: &str = "secret";
/// `MFD_NOEXEC_SEAL` (6.3), which nix does not name; the seal that it sets is `F_SEAL_EXEC`.
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);
const SEAL_EXEC: SealFlag = SealFlag::from_bits_retain(0x20);
/// How many descriptors delivery itself opens at the same time, at most: a memfd, its reader, and one to spare.
const SPARE: usize = 3;
/// How many are open besides the targets: stdin, stdout, stderr, and where signals arrive.
const OPEN: usize = 4;
/// The same as [`SPARE`] with files: the directory, the private directory, its lock, a generation, and an older generation with its
/// list, or a memfd and its reader.
const SPARE_WITH_FILES: usize = 6;
/// How many more are open while a worker waits to learn what became of its secrets: its socket and its log.
const WORKER: usize = 2;
/// How many more a process has that keeps secrets fresh: the worker's socket and log, the alarm, the sign of life and its status, and
/// the pipe for the start of a new app.
const KEEPING: usize = 8;
/// For an app in the memfd's group.
const MODE: u32 = 0o440;
/// For an app that is the memfd's owner: what checks the mode of a key that it owns (OpenSSH, PostgreSQL) takes no other.
const OWNERS_MODE: u32 = 0o400;

/// A descriptor number of the plan, which nothing but its secret may take.
pub struct Descriptor {
    /// The secret, as an index into the plan.
    secret: usize,
    /// The memfd of the secret, or a close-on-exec copy of stderr as a placeholder.
    held: OwnedFd,
    is_filled: bool,
}

/// A memfd that holds its secret for good, and its state as it was read back.
struct Sealed {
    memfd: OwnedFd,
    status: FileStat,
}

/// The memfds of a new generation whose numbers still hold those of the generation before.
pub struct Replacements<'d>(Vec<(&'d mut Descriptor, Option<Sealed>)>);

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

/// Whether the limit on descriptors can hold those of the plan, and those that its delivery opens.
pub fn check_limit(plan: &Plan) -> Result<()> {
    let spare = match (plan.has_files(), targets(plan).next()) {
        (true, _) => SPARE_WITH_FILES,
        (false, Some(_)) => SPARE,
        (false, None) => return Ok(()),
    };
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| resource(format!("cannot read RLIMIT_NOFILE: {}", reason(error))))?;
    let highest = targets(plan).map(|(_, number)| u64::from(number.unsigned_abs()) + 1).max().unwrap_or(0);
    let of_the_worker = match (plan.may_keep_worker(), plan.has_stores) {
        (true, _) => KEEPING,
        (false, true) => WORKER,
        (false, false) => 0,
    };
    let count = OPEN + plan.inherited.len() + targets(plan).count() + spare + of_the_worker;
    let needed = highest.max(count as u64);
    if needed > limit { Err(too_many(needed, limit)) } else { Ok(()) }
}

/// Takes every target number, so that nothing else gets it.
pub fn reserve(plan: &Plan) -> Result<Vec<Descriptor>> {
    check_limit(plan)?;
    let reserve = |(secret, number)| {
        let placeholder = sys::fs::duplicate_from(std::io::stderr().as_fd(), number)
            .map_err(|error| resource(format!("cannot reserve descriptor {number}: {}", reason(error))))?;
        if placeholder.as_raw_fd() != number {
            let message = format!("cannot reserve descriptor {number}: it is already open in handfast");
            return Err(Error::new(Phase::Deliver, Class::Internal, message));
        }
        Ok(Descriptor { secret, held: placeholder, is_filled: false })
    };
    targets(plan).map(reserve).collect()
}

/// Whether the app's group can be given to a memfd.
pub fn check_group(gid: u32, powers: &Powers) -> Result<()> {
    if can_give_group(powers, gid) || powers.has(CHOWN) {
        return Ok(());
    }
    Err(super::failure::refusal(format!(
        "cannot give descriptors the group {gid}: handfast is not in it and lacks CAP_SETGID"
    ))
    .hint(format!("add the capability SETGID, or start handfast with group {gid}")))
}

/// Makes a sealed memfd of each value that has changed, which replaces the earlier one. The memfds of `gone` secrets are removed.
pub fn change<'d>(
    descriptors: &'d mut [Descriptor],
    mut values: HashMap<usize, SecretValue>,
    gone: &[usize],
    app: &Isolation,
    powers: &Powers,
) -> Result<Replacements<'d>> {
    let mut replacements = Vec::new();
    for descriptor in descriptors {
        let value = values.remove(&descriptor.secret);
        if value.is_some() || gone.contains(&descriptor.secret) {
            let number = descriptor.held.as_raw_fd();
            let sealed = value.map(|value| seal(number, &value, app, powers)).transpose()?;
            replacements.push((descriptor, sealed));
        }
    }
    Ok(Replacements(replacements))
}

/// Makes a sealed memfd of each value, readable for the app. A number without a secret gets its memfd at once, because the limit on
/// descriptors may not allow a second one for each number. The others keep the secrets of the generation before until
/// [`Replacements::place`].
pub fn fill<'d>(
    descriptors: &'d mut [Descriptor],
    mut values: HashMap<usize, SecretValue>,
    app: &Isolation,
    powers: &Powers,
) -> Result<Replacements<'d>> {
    let mut replacements = Vec::new();
    for descriptor in descriptors {
        let number = descriptor.held.as_raw_fd();
        let value = values.remove(&descriptor.secret);
        let sealed = value.map(|value| seal(number, &value, app, powers)).transpose()?;
        if descriptor.is_filled {
            replacements.push((descriptor, sealed));
        } else if sealed.is_some() {
            descriptor.place(sealed)?;
        }
    }
    Ok(Replacements(replacements))
}

impl Replacements<'_> {
    /// Gives the new memfds their numbers.
    pub fn place(self) -> Result<()> {
        self.0.into_iter().try_for_each(|(descriptor, sealed)| descriptor.place(sealed))
    }
}

impl Descriptor {
    /// Puts a memfd under the number, or the placeholder if the secret is missing, and reads that back.
    fn place(&mut self, sealed: Option<Sealed>) -> Result<()> {
        let number = self.held.as_raw_fd();
        let at = |error| explain(number, "place", error);
        self.is_filled = sealed.is_some();
        let Some(Sealed { memfd, status }) = sealed else {
            return dup3(std::io::stderr(), &mut self.held, OFlag::O_CLOEXEC).map_err(at);
        };
        dup3(&memfd, &mut self.held, OFlag::empty()).map_err(at)?;
        let found = fstat(&self.held).map_err(at)?;
        let flag = fcntl(&self.held, FcntlArg::F_GETFD).map_err(at)?;
        check(number, [("inode", found.st_ino, status.st_ino), ("close-on-exec flag", flag as u64, 0)])
    }

    /// Opens the memfd again for the next app: the app before may have moved the offset.
    pub fn reopen(&mut self) -> Result<()> {
        if !self.is_filled {
            return Ok(());
        }
        let number = self.held.as_raw_fd();
        let at = |error| explain(number, "open again", error);
        let memfd = open_again(&self.held).map_err(at)?;
        let status = fstat(&self.held).map_err(at)?;
        self.place(Some(Sealed { memfd, status }))
    }

    /// The number, while something of ours holds it.
    pub fn number(&self) -> RawFd {
        self.held.as_raw_fd()
    }

    /// The number, where the secret is there.
    pub fn filled(&self) -> Option<RawFd> {
        self.is_filled.then(|| self.number())
    }

    /// The memfd, where the secret was delivered.
    pub fn hand_over(self) -> Option<OwnedFd> {
        self.is_filled.then_some(self.held)
    }
}

/// Makes a memfd that holds the value for good, opened read-only at offset 0, and reads its state back.
fn seal(number: RawFd, value: &SecretValue, app: &Isolation, powers: &Powers) -> Result<Sealed> {
    let (gid, mode) = (app.gid, if app.uid == powers.uid { OWNERS_MODE } else { MODE });
    let at = |step: &str, error: Errno| explain(number, step, error);
    let (writer, sealing) = with_group(powers, gid, create)?;
    fchmod(&writer, Mode::from_bits_truncate(mode)).map_err(|error| at("set the mode of", error))?;
    if fstat(&writer).map_err(|error| at("look at", error))?.st_gid != gid {
        fchown(&writer, None, Some(Gid::from_raw(gid))).map_err(|error| at("set the group of", error))?;
    }
    let memfd = open_again(&writer).map_err(|error| at("open again", error))?;
    write_all(writer.as_fd(), value.expose()).map_err(|error| at("write", error))?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&writer, FcntlArg::F_ADD_SEALS(seals)).map_err(|error| at("seal", error))?;
    drop(writer);
    let expected = if sealing == Sealing::Complete { seals | SEAL_EXEC } else { seals };
    let at = |error| at("read back", error);
    let status = fstat(&memfd).map_err(at)?;
    let access = fcntl(&memfd, FcntlArg::F_GETFL).map_err(at)? & OFlag::O_ACCMODE.bits();
    check(
        number,
        [
            ("seals", fcntl(&memfd, FcntlArg::F_GET_SEALS).map_err(at)? as u64, expected.bits() as u64),
            ("mode", u64::from(status.st_mode & 0o7777), u64::from(mode)),
            ("owner", status.st_uid.into(), powers.uid.into()),
            ("group", status.st_gid.into(), gid.into()),
            ("size", status.st_size as u64, value.len() as u64),
            ("offset", lseek(&memfd, 0, Whence::SeekCur).map_err(at)? as u64, 0),
            ("access mode", access as u64, OFlag::O_RDONLY.bits() as u64),
        ],
    )?;
    Ok(Sealed { memfd, status })
}

/// The same file, opened read-only, at its beginning.
fn open_again(memfd: &OwnedFd) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Fails where a property of a memfd is not as expected.
fn check<const COUNT: usize>(number: RawFd, properties: [(&str, u64, u64); COUNT]) -> Result<()> {
    match properties.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((name, found, expected)) => Err(Error::new(
            Phase::Deliver,
            Class::Isolation,
            format!("cannot hand over descriptor {number}: its {name} is {found:#o} instead of {expected:#o}"),
        )),
    }
}

/// An empty memfd, which a filter may deny, and how far it can be sealed.
pub fn create() -> Result<(OwnedFd, Sealing)> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let made = match memfd_create(NAME, flags | NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(NAME, flags).map(|memfd| (memfd, Sealing::WithoutExec)),
        made => made.map(|memfd| (memfd, Sealing::Complete)),
    };
    made.map_err(|error| match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => resource(format!("cannot create a memfd: {}", reason(error))),
        error => super::failure::refusal(format!("cannot create a memfd: {}", reason(error)))
            .hint("allow memfd_create in the seccomp profile, or deliver into files"),
    })
}

fn explain(number: RawFd, step: &str, error: Errno) -> Error {
    let message = format!("cannot {step} the memfd for descriptor {number}: {}", reason(error));
    match error {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => resource(message),
        _ => super::failure::refusal(message),
    }
}

fn too_many(needed: u64, limit: u64) -> Error {
    resource(format!("cannot hold the secrets' descriptors: {needed} needed, RLIMIT_NOFILE allows {limit}"))
        .hint("raise the limit (`ulimit -n`, `--ulimit nofile=`), choose lower numbers, or deliver into files")
}

fn resource(message: String) -> Error {
    Error::new(Phase::Deliver, Class::Os, message)
}
