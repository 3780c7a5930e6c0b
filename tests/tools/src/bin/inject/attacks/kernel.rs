//! Attacks on the machine: objects that outlive the process, wide kernel interfaces, and unknown system calls.

use super::{Call, FIRST, Must, Table, Targets};

/// mq_open and System V IPC use the same flags.
const CREATE: i64 = 0o1000 | 0o600;
/// Not every C library has this number.
const KEXEC_FILE_LOAD: i64 = if cfg!(target_arch = "x86_64") { 320 } else { 294 };
const QUEUE: &str = "handfast-inject";

pub fn add(table: &mut Table, on: &Targets) {
    objects(table, on);
    wide(table, on);
    of_the_machine(table, on);
    // Numbers that no kernel knows yet, or that do not exist: just behind the last number, and far behind it.
    for number in [480, 500, 511, 548, 600, 1000, 4096, 0x3fff_ffff] {
        table.add(Must::BeUnknown, &format!("call_{number}"), vec![Call(number, vec![])]);
    }
}

/// Calls that create or use objects that outlive their process.
fn objects(table: &mut Table, on: &Targets) {
    let name = table.text(QUEUE);
    let flags = i64::from(libc::O_RDWR | libc::O_CREAT);
    table.refuse(&[
        ("shmget", libc::SYS_shmget, &[0, 4096, CREATE]),
        ("shmat_of_others", libc::SYS_shmat, &[on.memory, 0, libc::SHM_RDONLY.into()]),
        ("shmctl_of_others", libc::SYS_shmctl, &[on.memory, 2, on.scratch]),
        ("shmdt", libc::SYS_shmdt, &[on.scratch]),
        ("semget", libc::SYS_semget, &[0, 1, CREATE]),
        ("semctl", libc::SYS_semctl, &[0, 0, 3, on.scratch]),
        ("semop", libc::SYS_semop, &[0, on.scratch, 0]),
        ("semtimedop", libc::SYS_semtimedop, &[0, on.scratch, 0, 0]),
        ("msgget", libc::SYS_msgget, &[0, CREATE]),
        ("msgctl", libc::SYS_msgctl, &[0, 3, on.scratch]),
        ("msgsnd", libc::SYS_msgsnd, &[0, on.scratch, 0, 0o4000]),
        ("msgrcv", libc::SYS_msgrcv, &[0, on.scratch, 0, 0, 0o4000]),
        ("mq_open", libc::SYS_mq_open, &[name, flags, 0o600, 0]),
        ("mq_unlink", libc::SYS_mq_unlink, &[name]),
        ("memfd_secret", 447, &[0]),
    ]);
}

/// Removes the object that a successful call has created.
pub fn remove(number: i64, result: i64) {
    let name = format!("{QUEUE}\0");
    let (number, argument) = match number {
        libc::SYS_shmget => (libc::SYS_shmctl, [result, libc::IPC_RMID.into(), 0, 0]),
        libc::SYS_semget => (libc::SYS_semctl, [result, 0, libc::IPC_RMID.into(), 0]),
        libc::SYS_msgget => (libc::SYS_msgctl, [result, libc::IPC_RMID.into(), 0, 0]),
        libc::SYS_mq_open => (libc::SYS_mq_unlink, [name.as_ptr() as i64, 0, 0, 0]),
        _ => return,
    };
    // SAFETY: these calls take numbers, and a name that lives until they return. It is no error for them if nothing is left to
    // remove.
    unsafe { libc::syscall(number, argument[0], argument[1], argument[2], argument[3]) };
}

fn wide(table: &mut Table, on: &Targets) {
    let scratch = on.scratch;
    let kind = table.text("user");
    let description = table.text("handfast");
    // keyctl: GET_KEYRING_ID of the session keyring, and JOIN_SESSION_KEYRING; the new keys go into the process keyring.
    let (session, process) = (-3, -2);
    table.refuse(&[
        ("io_uring_setup", libc::SYS_io_uring_setup, &[1, scratch]),
        ("io_uring_enter", libc::SYS_io_uring_enter, &[2, 0, 0, 0, 0, 0]),
        ("io_uring_register", libc::SYS_io_uring_register, &[2, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, &[0, scratch, 64]),
        ("perf_event_open", libc::SYS_perf_event_open, &[scratch, 0, -1, -1, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, &[1]),
        ("keyctl", libc::SYS_keyctl, &[0, session, 0, 0, 0]),
        ("keyctl_of_a_new_session", libc::SYS_keyctl, &[1, 0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, &[kind, description, description, 4, process]),
        ("request_key", libc::SYS_request_key, &[kind, description, 0, process]),
        ("timer_create", libc::SYS_timer_create, &[0, 0, scratch]),
        ("setitimer", libc::SYS_setitimer, &[0, scratch, 0]),
        ("io_setup", libc::SYS_io_setup, &[1, scratch]),
        ("vmsplice", libc::SYS_vmsplice, &[2, 0, 0, 0]),
        ("remap_file_pages", libc::SYS_remap_file_pages, &[0, 0, 0, 0, 0]),
        ("lookup_dcookie", libc::SYS_lookup_dcookie, &[0, scratch, 8]),
        ("nfsservctl", libc::SYS_nfsservctl, &[0, 0, 0]),
        ("lsm_set_self_attr", 460, &[100, scratch, 0, 0]),
        ("listmount", 458, &[scratch, scratch, 1, 0]),
    ]);
    table.refuse_after(
        &[(libc::SYS_openat, &[libc::AT_FDCWD.into(), on.file, 0])],
        &[("finit_module", libc::SYS_finit_module, &[FIRST, description, 0])],
    );
    #[cfg(target_arch = "x86_64")]
    table.refuse(&[
        ("iopl", libc::SYS_iopl, &[0]),
        ("ioperm", libc::SYS_ioperm, &[0, 1, 0]),
        ("modify_ldt", libc::SYS_modify_ldt, &[0, scratch, 8]),
        ("sysfs", libc::SYS_sysfs, &[3, 0, 0]),
        ("ustat", libc::SYS_ustat, &[0, scratch]),
    ]);
}

/// Most of these calls need capabilities that the worker does not have. The attack tries all of them.
fn of_the_machine(table: &mut Table, on: &Targets) {
    let name = table.text("handfast");
    table.refuse(&[
        ("init_module", libc::SYS_init_module, &[on.scratch, 0, name]),
        ("delete_module", libc::SYS_delete_module, &[name, 0]),
        ("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]),
        ("kexec_file_load", KEXEC_FILE_LOAD, &[-1, -1, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
        ("sethostname", libc::SYS_sethostname, &[name, 8]),
        ("setdomainname", libc::SYS_setdomainname, &[name, 8]),
        // EINVAL and EFAULT mean that the call reached the kernel. The attack prepares no valid arguments.
        ("settimeofday", libc::SYS_settimeofday, &[0, 0]),
        ("clock_settime", libc::SYS_clock_settime, &[99, on.scratch]),
        ("clock_adjtime", libc::SYS_clock_adjtime, &[99, on.scratch]),
        ("adjtimex", libc::SYS_adjtimex, &[on.scratch]),
        ("syslog", libc::SYS_syslog, &[10, 0, 0]),
        ("swapoff", libc::SYS_swapoff, &[on.file]),
        ("vhangup", libc::SYS_vhangup, &[]),
    ]);
}
