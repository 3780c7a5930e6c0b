//! Finds the command before anything is fetched, so that nothing is delivered for a wrong command.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::failure::failure;
use super::file_capabilities;
use super::format::{self, Format, Needed};
use super::walk::{End, Inode, walk};
use crate::error::{Class, Error, Result, reason};
use crate::plan::Isolation;

/// The PATH for an app that has none, as in Docker.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that was found, and that the app may execute as far as this process can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The command's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The result for one candidate.
enum Candidate {
    Executable,
    Missing,
    /// This process cannot see whether the file exists; the app can.
    Unseen,
    Refused(Error),
    /// The kernel would refuse its content. As for execvp(3), it ends the search: another program would get its secrets.
    Broken(Error),
}

/// Finds `command` as the app's user would: a name is searched in the app's PATH, without its relative and empty entries; a path
/// with a `/` is taken as it is.
pub fn resolve(command: &OsStr, path: Option<&OsStr>, isolation: &Isolation) -> Result<Program> {
    if command.is_empty() {
        return Err(failure(Class::CommandNotFound, "cannot execute the command: it is empty".into()));
    }
    if command.as_bytes().contains(&b'/') {
        return resolve_path(PathBuf::from(command), isolation);
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    let mut unseen = None;
    for directory in path.as_bytes().split(|byte| *byte == b':').filter(|directory| directory.starts_with(b"/")) {
        let candidate = Path::new(OsStr::from_bytes(directory)).join(command);
        match examine(&candidate, isolation) {
            Candidate::Executable => return Ok(Program { path: candidate }),
            Candidate::Missing => {}
            Candidate::Unseen => unseen = unseen.or(Some(candidate)),
            Candidate::Refused(error) => refused = refused.or(Some(error)),
            Candidate::Broken(error) => return Err(error),
        }
    }
    match (unseen, refused) {
        (Some(path), _) => Ok(Program { path }),
        (None, Some(error)) => Err(error),
        (None, None) => {
            let message = format!("cannot find the command `{}` in PATH `{}`", command.display(), path.display());
            Err(failure(Class::CommandNotFound, message)
                .hint("give its absolute path, or set PATH; empty and relative entries of PATH are skipped"))
        }
    }
}

fn resolve_path(path: PathBuf, isolation: &Isolation) -> Result<Program> {
    match examine(&path, isolation) {
        Candidate::Executable | Candidate::Unseen => Ok(Program { path }),
        Candidate::Refused(error) | Candidate::Broken(error) => Err(error),
        Candidate::Missing => {
            let message = format!("cannot execute `{}`: no such file or directory", path.display());
            Err(failure(Class::CommandNotFound, message))
        }
    }
}

fn examine(path: &Path, isolation: &Isolation) -> Candidate {
    match walk(path, isolation) {
        End::Missing => Candidate::Missing,
        End::Unseen => Candidate::Unseen,
        End::Failed(error) => Candidate::Refused(refused(path, &reason(error))),
        End::Reached { closed: Some(directory), .. } => Candidate::Refused(cannot_enter(path, &directory, isolation)),
        End::Reached { inode, closed: None } => {
            let permitted = examine_inode(path, &inode, isolation).map_err(Candidate::Refused);
            let started = permitted.and_then(|()| examine_format(path, &inode, isolation).map_err(Candidate::Broken));
            started.err().unwrap_or(Candidate::Executable)
        }
    }
}

fn examine_inode(path: &Path, inode: &Inode, isolation: &Isolation) -> Result<()> {
    if !inode.is_regular() {
        let kind = if inode.is_directory() { "it is a directory" } else { "it is no regular file" };
        return Err(refused(path, kind));
    }
    if !inode.executable_for(isolation) {
        return Err(refused(path, &format!("uid {} may not execute it", isolation.uid))
            .hint(format!("{inode}; set its mode (chmod 0755) or owner in the image")));
    }
    let mount =
        statvfs(&inode.path).map_err(|error| refused(path, &format!("cannot look at its mount: {}", reason(error))))?;
    if mount.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(refused(path, "its file system is mounted noexec")
            .hint("mount it without noexec, or put the program elsewhere"));
    }
    file_capabilities::refuse_unbounded(&inode.path, &mount, isolation)
}

