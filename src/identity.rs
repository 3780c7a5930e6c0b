//! The app's identity: turns the user and groups of the configuration into numbers, with the accounts of this image.
#![forbid(unsafe_code)]

mod accounts;
mod name;
mod problem;

use std::ffi::OsString;

pub use accounts::Accounts;
pub use name::{Name, UserName};
pub use problem::{Problem, Setting};

use nix::unistd::{getegid, geteuid, getgroups};

/// The uid and gid of the app if handfast runs as root and no user is configured: `nonroot` of distroless images.
pub const NONROOT: u32 = 65532;

/// The configuration's settings about the app's user.
#[derive(Clone, Debug, Default)]
pub struct UserSettings {
    /// `[app] user`.
    pub user: Option<UserName>,
    /// `[app] groups`.
    pub groups: Option<Vec<Name>>,
    /// `[app] allow_root`.
    pub allow_root: bool,
}

/// The identity of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The effective uid.
    pub uid: u32,
    /// The effective gid.
    pub gid: u32,
    /// The supplementary groups, in any order.
    pub groups: Vec<u32>,
}

/// The app's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
    /// The supplementary groups, sorted, each once.
    pub groups: Vec<u32>,
    /// The new value of `HOME`, if the uid changes.
    pub home: Option<OsString>,
    /// Whether the uid is the default, because handfast runs as root and no user is configured. A warning says so.
    pub defaulted: bool,
}

impl Current {
    /// Reads the identity from the kernel.
    pub fn read() -> std::io::Result<Self> {
        let groups = getgroups()?.into_iter().map(|group| group.as_raw()).collect();
        Ok(Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), groups })
    }
}

/// The gids of these groups, without groups that this image does not know.
pub fn known_groups(groups: &[Name], accounts: impl FnOnce(bool) -> Result<Accounts, String>) -> Vec<u32> {
    let names_any = groups.iter().any(|group| matches!(group, Name::Text(_)));
    let accounts = if names_any { accounts(true).unwrap_or_default() } else { Accounts::default() };
    groups.iter().enumerate().filter_map(|(at, group)| accounts.gid(group, Setting::Groups(at)).ok()).collect()
}

