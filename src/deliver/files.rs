//! The files part of a delivery: all decisions before the fetch, then the set itself.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use super::acceptance::{Medium, OwnMount};
use super::directory::{self, Place, Survey};
use super::entries::{Directory, Names};
use super::generation::{Generation, NewFile};
use super::lock::{self, Lock, Patience};
use super::own_mount::mount_own;
use super::ownership::{self, Access, Compromise, Wanted};
use super::powers::{Power, Powers};
use super::way::Reader;
use super::{leftovers, refusal, swap};
use crate::error::Result;
use crate::plan::{Files, Plan, Purpose, Target};

/// How often a directory that is not as it should be is looked at again.
const HASTY_LOOKS: usize = 2;

/// What was decided about the files.
pub struct Assessment {
    files: Files,
    survey: Survey,
    accesses: BTreeMap<usize, Access>,
    names: Names,
    /// What the user should be told.
    pub warnings: Vec<String>,
}

/// The same when the directory is there, or will be mounted.
pub struct Prepared {
    files: Files,
    place: Ready,
    accesses: BTreeMap<usize, Access>,
    names: Names,
}

enum Ready {
    Opened(OwnedFd),
    OwnMount { identity: (u64, u64) },
}

/// Looks and decides, changing nothing. `None` where no secret is a file: then the directory is not touched.
pub fn assess(plan: &Plan, powers: &Powers) -> Result<Option<Assessment>> {
    let targets = || plan.deliveries.iter().filter(|delivery| matches!(delivery.target, Target::File { .. }));
    let Some(files) = plan.files.clone().filter(|_| targets().next().is_some()) else { return Ok(None) };
    let own_mount = match plan.purpose {
        Purpose::Run if powers.has(Power::SysAdmin) => OwnMount::Possible,
        Purpose::Run => OwnMount::Denied,
        Purpose::Init => OwnMount::Invisible,
    };
    let survey = directory::survey(&files.directory, own_mount, powers, &readers(plan))?;
    let names = names(protected_links(), &survey, powers, plan.isolation.uid);
    let reader = reader(plan);
    let mut accesses = BTreeMap::new();
    for delivery in targets() {
        let Target::File { mode, owner, .. } = delivery.target else { continue };
        let (uid, gid) = owner.unwrap_or((plan.isolation.uid, plan.isolation.gid));
        let wanted = Wanted { uid, gid, mode, named: owner.is_some() };
        let access = ownership::decide(powers, wanted, survey.setgid_group, reader.as_deref())
            .ok_or_else(|| ownership::impossible(&delivery.name, wanted, powers))?;
        accesses.insert(delivery.secret, access);
    }
    let warnings = warnings(plan, powers, &accesses);
    let assessment = Assessment { files, survey, accesses, names, warnings };
    assessment.check_names(plan, powers)?;
    Ok(Some(assessment))
}

/// The app's groups, where they are known: under `init`, the runtime may give the app more than the configuration says.
fn reader(plan: &Plan) -> Option<Vec<u32>> {
    match plan.purpose {
        Purpose::Run => Some([&[plan.isolation.gid], plan.isolation.groups.as_slice()].concat()),
        Purpose::Init => None,
    }
}

/// Who shall read the files: the app, and each owner that a secret names, of whose groups nothing more is known.
fn readers(plan: &Plan) -> Vec<Reader> {
    const LET_IN: u64 = 1 << Power::DacOverride as u32 | 1 << Power::DacReadSearch as u32;
    let mut readers = Vec::new();
    for delivery in &plan.deliveries {
        match delivery.target {
            Target::File { owner: None, .. } => readers.push(Reader {
                uid: plan.isolation.uid,
                groups: reader(plan),
                is_let_in: plan.isolation.capabilities & LET_IN != 0,
            }),
            Target::File { owner: Some((uid, _)), .. } => {
                readers.push(Reader { uid, groups: None, is_let_in: false });
            }
            Target::Descriptor(_) => {}
        }
    }
    readers.dedup_by_key(|reader| reader.uid);
    readers
}

/// In a sticky directory that all can write, the kernel lets a link be followed only by its owner, or when the directory's
/// owner made it. Where the reader could not follow ours, names are hard links.
fn names(protected: bool, survey: &Survey, powers: &Powers, reader: u32) -> Names {
    const STICKY_AND_WRITABLE: u32 = 0o1002;
    let open_to_all = survey.mode & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE;
    if !protected || !open_to_all || [survey.owner, reader].contains(&powers.uid) {
        return Names::Links { owner: powers.uid };
    }
    // The directory's owner may replace every entry in it anyway, so the links can as well be theirs. Without CAP_FOWNER the next
    // start cannot replace them, and says so before its fetch.
    if powers.has(Power::Chown) { Names::Links { owner: survey.owner } } else { Names::HardLinks }
}

