//! Directories to test in; each is removed when it goes out of scope.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, fcntl};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A directory of mode 0755, and what is mounted on it.
pub struct Directory {
    path: PathBuf,
    mounted: bool,
}

impl Directory {
    /// In /tmp, which may be a disk or a tmpfs.
    pub fn new() -> Self {
        Self::below("/tmp")
    }

    /// On a disk, as far as a machine has one: where handfast must not put a secret.
    pub fn on_disk() -> Self {
        Self::below("/var/tmp")
    }

    /// Inside a tmpfs of the machine's: a place for secrets that an ordinary user has too.
    pub fn in_memory() -> Self {
        Self::below("/dev/shm")
    }

    /// A tmpfs of its own with these options (`mode=1777,size=64k,noexec`), which only this thread and what it starts see.
    /// Needs root.
    pub fn tmpfs(options: &str) -> Self {
        let mut directory = Self::new();
        directory.mount_here(options);
        directory
    }

    fn below(parent: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(parent).join(format!("handfast-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Whatever the umask is: the app's user has to get in.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { path, mounted: false }
    }

    fn mount_here(&mut self, options: &str) {
        // Of this thread alone: other tests run in others. What it starts inherits the namespace.
        unshare(CloneFlags::CLONE_NEWNS).expect("root may have a mount namespace");
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).expect("it is a new namespace");
        let flag = |word: &str| match word {
            "ro" => MsFlags::MS_RDONLY,
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            _ => MsFlags::empty(),
        };
        let (flags, data): (Vec<&str>, Vec<&str>) = options.split(',').partition(|word| !flag(word).is_empty());
        let flags = flags.into_iter().map(flag).collect::<MsFlags>();
        mount(Some("tmpfs"), &self.path, Some("tmpfs"), flags, Some(data.join(",").as_str()))
            .unwrap_or_else(|error| panic!("tmpfs with {options}: {error}"));
        self.mounted = true;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text, for configurations.
    pub fn text(&self) -> &str {
        self.path.to_str().expect("made of ASCII")
    }

    /// Takes the turn of a start of this uid in the directory, until the file is dropped.
    pub fn taken(&self) -> File {
        let private = self.path().join("..handfast");
        fs::create_dir(&private).expect("it is ours");
        fs::set_permissions(&private, Permissions::from_mode(0o1755)).expect("it is ours");
        let lock = private.join("lock");
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(lock).expect("it is ours");
        let whole =
            libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).expect("nobody else has it");
        file
    }

    /// A file in it, of mode 0644; its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        path
    }

    /// Lays something out in it, by a shell: with root's rights, or a stranger's.
    pub fn shell(&self, uid: Option<u32>, script: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(&self.path);
        if let Some(uid) = uid {
            shell.uid(uid).gid(uid);
        }
        let status = shell.status().expect("there is a shell");
        assert!(status.success(), "{script}: {status}");
    }

    /// The names in it, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).expect("it is there");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it is there").file_name().into_string();
        let mut names: Vec<String> = entries.map(|entry| name(entry).expect("made of ASCII")).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.mounted {
            let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}
