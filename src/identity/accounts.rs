//! Reads `/etc/passwd` and `/etc/group`. libc's functions are not used: they would ask nscd or load plugins, as root.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;

use handfast_core::{did_you_mean, excerpt};

use super::name::{Name, parse_id};
use super::problem::{Problem, Setting};
use crate::error::reason;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The largest file that is read: about 80 000 accounts, far more than any image has.
const LIMIT: u64 = 8 << 20;

/// The accounts of this image: the text of the two files. Most starts look for one entry, so each look-up parses the lines until
/// it finds its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

struct User<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t [u8],
}

struct Group<'t> {
    name: &'t str,
    gid: u32,
    members: &'t [u8],
}

impl Accounts {
    /// Reads the users, and the groups if asked. A file that does not exist counts as empty.
    pub fn read(with_groups: bool) -> Result<Self, String> {
        let read = |path: &str| read(path).map_err(|error| format!("cannot read `{path}`: {}", reason(error)));
        Ok(Self { passwd: read(PASSWD)?, group: if with_groups { read(GROUP)? } else { Vec::new() } })
    }

    /// The accounts in these texts.
    #[cfg(test)]
    pub(super) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { passwd: passwd.into(), group: group.into() }
    }

    /// The uid of a user.
    pub(super) fn uid(&self, user: &Name) -> Result<u32, Problem> {
        match user {
            Name::Number(uid) => Ok(*uid),
            Name::Text(name) => self.named(name).map(|user| user.uid).ok_or_else(|| {
                unknown(
                    Setting::User,
                    &format!("no user `{}` in {PASSWD}", excerpt(name)),
                    name,
                    self.users().map(|user| user.name),
                )
            }),
        }
    }

    /// The gid of a group.
    pub(super) fn gid(&self, group: &Name, setting: Setting) -> Result<u32, Problem> {
        match group {
            Name::Number(gid) => Ok(*gid),
            Name::Text(name) => {
                self.groups().find(|group| group.name == *name).map(|group| group.gid).ok_or_else(|| {
                    unknown(
                        setting,
                        &format!("no group `{}` in {GROUP}", excerpt(name)),
                        name,
                        self.groups().map(|group| group.name),
                    )
                })
            }
        }
    }

    /// The gid of the user's entry, else the uid.
    pub(super) fn primary_group(&self, user: &Name, uid: u32) -> u32 {
        self.entry(Some(user), uid).map_or(uid, |user| user.gid)
    }

    /// The home of the user's entry, else `/`.
    pub(super) fn home(&self, user: Option<&Name>, uid: u32) -> OsString {
        match self.entry(user, uid) {
            Some(user) if !user.home.is_empty() => OsString::from_vec(user.home.into()),
            _ => "/".into(),
        }
    }

    /// The groups that have this user as a member.
    pub(super) fn groups_of(&self, name: &str) -> Vec<u32> {
        let has = |group: &Group<'_>| group.members.split(|byte| *byte == b',').any(|member| member == name.as_bytes());
        self.groups().filter(|group| !name.is_empty() && has(group)).map(|group| group.gid).collect()
    }

    /// The entry with the user's name, because several entries may have the same uid. Otherwise, the first entry with the uid.
    fn entry(&self, user: Option<&Name>, uid: u32) -> Option<User<'_>> {
        match user {
            Some(Name::Text(name)) => self.named(name),
            _ => self.users().find(|user| user.uid == uid),
        }
    }

    fn named(&self, name: &str) -> Option<User<'_>> {
        self.users().find(|user| user.name == name)
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        lines(&self.passwd).filter_map(user)
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        lines(&self.group).filter_map(group_entry)
    }
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    // Non-blocking: a FIFO in place of the file then fails below instead of blocking the start.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    // One byte more than the size, so that one read(2) reaches the end. A wrong size only costs further reads.
    let mut bytes = Vec::with_capacity(metadata.len().min(LIMIT) as usize + 1);
    if file.take(LIMIT + 1).read_to_end(&mut bytes)? as u64 > LIMIT {
        return Err(io::Error::other(format!("it is larger than {LIMIT} bytes")));
    }
    Ok(bytes)
}