/// What cannot be read counts as protected.
fn protected_links() -> bool {
    std::fs::read_to_string("/proc/sys/fs/protected_symlinks").map_or(true, |text| text.trim() != "0")
}

fn warnings(plan: &Plan, powers: &Powers, accesses: &BTreeMap<usize, Access>) -> Vec<String> {
    let with = |compromise| {
        let is_hit = |secret| accesses.get(secret).is_some_and(|access| access.compromise == Some(compromise));
        let hit = plan.deliveries.iter().filter(|delivery| is_hit(&delivery.secret));
        hit.map(|delivery| delivery.name.as_str()).collect::<Vec<_>>()
    };
    let mut warnings = Vec::new();
    let through = with(Compromise::ThroughGroup);
    if !through.is_empty() {
        warnings.push(ownership::through_group_warning(powers.uid, &through));
    }
    let without = with(Compromise::WithoutGroup);
    if !without.is_empty() {
        warnings.push(ownership::without_group_warning(plan.isolation.gid, &without));
    }
    warnings
}

impl Assessment {
    /// The file system that the files will be in.
    pub fn medium(&self) -> Medium {
        match &self.survey.place {
            Place::Accepted { medium, .. } | Place::Missing { medium, .. } => *medium,
            Place::OwnMount { .. } if kernel_has_noswap() => Medium::TmpfsWithoutSwap,
            Place::OwnMount { .. } => Medium::Tmpfs,
        }
    }

    /// Whether a tmpfs of our own is part of it.
    pub fn mounts(&self) -> bool {
        matches!(self.survey.place, Place::OwnMount { .. })
    }

    /// Where the files go and what that is.
    pub fn describe(&self) -> String {
        let path = self.files.directory.display();
        let filesystem = self.medium().describe();
        match self.survey.place {
            Place::Accepted { .. } => format!("{filesystem} at `{path}`"),
            Place::Missing { .. } => format!("{filesystem}, `{path}` will be created"),
            Place::OwnMount { .. } => format!("{filesystem} of handfast's own, mounted on `{path}` for the app alone"),
        }
    }

    /// The directory as a swap text names it.
    pub fn target(&self) -> String {
        format!("`{}`", self.files.directory.display())
    }

    /// Refuses now what is in the way of the names that are known before the fetch.
    fn check_names(&self, plan: &Plan, powers: &Powers) -> Result<()> {
        let Place::Accepted { handle, .. } = &self.survey.place else { return Ok(()) };
        let known = plan.deliveries.iter().filter_map(|delivery| match &delivery.target {
            Target::File { name, .. } if !name.contains('*') => Some(name.as_str()),
            _ => None,
        });
        let needed: Vec<&str> = known.collect();
        let path = self.files.directory.to_string_lossy();
        lock::Place { directory: handle.as_fd(), path: &path, powers }.look()?;
        let directory = || Directory::new(handle.as_fd(), &path, self.names, powers);
        let look = || directory().examine(needed.iter().copied()).map(drop);
        // Another start may be replacing hard links right now: what cannot be told then can be told a moment later.
        (0..HASTY_LOOKS).find_map(|_| look().ok()).map_or_else(look, Ok)
    }

    /// Makes a missing directory, and looks again.
    pub fn prepare(self, plan: &Plan, powers: &Powers) -> Result<Prepared> {
        let Self { files, survey, accesses, names, .. } = self;
        let place = match survey.place {
            Place::Accepted { handle, .. } => Ready::Opened(handle),
            Place::OwnMount { identity } => Ready::OwnMount { identity },
            Place::Missing { parent, name, .. } => {
                directory::create(&files.directory, &parent, &name, powers)?;
                return match assess(plan, powers)? {
                    Some(again) if !matches!(again.survey.place, Place::Missing { .. }) => again.prepare(plan, powers),
                    _ => Err(refusal(format!("cannot create `{}`: it was removed at once", files.directory.display()))),
                };
            }
        };
        Ok(Prepared { files, place, accesses, names })
    }
}

impl Prepared {
    /// A file's access, by secret.
    pub fn access(&self, secret: usize) -> Option<Access> {
        self.accesses.get(&secret).copied()
    }

