//! The decisions about files before the fetch: where they go, whose they are, which kind of link their names are.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::acceptance::{Medium, OwnMount};
use super::entries::{Directory, LinkKind};
use super::failure::refusal;
use super::files::{FilesDirectory, kernel_has_noswap};
use super::ownership::{self, Access, Compromise, RequestedAccess};
use super::powers::Powers;
use super::survey::{self, Choice, Survey};
use super::way::Reader;
use crate::error::Result;
use crate::plan::{Files, Isolation, Plan, Purpose, Target};
use crate::sys::capabilities::{CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, SYS_ADMIN, bit};

/// How often the names are examined again after a failure.
const HASTY_LOOKS: usize = 2;

/// The decisions about the files.
pub struct Assessment {
    files: Files,
    survey: Survey,
    accesses: BTreeMap<usize, Access>,
    link_kind: LinkKind,
    /// The warnings for the user.
    pub warnings: Vec<String>,
}

/// Examines the directory and decides, changing nothing. `None` if no secret is a file: then the directory is not opened.
pub fn assess(plan: &Plan, powers: &Powers) -> Result<Option<Assessment>> {
    let targets = || plan.deliveries.iter().filter(|delivery| matches!(delivery.target, Target::File { .. }));
    let Some(files) = plan.files.clone().filter(|_| targets().next().is_some()) else { return Ok(None) };
    let own_mount = match plan.purpose {
        Purpose::Run | Purpose::Supervise if powers.has(SYS_ADMIN) => OwnMount::Possible,
        Purpose::Run | Purpose::Supervise => OwnMount::Denied,
        Purpose::Init | Purpose::Watch => OwnMount::Invisible,
    };
    let survey = survey::survey(&files.directory, own_mount, powers, &readers(plan))?;
    let link_kind = link_kind(is_protected("symlinks"), &survey, powers, plan.isolation.uid);
    let groups = app_groups(plan);
    let mut accesses = BTreeMap::new();
    for delivery in targets() {
        let Target::File { mode, owner, .. } = delivery.target else { continue };
        let (uid, gid) = owner.unwrap_or((plan.isolation.uid, plan.isolation.gid));
        let wanted = RequestedAccess { uid, gid, mode, named: owner.is_some() };
        let access = ownership::decide(powers, wanted, survey.setgid_group, groups.as_deref())
            .ok_or_else(|| ownership::impossible(&delivery.name, wanted, powers))?;
        accesses.insert(delivery.secret, access);
    }
    if plan.keeps_fresh() {
        check_links(powers, &accesses)?;
    }
    let warnings = warnings(plan, powers, &accesses);
    let assessment = Assessment { files, survey, accesses, link_kind, warnings };
    assessment.check_names(plan, powers)?;
    Ok(Some(assessment))
}

/// A file that has not changed gets a name in the next set, which the kernel refuses for files of others.
fn check_links(powers: &Powers, accesses: &BTreeMap<usize, Access>) -> Result<()> {
    let Some(other) = accesses.values().map(|access| access.uid).find(|uid| *uid != powers.uid) else { return Ok(()) };
    if powers.has(FOWNER) || !is_protected("hardlinks") {
        return Ok(());
    }
    let message = format!(
        "cannot keep files of uid {other} fresh as uid {}: without CAP_FOWNER they cannot be linked into the next set",
        powers.uid
    );
    Err(refusal(message).hint(format!("add the capability FOWNER, or start handfast as uid {other}")))
}

/// The app's groups, where they are known: under `init`, the runtime may give the app more than the configuration says.
fn app_groups(plan: &Plan) -> Option<Vec<u32>> {
    match plan.purpose {
        Purpose::Run | Purpose::Supervise => Some([&[plan.isolation.gid], plan.isolation.groups.as_slice()].concat()),
        Purpose::Init | Purpose::Watch => None,
    }
}

/// The app, as a reader.
pub fn app(plan: &Plan) -> Reader {
    const LET_IN: u64 = bit(DAC_OVERRIDE) | bit(DAC_READ_SEARCH);
    let Isolation { uid, capabilities, .. } = plan.isolation;
    Reader { uid, groups: app_groups(plan), is_let_in: capabilities & LET_IN != 0 }
}

