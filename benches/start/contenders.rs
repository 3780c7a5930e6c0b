//! The started programs: the no-op alone, with tini, with gosu, with the least code that a start with secrets needs, and with
//! handfast, with increasing numbers of secrets.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::programs::Programs;
use crate::scratch::Scratch;
use crate::{NONROOT, Result};

pub const ONE_SECRET: &str = "handfast, 1 by fd";
pub const TEN_SECRETS: &str = "handfast, 10 by fd";

/// A directory on a tmpfs on every usual machine.
const SHARED_MEMORY: &str = "/dev/shm";

/// A way to start the no-op.
pub struct Contender {
    pub name: String,
    pub command: Vec<CString>,
    /// The environment, which is empty for a start without a store.
    pub environment: Vec<CString>,
    /// The directory of the files, which exists as long as the contender.
    _files: Option<Scratch>,
}

/// The contenders as root: the app becomes another user, as with gosu.
pub fn as_root(programs: &Programs) -> Result<Vec<Contender>> {
    let user = format!("{NONROOT}:{NONROOT}");
    let mut all = vec![direct(programs)?];
    all.extend(rival("tini", &["-s", "--"], programs)?);
    all.extend(rival("gosu", &[&user], programs)?);
    all.extend(least(&[&NONROOT.to_string()], programs)?);
    all.extend(handfast(&["--user", &user], programs)?);
    Ok(all)
}

/// The contenders as an ordinary user: the user does not change, and there is no gosu, which needs root.
pub fn as_user(programs: &Programs) -> Result<Vec<Contender>> {
    let mut all = vec![direct(programs)?];
    all.extend(rival("tini", &["-s", "--"], programs)?);
    all.extend(least(&[], programs)?);
    all.extend(handfast(&[], programs)?);
    Ok(all)
}

fn direct(programs: &Programs) -> Result<Contender> {
    before_no_op("no-op", &[""; 0], programs, None)
}

fn rival(name: &str, options: &[&str], programs: &Programs) -> Result<Option<Contender>> {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let paths = directories.iter().map(|directory| format!("{directory}/{name}"));
    let Some(path) = paths.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: {name}: needs the Debian package {name}");
        return Ok(None);
    };
    let words: Vec<&str> = std::iter::once(path.as_str()).chain(options.iter().copied()).collect();
    before_no_op(name, &words, programs, None).map(Some)
}

/// Makes only the system calls that every start needs.
fn least(id: &[&str], programs: &Programs) -> Result<Vec<Contender>> {
    let program = programs.least.display().to_string();
    let start = |(name, secrets)| {
        let words = [&[program.as_str(), secrets], id, &["--"]].concat();
        before_no_op(name, &words, programs, None)
    };
    [("the least, 1 by fd", "1"), ("the least, 10 by fd", "10")].map(start).into_iter().collect()
}

fn handfast(options: &[&str], programs: &Programs) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    for (name, secrets) in
        [("handfast, no secret", 0), (ONE_SECRET, 1), (TEN_SECRETS, 10), ("handfast, 100 by fd", 100)]
    {
        all.push(before_no_op(name, &handfast_words(options, secrets, programs), programs, None)?);
    }
    // It stays in front of the app as tini does; no secret in a descriptor changes, so it is one process.
    for (name, secrets) in [("supervise, no secret", 0), ("supervise, 10 by fd", 10)] {
        let words = handfast_words(&[options, &["--supervise"]].concat(), secrets, programs);
        all.push(before_no_op(name, &words, programs, None)?);
    }
    let shared = Path::new(SHARED_MEMORY);
    if !statfs(shared).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC) {
        println!("skipped: secrets as files: needs a tmpfs on {SHARED_MEMORY}");
        return Ok(all);
    }
    for (name, secrets) in [("handfast, 1 as file", 1), ("handfast, 10 as files", 10)] {
        let files = Scratch::new(shared)?;
        let directory = files.path().display().to_string();
        let options = [options, &["--dir", &directory]].concat();
        all.push(before_no_op(name, &handfast_words(&options, secrets, programs), programs, Some(files))?);
    }
    Ok(all)
}

/// The command `handfast run … --`.
pub fn handfast_words(options: &[&str], secrets: usize, programs: &Programs) -> Vec<String> {
    let mut words = vec![programs.handfast.display().to_string(), "run".into()];
    words.extend(options.iter().map(ToString::to_string));
    words.extend((0..secrets).flat_map(|number| ["--secret".into(), format!("secret-{number}=mock:{number}")]));
    words.push("--".into());
    words
}

/// The command `words… no-op`.
fn before_no_op(
    name: &str,
    words: &[impl AsRef<str>],
    programs: &Programs,
    files: Option<Scratch>,
) -> Result<Contender> {
    let mut command: Vec<CString> = words.iter().map(|word| CString::new(word.as_ref())).collect::<Result<_, _>>()?;
    command.push(CString::new(programs.noop.as_os_str().as_bytes())?);
    Ok(Contender { name: name.to_owned(), command, environment: Vec::new(), _files: files })
}
