//! The standard descriptors at the start.

use std::io::{self, Write};
use std::os::fd::IntoRawFd;

use libc::c_int;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Class, reason};

/// libc calls the functions in this section before `main`, and so before Rust's runtime starts. The runtime would open
/// `/dev/null` for a closed descriptor too, but abort without a message if that fails.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = {
    extern "C" fn begin() {
        if let Err(error) = open_closed() {
            let why = format!("cannot prepare the standard descriptors: {}", reason(error));
            // If stderr itself could not be opened, there is no other place for the message.
            drop(io::stderr().write_all(["handfast: error: ", &why, " (os, exit 71)\n"].concat().as_bytes()));
            super::exit::now(i32::from(Class::Os.exit_code()));
        }
    }
    begin
};

/// Opens `/dev/null` for each of 0, 1 and 2 that is closed, so that no file opened later gets one of these numbers.
fn open_closed() -> io::Result<()> {
    (0..3).filter(|number| is_closed(*number)).try_for_each(|number| {
        // Stays open from now on, also over exec.
        let opened = open("/dev/null", OFlag::O_RDWR, Mode::empty())?.into_raw_fd();
        if opened == number { Ok(()) } else { Err(io::Error::other("another descriptor was the lowest")) }
    })
}

fn is_closed(number: c_int) -> bool {
    // SAFETY: F_GETFD takes a number, which the kernel only looks up.
    unsafe { libc::fcntl(number, libc::F_GETFD) == -1 }
}