/// The readers of the files: the app, and each owner that a secret names, whose groups are unknown.
fn readers(plan: &Plan) -> Vec<Reader> {
    let mut readers = Vec::new();
    for delivery in &plan.deliveries {
        match delivery.target {
            Target::File { owner: None, .. } => readers.push(app(plan)),
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
fn link_kind(protected: bool, survey: &Survey, powers: &Powers, reader: u32) -> LinkKind {
    const STICKY_AND_WRITABLE: u32 = 0o1002;
    let open_to_all = survey.mode & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE;
    if !protected || !open_to_all || [survey.owner, reader].contains(&powers.uid) {
        return LinkKind::Symbolic { owner: powers.uid };
    }
    // The directory's owner may replace every entry in it anyway, so the links can as well be theirs. Without CAP_FOWNER the next
    // start cannot replace them, and says so before its fetch.
    if powers.has(CHOWN) { LinkKind::Symbolic { owner: survey.owner } } else { LinkKind::Hard }
}

/// Whether the kernel protects `hardlinks`, or `symlinks`: what cannot be read counts as protected.
fn is_protected(links: &str) -> bool {
    std::fs::read_to_string(format!("/proc/sys/fs/protected_{links}")).map_or(true, |text| text.trim() != "0")
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
            Choice::Accepted { medium, .. } | Choice::Missing { medium, .. } => *medium,
            Choice::OwnMount if kernel_has_noswap() => Medium::TmpfsWithoutSwap,
            Choice::OwnMount => Medium::Tmpfs,
        }
    }

    /// Whether a tmpfs of our own is part of it.
    pub fn mounts(&self) -> bool {
        matches!(self.survey.place, Choice::OwnMount)
    }

    /// Where the files go and what that is.
    pub fn describe(&self) -> String {
        let path = self.files.directory.display();
        let filesystem = self.medium().describe();
        match self.survey.place {
            Choice::Accepted { .. } => format!("{filesystem} at `{path}`"),
            Choice::Missing { .. } => format!("{filesystem}, `{path}` will be created"),
            Choice::OwnMount => format!("{filesystem} of handfast's own, mounted on `{path}` for the app alone"),
        }
    }

    /// The directory as a swap text names it.
    pub fn target(&self) -> String {
        format!("`{}`", self.files.directory.display())
    }

    /// The capabilities that later sets need.
    pub fn capabilities(&self, powers: &Powers) -> u64 {
        ownership::needed_later(self.accesses.values(), self.link_kind, self.survey.setgid_group, powers)
    }

    /// Refuses entries of others at the names that are known before the fetch.
    fn check_names(&self, plan: &Plan, powers: &Powers) -> Result<()> {
        let Choice::Accepted { handle, .. } = &self.survey.place else { return Ok(()) };
        let known = plan.deliveries.iter().filter_map(|delivery| match &delivery.target {
            Target::File { name, .. } if !name.contains('*') => Some(name.as_str()),
            _ => None,
        });
        let needed: Vec<&str> = known.collect();
        let path = self.files.directory.to_string_lossy();
        let directory = || Directory::new(handle.as_fd(), &path, self.link_kind, powers);
        directory().check_private()?;
        let look = || directory().examine(needed.iter().copied()).map(drop);
        // Another start may be replacing hard links right now, which cannot be recognised until a moment later.
        (0..HASTY_LOOKS).find_map(|_| look().ok()).map_or_else(look, Ok)
    }

    /// Makes a missing directory, and examines it again.
    pub fn prepare(self, plan: &Plan, powers: &Powers) -> Result<FilesDirectory> {
        let Self { files, survey, accesses, link_kind, .. } = self;
        let handle = match survey.place {
            Choice::Accepted { handle, .. } => Some(handle),
            Choice::OwnMount => None,
            Choice::Missing { parent, name, .. } => {
                survey::create(&files.directory, &parent, &name, powers)?;
                return match assess(plan, powers)? {
                    Some(again) if !matches!(again.survey.place, Choice::Missing { .. }) => again.prepare(plan, powers),
                    _ => Err(refusal(format!("cannot create `{}`: it was removed at once", files.directory.display()))),
                };
            }
        };
        let path = files.directory.to_string_lossy().into_owned();
        let (identity, inherited) = (survey.identity, survey.setgid_group);
        Ok(FilesDirectory { files, path, handle, identity, accesses, link_kind, inherited, turn: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_can_be_followed_by_their_reader() {
        let survey =
            |owner, mode| Survey { place: Choice::OwnMount, identity: (0, 0), owner, mode, setgid_group: None };
        let uid = |uid| Powers { uid, ..Powers::default() };
        // Kubernetes' emptyDir and Docker's --tmpfs belong to root.
        assert_eq!(link_kind(true, &survey(0, 0o1777), &uid(0), 1000), LinkKind::Symbolic { owner: 0 });
        assert_eq!(link_kind(true, &survey(0, 0o1777), &uid(1000), 1000), LinkKind::Symbolic { owner: 1000 });
        assert_eq!(link_kind(true, &survey(0, 0o1777), &uid(1000), 2000), LinkKind::Hard);
        assert_eq!(link_kind(true, &survey(0, 0o3777), &uid(1000), 2000), LinkKind::Hard);
        assert_eq!(link_kind(true, &survey(7, 0o1777), &uid(0), 1000), LinkKind::Hard);
        let root = Powers { capabilities: bit(CHOWN), ..uid(0) };
        assert_eq!(link_kind(true, &survey(7, 0o1777), &root, 1000), LinkKind::Symbolic { owner: 7 });
        // Not sticky, not writable by all, or not protected: the kernel does not ask.
        assert_eq!(link_kind(true, &survey(0, 0o777), &uid(1000), 2000), LinkKind::Symbolic { owner: 1000 });
        assert_eq!(link_kind(true, &survey(0, 0o1770), &uid(1000), 2000), LinkKind::Symbolic { owner: 1000 });
        assert_eq!(link_kind(false, &survey(0, 0o1777), &uid(1000), 2000), LinkKind::Symbolic { owner: 1000 });
    }
}
