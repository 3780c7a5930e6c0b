//! Attacks on files: the worker cannot write, create, move, remove, truncate, lock or relabel a file.

use super::{Call, FIRST, Must, Table, Targets};

const HERE: i64 = libc::AT_FDCWD as i64;
/// Bits that the kernel ignores in an argument of type `int`.
const HIGH: i64 = 1 << 32;

const FS_IOC_SETFLAGS: i64 = 0x4008_6602;
const FS_IOC_FSSETXATTR: i64 = 0x401c_5820;
const FS_IOC_SETVERSION: i64 = 0x4008_7602;
const FS_IOC_ENABLE_VERITY: i64 = 0x4080_6685;
const FICLONE: i64 = 0x4004_9409;
const FIFREEZE: i64 = 0xc004_5877;
const F_NOTIFY: i64 = 1026;
const F_SETLEASE: i64 = 1024;
const F_ADD_SEALS: i64 = 1033;
const F_SET_RW_HINT: i64 = 1036;
const F_OFD_SETLK: i64 = 37;
const QUOTACTL_FD: i64 = 443;
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

pub fn add(table: &mut Table, on: &Targets) {
    opening(table, on);
    names(table, on);
    attributes(table, on);
    contents(table, on);
    mounts(table, on);
}

fn opening(table: &mut Table, on: &Targets) {
    let flags: [(&str, i64, i32); 12] = [
        ("to_write", on.file, libc::O_WRONLY),
        ("to_read_and_write", on.file, libc::O_RDWR),
        ("with_access_3", on.file, libc::O_ACCMODE),
        ("to_append", on.file, libc::O_WRONLY | libc::O_APPEND),
        ("to_truncate", on.file, libc::O_WRONLY | libc::O_TRUNC),
        ("to_read_and_truncate", on.file, libc::O_RDONLY | libc::O_TRUNC),
        ("to_create", on.new, libc::O_WRONLY | libc::O_CREAT),
        ("to_read_and_create", on.new, libc::O_RDONLY | libc::O_CREAT),
        ("to_create_alone", on.new, libc::O_RDONLY | libc::O_CREAT | libc::O_EXCL),
        ("without_a_name", on.place, libc::O_RDWR | libc::O_TMPFILE),
        ("to_read_without_a_name", on.place, libc::O_TMPFILE),
        ("to_create_a_path_only", on.new, libc::O_CREAT | libc::O_PATH | libc::O_TRUNC),
    ];
    for (name, path, flags) in flags {
        let flags = i64::from(flags);
        table.add(Must::Fail, &format!("openat_{name}"), vec![Call(libc::SYS_openat, vec![HERE, path, flags, 0o666])]);
        #[cfg(target_arch = "x86_64")]
        table.add(Must::Fail, &format!("open_{name}"), vec![Call(libc::SYS_open, vec![path, flags, 0o666])]);
    }
    let write = i64::from(libc::O_WRONLY);
    let how = table.words(&[write, 0, 0]);
    let memory = table.text("/proc/self/mem");
    table.refuse(&[
        ("openat_to_write_with_a_high_half", libc::SYS_openat, &[HERE, on.file, write | HIGH]),
        ("openat2_to_write", libc::SYS_openat2, &[HERE, on.file, how, 24]),
        ("its_own_memory_as_a_file", libc::SYS_openat, &[HERE, memory, libc::O_RDWR.into()]),
        ("inotify_add_watch", libc::SYS_inotify_add_watch, &[2, on.file, libc::IN_MODIFY.into()]),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, &[HERE, on.file, on.scratch, on.scratch, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, &[HERE, on.scratch, 0]),
    ]);
    #[cfg(target_arch = "x86_64")]
    table.refuse(&[("creat", libc::SYS_creat, &[on.new, 0o666])]);
}

