//! The standard descriptors at the start.

use std::io;

use libc::c_int;

/// Opens `/dev/null` in place of each of 0, 1 and 2 that is closed: no file of ours may be taken for one of them.
pub fn open_closed() -> io::Result<()> {
    (0..3).filter(|number| is_closed(*number)).try_for_each(|number| {
        // SAFETY: the path is a C string; the number is nobody's, and stays open from now on.
        match unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } {
            -1 => Err(io::Error::last_os_error()),
            opened if opened == number => Ok(()),
            _ => Err(io::Error::other("another descriptor was the lowest")),
        }
    })
}

fn is_closed(number: c_int) -> bool {
    // SAFETY: it takes a number, which it only looks up.
    unsafe { libc::fcntl(number, libc::F_GETFD) == -1 }
}