/// Checks the program and its interpreter as the kernel would. An interpreter may be a script itself, up to the kernel's limit.
fn examine_format(path: &Path, inode: &Inode, isolation: &Isolation) -> Result<()> {
    const DEEPEST: usize = 4;
    let mut file = inode.path.clone();
    for _ in 0..DEEPEST {
        let (needed, program) = match format::of(&file) {
            Format::Plain => return Ok(()),
            Format::Refused(why, hint) => return Err(refused(path, &format!("exec format error: {why}")).hint(hint)),
            Format::Needs(needed, program) => (needed, program),
        };
        let (name, shown) = (needed.name(), program.display().to_string());
        file = match walk(&program, isolation) {
            End::Reached { inode, closed: None } if inode.is_regular() && inode.executable_for(isolation) => inode.path,
            // This process cannot see the file: the kernel decides at exec.
            End::Unseen | End::Failed(_) => return Ok(()),
            End::Missing => {
                let hint = "the file exists: its `#!` interpreter or its ELF loader does not, in this image";
                return Err(refused(path, &format!("its {name} `{shown}` does not exist")).hint(hint));
            }
            End::Reached { .. } => {
                let why = format!("uid {} may not execute its {name} `{shown}`", isolation.uid);
                return Err(refused(path, &why).hint("set its mode, and those of its directories, in the image"));
            }
        };
        if needed == Needed::Loader {
            return Ok(());
        }
    }
    Ok(())
}

fn cannot_enter(path: &Path, directory: &Inode, isolation: &Isolation) -> Error {
    refused(path, &format!("uid {} cannot enter the directory `{}`", isolation.uid, directory.path.display()))
        .hint(format!("{directory}; let others enter it (chmod o+x), or put the program elsewhere"))
}