fn names(table: &mut Table, on: &Targets) {
    let fifo = i64::from(libc::S_IFIFO | 0o666);
    let device = i64::from(libc::S_IFCHR | 0o666);
    table.refuse(&[
        ("mkdirat", libc::SYS_mkdirat, &[HERE, on.new, 0o777]),
        ("mknodat_of_a_fifo", libc::SYS_mknodat, &[HERE, on.new, fifo, 0]),
        ("mknodat_of_a_file", libc::SYS_mknodat, &[HERE, on.new, i64::from(libc::S_IFREG | 0o666), 0]),
        ("mknodat_of_a_device", libc::SYS_mknodat, &[HERE, on.new, device, 0x103]),
        ("symlinkat", libc::SYS_symlinkat, &[on.file, HERE, on.new]),
        ("linkat", libc::SYS_linkat, &[HERE, on.file, HERE, on.new, 0]),
        ("renameat", libc::SYS_renameat, &[HERE, on.other, HERE, on.new]),
        ("renameat2", libc::SYS_renameat2, &[HERE, on.other, HERE, on.file, 2]),
        ("unlinkat", libc::SYS_unlinkat, &[HERE, on.other, 0]),
        ("unlinkat_of_a_directory", libc::SYS_unlinkat, &[HERE, on.directory, libc::AT_REMOVEDIR.into()]),
    ]);
    #[cfg(target_arch = "x86_64")]
    table.refuse(&[
        ("mkdir", libc::SYS_mkdir, &[on.new, 0o777]),
        ("mknod", libc::SYS_mknod, &[on.new, fifo, 0]),
        ("symlink", libc::SYS_symlink, &[on.file, on.new]),
        ("link", libc::SYS_link, &[on.file, on.new]),
        ("rename", libc::SYS_rename, &[on.other, on.new]),
        ("unlink", libc::SYS_unlink, &[on.other]),
        ("rmdir", libc::SYS_rmdir, &[on.directory]),
    ]);
}

fn attributes(table: &mut Table, on: &Targets) {
    let name = table.text("user.x");
    let value = table.text("x");
    let in_struct = table.words(&[value, 1]);
    let file: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.file, 0]);
    // NOATIME, which the owner of the file may set.
    let flags = table.words(&[0x80]);
    let times = table.words(&[1, 0, 1, 0]);
    table.refuse(&[
        ("fchmodat", libc::SYS_fchmodat, &[HERE, on.file, 0o600]),
        ("fchmodat2", FCHMODAT2, &[HERE, on.file, 0o600, 0]),
        ("fchownat", libc::SYS_fchownat, &[HERE, on.file, on.uid, -1, 0]),
        ("utimensat", libc::SYS_utimensat, &[HERE, on.file, times, 0]),
        ("setxattr", libc::SYS_setxattr, &[on.file, name, value, 1, 0]),
        ("lsetxattr", libc::SYS_lsetxattr, &[on.file, name, value, 1, 0]),
        ("setxattrat", SETXATTRAT, &[HERE, on.file, 0, name, in_struct, 16]),
        ("removexattr", libc::SYS_removexattr, &[on.file, name]),
        ("lremovexattr", libc::SYS_lremovexattr, &[on.file, name]),
        ("removexattrat", REMOVEXATTRAT, &[HERE, on.file, 0, name]),
        ("file_setattr", FILE_SETATTR, &[HERE, on.file, on.scratch, 24, 0]),
    ]);
    table.refuse_after(
        &[file],
        &[
            ("fchmod", libc::SYS_fchmod, &[FIRST, 0o600]),
            ("fchown", libc::SYS_fchown, &[FIRST, on.uid, -1]),
            ("fsetxattr", libc::SYS_fsetxattr, &[FIRST, name, value, 1, 0]),
            ("fremovexattr", libc::SYS_fremovexattr, &[FIRST, name]),
            ("fs_ioc_setflags", libc::SYS_ioctl, &[FIRST, FS_IOC_SETFLAGS, flags]),
            ("fs_ioc_fssetxattr", libc::SYS_ioctl, &[FIRST, FS_IOC_FSSETXATTR, on.scratch]),
            ("fs_ioc_setversion", libc::SYS_ioctl, &[FIRST, FS_IOC_SETVERSION, on.scratch]),
            ("fs_ioc_enable_verity", libc::SYS_ioctl, &[FIRST, FS_IOC_ENABLE_VERITY, on.scratch]),
            ("f_set_rw_hint", libc::SYS_fcntl, &[FIRST, F_SET_RW_HINT, on.scratch]),
        ],
    );
    #[cfg(target_arch = "x86_64")]
    table.refuse(&[
        ("chmod", libc::SYS_chmod, &[on.file, 0o600]),
        ("chown", libc::SYS_chown, &[on.file, on.uid, -1]),
        ("lchown", libc::SYS_lchown, &[on.file, on.uid, -1]),
        ("utime", libc::SYS_utime, &[on.file, times]),
        ("utimes", libc::SYS_utimes, &[on.file, times]),
        ("futimesat", libc::SYS_futimesat, &[HERE, on.file, times]),
    ]);
}