    /// Mounts our own tmpfs where that was decided, waits for our turn there, and writes the set. It is not reachable before
    /// `publish`.
    pub fn write(
        self,
        plan: &Plan,
        powers: &Powers,
        new_files: &[NewFile],
        patience: &Patience<'_>,
    ) -> Result<Written> {
        let Self { files, place, names, .. } = self;
        let path = files.directory.to_string_lossy().into_owned();
        let handle = match place {
            Ready::Opened(handle) => handle,
            Ready::OwnMount { identity } => {
                let (handle, medium) = mount_own(&files.directory, identity, files.size, powers)?;
                // Before the fetch it looked as if `noswap` could be had, so nothing was said about swap then.
                if medium.can_be_swapped() && kernel_has_noswap() {
                    let warning = super::judge_swap(plan.swap, swap::read(), &[format!("`{path}`")])?;
                    warning.iter().for_each(|text| super::warn(text));
                }
                handle
            }
        };
        let place = lock::Place { directory: handle.as_fd(), path: &path, powers };
        let lock = place.take(patience)?;
        if lock.has_leftovers {
            leftovers::clean_private(&path, lock.private(), powers);
        }
        let directory = Directory::new(handle.as_fd(), &path, names, powers);
        match Generation::write(&directory, &lock, new_files) {
            Ok(generation) => Ok(Written { handle, path, names, lock, generation }),
            Err(error) => {
                lock.abandon(place);
                Err(error)
            }
        }
    }
}

/// A set that is written and not yet reachable.
pub struct Written {
    handle: OwnedFd,
    path: String,
    names: Names,
    lock: Lock,
    generation: Generation,
}

impl Written {
    /// Makes the set reachable. Our turn lasts as long as what comes back.
    pub fn publish(self, powers: &Powers) -> Result<Lock> {
        match self.generation.publish(&self.directory(powers), &self.lock) {
            Ok(()) => Ok(self.lock),
            Err(error) => {
                self.end_turn(powers);
                Err(error)
            }
        }
    }

    /// Removes the set.
    pub fn discard(self, powers: &Powers) {
        self.generation.discard(&self.directory(powers), &self.lock);
        self.end_turn(powers);
    }

    fn end_turn(self, powers: &Powers) {
        self.lock.abandon(lock::Place { directory: self.handle.as_fd(), path: &self.path, powers });
    }

    fn directory<'a>(&'a self, powers: &'a Powers) -> Directory<'a> {
        Directory::new(self.handle.as_fd(), &self.path, self.names, powers)
    }
}

/// Whether this kernel's tmpfs knows `noswap` (6.4).
pub fn kernel_has_noswap() -> bool {
    nix::sys::utsname::uname().is_ok_and(|system| version(&system.release().to_string_lossy()) >= Some((6, 4)))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_can_be_followed_by_their_reader() {
        let survey = |owner, mode| {
            let place = Place::OwnMount { identity: (0, 0) };
            Survey { place, owner, mode, setgid_group: None }
        };
        let uid = |uid| Powers { uid, ..Powers::default() };
        // Kubernetes' emptyDir and Docker's --tmpfs belong to root.
        assert_eq!(names(true, &survey(0, 0o1777), &uid(0), 1000), Names::Links { owner: 0 });
        assert_eq!(names(true, &survey(0, 0o1777), &uid(1000), 1000), Names::Links { owner: 1000 });
        assert_eq!(names(true, &survey(0, 0o1777), &uid(1000), 2000), Names::HardLinks);
        assert_eq!(names(true, &survey(0, 0o3777), &uid(1000), 2000), Names::HardLinks);
        assert_eq!(names(true, &survey(7, 0o1777), &uid(0), 1000), Names::HardLinks);
        let root = Powers { capabilities: 1 << Power::Chown as u32, ..uid(0) };
        assert_eq!(names(true, &survey(7, 0o1777), &root, 1000), Names::Links { owner: 7 });
        // Not sticky, not writable by all, or not protected: the kernel does not ask.
        assert_eq!(names(true, &survey(0, 0o777), &uid(1000), 2000), Names::Links { owner: 1000 });
        assert_eq!(names(true, &survey(0, 0o1770), &uid(1000), 2000), Names::Links { owner: 1000 });
        assert_eq!(names(false, &survey(0, 0o1777), &uid(1000), 2000), Names::Links { owner: 1000 });
    }

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert!(version("6.10.0") >= Some((6, 4)) && version("5.10.0") < Some((6, 4)) && version("x") < Some((6, 4)));
    }
}