fn refused(path: &Path, why: &str) -> Error {
    failure(Class::NotExecutable, format!("cannot execute `{}`: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sys::capabilities::{DAC_OVERRIDE, DAC_READ_SEARCH, bit};

    /// A directory tree below the temporary directory, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = Path::new("/tmp").join(format!("handfast-search-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn directory(&self, name: &str, mode: u32) {
            fs::create_dir_all(self.path(name)).unwrap();
            fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn file(&self, name: &str, mode: u32) {
            fs::write(self.path(name), "\0").unwrap();
            fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn link(&self, target: impl AsRef<Path>, name: &str) {
            symlink(target, self.path(name)).unwrap();
        }

        fn resolve(&self, name: &str, isolation: &Isolation) -> Result<PathBuf> {
            resolve(self.path(name).as_os_str(), None, isolation).map(|program| program.path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// An identity that is neither the owner of anything in the tree nor a member of its group.
    fn stranger() -> Isolation {
        Isolation {
            uid: 54321,
            gid: 54321,
            groups: vec![],
            defaulted: false,
            capabilities: 0,
            core_dumps: false,
            strict: false,
        }
    }

    fn owner() -> Isolation {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Isolation { uid, gid, ..stranger() }
    }

    fn member() -> Isolation {
        Isolation { groups: vec![nix::unistd::getegid().as_raw()], ..stranger() }
    }

    #[test]
    fn each_identity_is_judged_by_its_own_mode_bits() {
        let tree = Tree::new("modes");
        for (mode, owner_may, member_may, stranger_may) in [
            (0o700, true, false, false),
            (0o070, false, true, false),
            (0o007, false, false, true),
            (0o755, true, true, true),
            (0o644, false, false, false),
            (0o111, true, true, true),
        ] {
            let name = format!("{mode:o}");
            tree.file(&name, mode);
            for (identity, may) in [(owner(), owner_may), (member(), member_may), (stranger(), stranger_may)] {
                assert_eq!(tree.resolve(&name, &identity).is_ok(), may, "{name} {}", identity.uid);
            }
        }
    }

    #[test]
    fn a_file_without_an_execute_bit_says_its_mode_and_owner() {
        let tree = Tree::new("mode-hint");
        tree.file("x", 0o644);
        let error = tree.resolve("x", &stranger()).unwrap_err();
        let path = tree.path("x").display().to_string();
        assert_eq!(error.class, Class::NotExecutable);
        assert_eq!(error.message, format!("cannot execute `{path}`: uid 54321 may not execute it"));
        let Isolation { uid, gid, .. } = owner();
        let hint = error.hint.unwrap();
        assert!(hint.starts_with(&format!("`{path}` has mode 0644 and owner {uid}:{gid}; ")), "{hint}");
    }

    #[test]
    fn a_directory_that_the_uid_cannot_enter_is_named_also_behind_links() {
        let tree = Tree::new("closed");
        tree.directory("private", 0o700);
        tree.file("private/x", 0o755);
        tree.link("private/x", "relative");
        tree.link(tree.path("private/x"), "absolute");
        tree.link("private", "directory");
        for name in ["private/x", "relative", "absolute", "directory/x", "./private/../private/x"] {
            let error = tree.resolve(name, &stranger()).unwrap_err();
            assert_eq!(error.class, Class::NotExecutable, "{name}");
            assert!(error.message.contains(": uid 54321 cannot enter the directory `"), "{error}");
            assert!(error.message.ends_with("/private`"), "{error}");
            tree.resolve(name, &owner()).unwrap();
        }
    }

    #[test]
    fn what_is_missing_behind_a_closed_directory_is_missing() {
        let tree = Tree::new("missing");
        tree.directory("private", 0o700);
        tree.file("file", 0o755);
        for name in ["private/x", "nothing", "file/x", "nothing/../file"] {
            assert_eq!(tree.resolve(name, &stranger()).unwrap_err().class, Class::CommandNotFound, "{name}");
        }
    }

    #[test]
    fn kept_capabilities_count_as_the_kernel_counts_them() {
        let tree = Tree::new("capabilities");
        tree.directory("private", 0o700);
        tree.file("private/x", 0o700);
        tree.file("none", 0o644);
        let with = |number| Isolation { capabilities: bit(number), ..stranger() };
        tree.resolve("private/x", &with(DAC_OVERRIDE)).unwrap();
        assert!(tree.resolve("none", &with(DAC_OVERRIDE)).is_err(), "it needs one execute bit");
        let error = tree.resolve("private/x", &with(DAC_READ_SEARCH)).unwrap_err();
        assert!(error.message.ends_with("may not execute it"), "the directory opens, the file does not: {error}");
    }

    #[test]
    fn only_a_regular_file_is_a_command() {
        let tree = Tree::new("kinds");
        tree.directory("directory", 0o755);
        tree.link("loop", "loop");
        for (name, why) in [("directory", "it is a directory"), ("loop", "too many symbolic links encountered")] {
            let error = tree.resolve(name, &stranger()).unwrap_err();
            assert_eq!(error.class, Class::NotExecutable);
            assert!(error.message.ends_with(why), "{error}");
        }
        let error = resolve("/dev/null".as_ref(), None, &stranger()).unwrap_err();
        assert_eq!(error.message, "cannot execute `/dev/null`: it is no regular file");
    }

    #[test]
    fn path_is_searched_like_execvp_but_never_relative_to_the_working_directory() {
        let tree = Tree::new("path");
        for directory in ["first", "second", "closed"] {
            tree.directory(directory, 0o755);
        }
        tree.file("first/plain", 0o644);
        tree.file("second/plain", 0o755);
        tree.file("first/only-plain", 0o644);
        tree.file("closed/hidden", 0o755);
        tree.directory("closed", 0o700);
        let entry = |name: &str| tree.path(name).display().to_string();
        let path = format!("::.:first:{}:{}:{}:", entry("first"), entry("second"), entry("closed"));
        let find = |command: &str| resolve(command.as_ref(), Some(path.as_ref()), &stranger());

        assert_eq!(find("plain").unwrap().path, tree.path("second/plain"), "the search goes on after a plain file");
        assert_eq!(find("only-plain").unwrap_err().class, Class::NotExecutable);
        assert_eq!(find("hidden").unwrap_err().class, Class::NotExecutable);
        let missing = find("nothing").unwrap_err();
        assert_eq!(missing.class, Class::CommandNotFound);
        assert_eq!(missing.message, format!("cannot find the command `nothing` in PATH `{path}`"));
    }

    #[test]
    fn empty_and_relative_entries_of_path_are_skipped() {
        // The tests run in the package's directory, so a relative PATH would find this file.
        fs::metadata("Cargo.toml").unwrap();
        for entries in ["", ":", ".", "./", "src/..", ":.:"] {
            let error = resolve("Cargo.toml".as_ref(), Some(entries.as_ref()), &stranger()).unwrap_err();
            assert_eq!(error.class, Class::CommandNotFound, "{entries}");
        }
    }

    #[test]
    fn without_path_the_usual_directories_are_searched() {
        let found = resolve("true".as_ref(), None, &stranger()).unwrap();
        assert!(DEFAULT_PATH.split(':').any(|directory| found.path == Path::new(directory).join("true")));
        assert_eq!(resolve("".as_ref(), None, &stranger()).unwrap_err().class, Class::CommandNotFound);
    }
}