/// The lines that may be an entry. Lines that are malformed or refer to another source (NIS) are skipped, as libc does. Lines
/// with a NUL are skipped too: it would cut the home short in the environment.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.contains(&0) && !matches!(line.first(), None | Some(b'#' | b'+' | b'-')))
}

/// The fields of a line; `None` unless it has exactly `COUNT`.
fn fields<const COUNT: usize>(line: &[u8]) -> Option<[&[u8]; COUNT]> {
    let mut found: [&[u8]; COUNT] = [&[]; COUNT];
    let mut rest = line.split(|byte| *byte == b':');
    for field in &mut found {
        *field = rest.next()?;
    }
    rest.next().is_none().then_some(found)
}

fn user(line: &[u8]) -> Option<User<'_>> {
    let [name, _, uid, gid, _, home, _] = fields(line)?;
    Some(User { name: name_field(name)?, uid: id(uid)?, gid: id(gid)?, home })
}

fn group_entry(line: &[u8]) -> Option<Group<'_>> {
    let [name, _, gid, members] = fields(line)?;
    Some(Group { name: name_field(name)?, gid: id(gid)?, members })
}

/// The name in a field; `None` if it is empty or not UTF-8. Settings are UTF-8, so no other name can be looked up.
fn name_field(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok().filter(|name| !name.is_empty())
}

fn id(field: &[u8]) -> Option<u32> {
    parse_id(std::str::from_utf8(field).ok()?).ok()
}

fn unknown<'a>(setting: Setting, message: &str, wrong: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let hint = did_you_mean(wrong, known).unwrap_or_else(|| "add it to the image, or write its number".into());
    Problem { setting, message: message.into(), hint: Some(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &[u8]) -> Vec<(String, u32, u32)> {
        Accounts::parse(text, b"").users().map(|user| (user.name.to_owned(), user.uid, user.gid)).collect()
    }

    #[test]
    fn malformed_lines_are_skipped_and_the_others_count() {
        let text = b"# comment\n\n+nis:x:1:1:::\n-gone:x:1:1:::\n+\nshort:x:1:1\nlong:x:1:1:a:b:c:d\n:x:1:1:::\n\
            sign:x:+1:1:::\nminus:x:-1:1:::\nhex:x:0x1:1:::\nbig:x:4294967295:1:::\nbigger:x:1:4294967296:::\n\
            space:x: 1:1:::\nempty:x::1:::\nzero:x:010:1:::\nnul:x:1:1::/a\0b:\nbad\xff:x:1:1:::\nfine:x:7:8:\xff:/h\xff:/bin/sh";
        assert_eq!(users(text), [("fine".to_owned(), 7, 8)]);
        let home = Accounts::parse(text, b"").home(None, 7);
        assert_eq!(home, OsString::from_vec(b"/h\xff".to_vec()));
    }

    #[test]
    fn the_first_of_two_entries_counts() {
        let accounts = Accounts::parse(b"a:x:1:1::/one:\na:x:2:2::/two:\nb:x:1:9::/three:\n", b"");
        assert_eq!(accounts.uid(&Name::Text("a".into())), Ok(1));
        assert_eq!(accounts.primary_group(&Name::Number(1), 1), 1);
        assert_eq!(
            accounts.primary_group(&Name::Text("b".into()), 1),
            9,
            "a name's own entry, although the uid has two"
        );
    }

    #[test]
    fn members_are_whole_names() {
        let accounts = Accounts::parse(b"", b"g:x:5:app,other\nh:x:6:apple\ni:x:7:\nj:x:8:a,,app\nk:x:9\nl:x:-1:app\n");
        assert_eq!(accounts.groups_of("app"), [5, 8]);
        assert_eq!(accounts.groups_of(""), [] as [u32; 0]);
    }

    #[test]
    fn a_file_that_is_not_there_holds_nothing() {
        assert_eq!(read("/nonexistent/passwd").unwrap(), b"");
    }

    #[test]
    fn only_a_regular_file_is_read() {
        assert!(read("/dev/null").is_err());
        assert!(read("/etc").is_err());
    }

    #[test]
    fn this_machines_accounts_can_be_read() {
        assert_eq!(Accounts::read(true).unwrap().uid(&Name::Text("root".into())), Ok(0));
    }
}