/// Determines the app's identity. Calls `accounts` only if an entry must be looked up, because an image may have no account
/// files. The argument of `accounts` says whether groups are needed too.
pub fn resolve(
    wanted: &UserSettings,
    current: &Current,
    accounts: impl FnOnce(bool) -> Result<Accounts, String>,
) -> Result<Identity, Vec<Problem>> {
    let is_text = |name: &Name| matches!(name, Name::Text(_));
    let names_user =
        wanted.user.as_ref().is_some_and(|user| is_text(&user.user) || user.group.as_ref().is_some_and(is_text));
    let names_groups = wanted.groups.as_deref().unwrap_or_default().iter().any(is_text);
    // Accounts are needed for the gid of a uid without a group, and for the home of another uid. Otherwise, the files may be
    // unreadable.
    let looks_up_uid = match &wanted.user {
        Some(UserName { user: Name::Number(uid), group: Some(_) }) => *uid != current.uid,
        Some(_) => true,
        None => current.uid == 0,
    };
    let needed = looks_up_uid || names_user || names_groups;
    let accounts = if needed { accounts(names_user || names_groups) } else { Ok(Accounts::default()) };
    let accounts = accounts.map_err(|message| vec![Problem { setting: Setting::User, message, hint: None }])?;
    let mut problems = Vec::new();
    let mut note = |result: Result<u32, Problem>| result.map_err(|problem| problems.push(problem)).ok();

    let uid = match &wanted.user {
        Some(user) => note(accounts.uid(&user.user)),
        None if current.uid == 0 => Some(NONROOT),
        None => Some(current.uid),
    };
    let gid = match (&wanted.user, uid) {
        (Some(UserName { group: Some(group), .. }), _) => note(accounts.gid(group, Setting::User)),
        (Some(UserName { user, .. }), Some(uid)) => Some(accounts.primary_group(user, uid)),
        (None, _) if current.uid == 0 => Some(NONROOT),
        (None, _) => Some(current.gid),
        (Some(_), None) => None,
    };
    let groups: Option<Vec<u32>> = wanted.groups.as_ref().map(|groups| {
        groups.iter().enumerate().filter_map(|(at, group)| note(accounts.gid(group, Setting::Groups(at)))).collect()
    });
    if uid == Some(0) && !wanted.allow_root {
        problems.push(Problem {
            setting: Setting::User,
            message: "the app may not be uid 0".into(),
            hint: Some("name another user, or set [app] allow_root = true".into()),
        });
    }
    let (Some(uid), Some(gid), true) = (uid, gid, problems.is_empty()) else { return Err(problems) };

    let stays = current.uid != 0 && (uid, gid) == (current.uid, current.gid);
    let mut groups = match (groups, &wanted.user) {
        (Some(groups), _) => groups,
        (None, _) if stays => current.groups.clone(),
        (None, Some(UserName { user: Name::Text(name), .. })) => accounts.groups_of(name),
        (None, _) => Vec::new(),
    };
    groups.sort_unstable();
    groups.dedup();
    let home = (uid != current.uid).then(|| accounts.home(wanted.user.as_ref().map(|user| &user.user), uid));
    Ok(Identity { uid, gid, groups, home, defaulted: wanted.user.is_none() && current.uid == 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App,,,:/srv/app:/bin/false\n\
        alias:x:1000:1005::/srv/alias:/bin/false\nhomeless:x:1002:1002:::/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:5:app,other\nsolo:x:77:\n";

    fn ask(user: &str, groups: Option<&[&str]>, current: &Current, allow_root: bool) -> Result<Identity, Vec<Problem>> {
        let user = if user.is_empty() { None } else { Some(UserName::parse(user).unwrap()) };
        let groups = groups.map(|groups| groups.iter().map(|group| Name::parse(group).unwrap()).collect());
        resolve(&UserSettings { user, groups, allow_root }, current, |_| Ok(Accounts::parse(PASSWD, GROUP)))
    }

    fn root() -> Current {
        Current { uid: 0, gid: 0, groups: vec![0, 4] }
    }

    fn person() -> Current {
        Current { uid: 1000, gid: 0, groups: vec![2000, 7, 7] }
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: Option<&str>) -> Identity {
        Identity { uid, gid, groups: groups.into(), home: home.map(Into::into), defaulted: false }
    }

    #[test]
    fn a_name_gives_uid_gid_groups_and_home() {
        assert_eq!(ask("app", None, &root(), false), Ok(identity(1000, 1001, &[5, 10], Some("/srv/app"))));
        assert_eq!(ask("app:solo", None, &root(), false), Ok(identity(1000, 77, &[5, 10], Some("/srv/app"))));
        assert_eq!(ask("alias", None, &root(), false), Ok(identity(1000, 1005, &[], Some("/srv/alias"))));
        assert_eq!(ask("homeless", None, &root(), false), Ok(identity(1002, 1002, &[], Some("/"))));
    }

    #[test]
    fn a_uid_takes_gid_and_home_from_its_entry_and_no_groups() {
        assert_eq!(ask("1000", None, &root(), false), Ok(identity(1000, 1001, &[], Some("/srv/app"))));
        assert_eq!(ask("4242", None, &root(), false), Ok(identity(4242, 4242, &[], Some("/"))));
        assert_eq!(ask("1000:5", None, &root(), false), Ok(identity(1000, 5, &[], Some("/srv/app"))));
        assert_eq!(ask("1000:wheel", None, &root(), false), Ok(identity(1000, 10, &[], Some("/srv/app"))));
        assert_eq!(ask("4242:0", None, &root(), false), Ok(identity(4242, 0, &[], Some("/"))));
    }

    #[test]
    fn configured_groups_are_exactly_those() {
        assert_eq!(ask("app", Some(&[]), &root(), false).unwrap().groups, [] as [u32; 0]);
        assert_eq!(ask("app", Some(&["wheel", "3", "10", "solo"]), &root(), false).unwrap().groups, [3, 10, 77]);
        assert_eq!(ask("", Some(&["3"]), &person(), false).unwrap().groups, [3]);
    }

    #[test]
    fn root_without_a_user_becomes_nonroot() {
        let expected = Identity { defaulted: true, ..identity(65532, 65532, &[], Some("/")) };
        assert_eq!(ask("", None, &root(), false), Ok(expected.clone()));
        assert_eq!(ask("", None, &root(), true), Ok(expected), "allow_root alone makes nobody root");
    }

    #[test]
    fn uid_0_needs_allow_root() {
        for user in ["root", "0", "0:1000", "root:app"] {
            let problems = ask(user, None, &root(), false).unwrap_err();
            assert_eq!(problems[0].message, "the app may not be uid 0", "{user}");
        }
        assert_eq!(ask("root", None, &root(), true), Ok(identity(0, 0, &[10], None)));
    }

    #[test]
    fn another_user_without_configuration_stays_as_found_and_asks_for_no_accounts() {
        let found = resolve(&UserSettings::default(), &person(), |_| Err("must not be read".into()));
        assert_eq!(found, Ok(identity(1000, 0, &[7, 2000], None)));
    }

    #[test]
    fn the_own_ids_written_out_keep_the_groups_as_found() {
        assert_eq!(ask("1000:0", None, &person(), false), Ok(identity(1000, 0, &[7, 2000], None)));
        assert_eq!(ask("app:root", None, &person(), false), Ok(identity(1000, 0, &[7, 2000], None)));
        assert_eq!(ask("app", None, &person(), false), Ok(identity(1000, 1001, &[5, 10], None)), "another gid");
        assert_eq!(ask("1000:0", Some(&[]), &person(), false), Ok(identity(1000, 0, &[], None)));
    }

    #[test]
    fn every_unknown_name_is_reported_with_the_nearest() {
        let problems = ask("ap:weel", Some(&["audi", "5", "nothing-like-it"]), &root(), false).unwrap_err();
        let lines: Vec<_> =
            problems.iter().map(|problem| (problem.setting, &*problem.message, problem.hint.as_deref())).collect();
        assert_eq!(
            lines,
            [
                (Setting::User, "no user `ap` in /etc/passwd", Some("did you mean `app`?")),
                (Setting::User, "no group `weel` in /etc/group", Some("did you mean `wheel`?")),
                (Setting::Groups(0), "no group `audi` in /etc/group", Some("did you mean `audio`?")),
                (
                    Setting::Groups(2),
                    "no group `nothing-like-it` in /etc/group",
                    Some("add it to the image, or write its number")
                ),
            ]
        );
    }

    #[test]
    fn groups_are_asked_for_only_by_name() {
        for (user, groups, expected) in
            [("1000:5", &["7"][..], false), ("app", &[], true), ("1000:wheel", &[], true), ("1000", &["wheel"], true)]
        {
            let groups = groups.iter().map(|group| Name::parse(group).unwrap()).collect();
            let wanted =
                UserSettings { user: Some(UserName::parse(user).unwrap()), groups: Some(groups), allow_root: false };
            let mut asked = None;
            resolve(&wanted, &root(), |with_groups| {
                asked = Some(with_groups);
                Ok(Accounts::parse(PASSWD, GROUP))
            })
            .unwrap();
            assert_eq!(asked, Some(expected), "{user}");
        }
    }

    #[test]
    fn the_own_ids_by_number_ask_for_no_accounts() {
        let ask = |user: &str| {
            let wanted = UserSettings { user: Some(UserName::parse(user).unwrap()), ..UserSettings::default() };
            resolve(&wanted, &person(), |_| Err("cannot read `/etc/passwd`: x".into()))
        };
        assert_eq!(ask("1000:0"), Ok(identity(1000, 0, &[7, 2000], None)));
        assert_eq!(ask("1000:5"), Ok(identity(1000, 5, &[], None)));
        for user in ["1000", "app", "1001:0", "1000:wheel"] {
            assert_eq!(ask(user).unwrap_err()[0].message, "cannot read `/etc/passwd`: x", "{user}");
        }
    }

    #[test]
    fn accounts_that_cannot_be_read_are_a_problem_where_they_are_needed() {
        let wanted = UserSettings { user: Some(UserName::parse("1000").unwrap()), ..UserSettings::default() };
        let problems = resolve(&wanted, &root(), |_| Err("cannot read `/etc/passwd`: x".into())).unwrap_err();
        assert_eq!(problems[0].message, "cannot read `/etc/passwd`: x");
    }
}
