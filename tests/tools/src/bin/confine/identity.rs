//! Ids, the user namespace, capabilities and securebits.
//!
//! The ids change first. The permitted set is kept over this change, so that the later steps are still possible; [`settle`]
//! then leaves only the requested state.

use std::fs;
use std::io;

use handfast_testtools::capabilities::{ALL, set};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getgid, getuid, setgroups, setresgid, setresuid};

use crate::Step;
use crate::options::Options;

/// Sets the supplementary groups, the gid and the uid.
pub fn switch(options: &Options) -> Result<(), String> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).step("cannot keep capabilities")?;
    if let Some(groups) = &options.groups {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).step("--groups")?;
    }
    if let Some(gid) = options.gid.map(Gid::from_raw) {
        setresgid(gid, gid, gid).step("--gid")?;
    }
    if let Some(uid) = options.uid.map(Uid::from_raw) {
        setresuid(uid, uid, uid).step("--uid")?;
    }
    // The change of ids has made our own /proc files root's, including the id maps.
    prctl(libc::PR_SET_DUMPABLE, 1, 0).step("cannot become dumpable")?;
    prctl(libc::PR_SET_KEEPCAPS, 0, 0).step("cannot stop keeping capabilities")
}

/// Enters a user namespace that maps only the present ids, to `inside`.
pub fn enter_user_namespace(inside: (u32, u32)) -> Result<(), String> {
    let outside = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).step("--userns")?;
    let write =
        |name: &str, text: String| fs::write(format!("/proc/self/{name}"), text).step(&format!("--userns: {name}"));
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{} {} 1", inside.0, outside.0))?;
    write("gid_map", format!("{} {} 1", inside.1, outside.1))
}

/// Sets the state that needs capabilities: the inheritable, bounding and ambient sets, and securebits.
pub fn raise(options: &Options) -> Result<(), String> {
    let now = Sets::read().step("cannot read capabilities")?;
    let ambient = options.ambient.unwrap_or(0);
    let inheritable = options.inheritable.unwrap_or(now.inheritable) | ambient;
    // The change of ids has cleared the effective set and kept the permitted set. Set the inheritable set before the bounding
    // set, since a new inheritable capability must be in the bounding set.
    Sets { inheritable, effective: now.permitted, ..now }.write().step("--inheritable")?;
    for bit in (0..64).filter(|bit| ambient >> bit & 1 == 1) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, bit).step("--ambient")?;
    }
    // A command that is started as root regains its whole bounding set, so `--caps` must also reduce the bounding set.
    if let Some(bounding) = options.bounding.or(options.permitted) {
        let last = last_capability();
        for bit in (0..=last).filter(|bit| bounding >> bit & 1 == 0) {
            let held = prctl_value(libc::PR_CAPBSET_READ, bit).step("--bounding")? == 1;
            if held {
                prctl(libc::PR_CAPBSET_DROP, bit, 0).step("--bounding")?;
            }
        }
    }
    match options.securebits {
        Some(bits) => prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::from(bits.cast_unsigned()), 0).step("--securebits"),
        None => Ok(()),
    }
}

/// The permitted and effective sets with which the command starts.
pub fn settle(options: &Options) -> Result<(), String> {
    // A change of ids clears these sets, but a new user namespace restores them.
    let none_left = options.uid.is_some_and(|uid| uid != 0) && options.user_namespace.is_none();
    let permitted = match options.permitted {
        Some(list) => list,
        None if none_left => 0,
        None => ALL,
    };
    let now = Sets::read().step("cannot read capabilities")?;
    let permitted = now.permitted & (permitted | options.ambient.unwrap_or(0));
    Sets { permitted, effective: permitted, ..now }.write().step("--caps")
}

/// Whether this process may install a filter without setting no_new_privs.
pub fn may_filter() -> bool {
    let admin = set("SYS_ADMIN").unwrap_or(0);
    Sets::read().is_ok_and(|sets| sets.effective & admin != 0)
}

struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Version 3 of the interface: 64 bits in two halves, the lower half first.
static HEADER: Header = Header { version: 0x2008_0522, pid: 0 };

impl Sets {
    fn read() -> io::Result<Self> {
        let mut data = [[0u32; 3]; 2];
        // SAFETY: the header's version says that `data` is two structures of three u32, which it is.
        let result = unsafe { libc::syscall(libc::SYS_capget, &raw const HEADER, data.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let set = |index: usize| u64::from(data[0][index]) | u64::from(data[1][index]) << 32;
        Ok(Self { effective: set(0), permitted: set(1), inheritable: set(2) })
    }

    fn write(&self) -> io::Result<()> {
        let half = |shift: u32| [self.effective, self.permitted, self.inheritable].map(|set| (set >> shift) as u32);
        let data = [half(0), half(32)];
        // SAFETY: as in `read`.
        match unsafe { libc::syscall(libc::SYS_capset, &raw const HEADER, data.as_ptr()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The last capability that this kernel supports.
fn last_capability() -> libc::c_ulong {
    (0..64).take_while(|bit| prctl_value(libc::PR_CAPBSET_READ, *bit).is_ok()).last().unwrap_or(0)
}

fn prctl_value(operation: libc::c_int, argument: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: the operations used here take numbers only.
    match unsafe { libc::prctl(operation, argument, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

fn prctl(operation: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the operations used here take numbers only.
    match unsafe { libc::prctl(operation, first, second, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
