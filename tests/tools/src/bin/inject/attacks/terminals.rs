//! Attacks on a terminal that the worker may share with the user who started handfast: through its standard error, and by name.

use super::{FIRST, Table, Targets};

const HERE: i64 = libc::AT_FDCWD as i64;

pub fn add(table: &mut Table, on: &Targets) {
    let requests: [(&str, i64, i64); 17] = [
        ("tcsets", 0x5402, on.scratch),
        ("tcsetsw", 0x5403, on.scratch),
        ("tcsetsf", 0x5404, on.scratch),
        ("tcseta", 0x5406, on.scratch),
        ("tcsets2", 0x402c_542b, on.scratch),
        ("tcxonc", 0x540a, 0),
        ("tcflsh", 0x540b, 2),
        ("tiocexcl", 0x540c, 0),
        ("tiocsctty", 0x540e, 0),
        ("tiocspgrp", 0x5410, on.scratch),
        ("tiocsti", 0x5412, on.scratch),
        ("tiocswinsz", 0x5414, on.scratch),
        ("tioclinux", 0x541c, on.scratch),
        ("tioccons", 0x541d, 0),
        ("tiocnotty", 0x5422, 0),
        ("tiocsetd", 0x5423, on.scratch),
        ("tiocvhangup", 0x5437, 0),
    ];
    for (name, request, argument) in requests {
        let call = [2, request, argument];
        table.refuse(&[(&format!("{name}_on_its_stderr"), libc::SYS_ioctl, &call)]);
    }
    // The original TIOCSTI, and the same number with a high half, which the kernel ignores.
    table.refuse(&[("tiocsti_with_a_high_half", libc::SYS_ioctl, &[2, 0x5412 | 1 << 32, on.scratch])]);
    if on.terminal == 0 {
        return;
    }
    let read = i64::from(libc::O_RDONLY | libc::O_NOCTTY);
    let terminal: (i64, &[i64]) = (libc::SYS_openat, &[HERE, on.terminal, read]);
    for (name, request, argument) in requests {
        let call = [FIRST, request, argument];
        table.refuse_after(&[terminal], &[(&format!("{name}_by_its_name"), libc::SYS_ioctl, &call)]);
    }
    table.refuse(&[(
        "a_terminal_to_write",
        libc::SYS_openat,
        &[HERE, on.terminal, i64::from(libc::O_RDWR | libc::O_NOCTTY)],
    )]);
}