fn contents(table: &mut Table, on: &Targets) {
    let file: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.file, 0]);
    // struct flock: a read lock on the whole file.
    let lock = table.words(&[0, 0, 0, 0]);
    table.refuse(&[
        ("truncate", libc::SYS_truncate, &[on.file, 0]),
        ("ftruncate_of_its_stderr", libc::SYS_ftruncate, &[2, 0]),
        ("sync", libc::SYS_sync, &[]),
        ("swapon", libc::SYS_swapon, &[on.file, 0]),
        ("acct", libc::SYS_acct, &[on.file]),
        ("fanotify_init", libc::SYS_fanotify_init, &[0, 0]),
        ("fanotify_mark", libc::SYS_fanotify_mark, &[2, 1, 1, HERE, on.file]),
        ("quotactl", libc::SYS_quotactl, &[0, on.file, 0, 0]),
        ("quotactl_fd", QUOTACTL_FD, &[2, 0, 0, 0]),
    ]);
    table.refuse_after(
        &[file],
        &[
            ("ftruncate", libc::SYS_ftruncate, &[FIRST, 0]),
            ("fallocate", libc::SYS_fallocate, &[FIRST, 0, 0, 4096]),
            ("copy_file_range", libc::SYS_copy_file_range, &[FIRST, 0, FIRST, 0, 1, 0]),
            ("splice_into_its_stderr", libc::SYS_splice, &[FIRST, 0, 2, 0, 1, 0]),
            ("sendfile_into_its_stderr", libc::SYS_sendfile, &[2, FIRST, 0, 1]),
            ("ficlone", libc::SYS_ioctl, &[FIRST, FICLONE, FIRST]),
            ("fifreeze", libc::SYS_ioctl, &[FIRST, FIFREEZE, 0]),
            ("flock", libc::SYS_flock, &[FIRST, i64::from(libc::LOCK_EX | libc::LOCK_NB)]),
            ("f_setlk", libc::SYS_fcntl, &[FIRST, libc::F_SETLK.into(), lock]),
            ("f_ofd_setlk", libc::SYS_fcntl, &[FIRST, F_OFD_SETLK, lock]),
            ("f_setlease", libc::SYS_fcntl, &[FIRST, F_SETLEASE, 0]),
            ("f_add_seals", libc::SYS_fcntl, &[FIRST, F_ADD_SEALS, 1]),
            ("syncfs", libc::SYS_syncfs, &[FIRST]),
        ],
    );
    let directory: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.place, i64::from(libc::O_DIRECTORY)]);
    // DN_MODIFY.
    table.refuse_after(&[directory], &[("f_notify", libc::SYS_fcntl, &[FIRST, F_NOTIFY, 2])]);
}

fn mounts(table: &mut Table, on: &Targets) {
    let kind = table.text("tmpfs");
    let file: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.file, 0]);
    let bind = libc::MS_BIND.cast_signed();
    table.refuse(&[
        ("mount", libc::SYS_mount, &[on.directory, on.directory, kind, bind, 0]),
        ("umount2", libc::SYS_umount2, &[on.directory, 0]),
        ("pivot_root", libc::SYS_pivot_root, &[on.directory, on.directory]),
        ("chroot", libc::SYS_chroot, &[on.directory]),
        ("open_tree", libc::SYS_open_tree, &[HERE, on.directory, 0]),
        ("open_tree_attr", OPEN_TREE_ATTR, &[HERE, on.directory, 0, on.scratch, 32]),
        ("move_mount", libc::SYS_move_mount, &[HERE, on.directory, HERE, on.directory, 0]),
        ("fsopen", libc::SYS_fsopen, &[kind, 0]),
        ("fspick", libc::SYS_fspick, &[HERE, on.directory, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, &[HERE, on.directory, 0, on.scratch, 32]),
        ("unshare", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]),
        ("unshare_of_files", libc::SYS_unshare, &[libc::CLONE_FILES.into()]),
    ]);
    table.refuse_after(
        &[file],
        &[
            ("fsconfig", libc::SYS_fsconfig, &[FIRST, 0, 0, 0, 0]),
            ("fsmount", libc::SYS_fsmount, &[FIRST, 0, 0]),
            ("setns", libc::SYS_setns, &[FIRST, 0]),
        ],
    );
}
