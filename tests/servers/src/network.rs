//! A network of the test's own, in which a test can use the addresses of the clouds' metadata services.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::requirements::{find_program, is_root, require};

/// The address of the metadata services.
pub const LINK_LOCAL: &str = "169.254.169.254";

/// Adds an address to the test's own network: `169.254.170.2/32`, `fd00:ec2::254/128`.
pub fn take_address(address: &str) {
    // Nobody else has this address. Without this option, IPv6 would check that first, and nothing could listen meanwhile.
    let unasked = address.contains(':').then_some("nodad");
    let words = ["address", "add", address, "dev", "lo"].into_iter().chain(unasked);
    let done = Command::new("ip").args(words).status().expect("there is ip");
    assert!(done.success(), "ip address add {address}");
}

/// Runs this in a network that has only loopback, with the address [`LINK_LOCAL`]. Processes that it starts listen only in this
/// network; they reach servers outside only through Unix sockets. Needs root; without root it is `None`.
pub fn in_own_network<T: Send>(what: impl FnOnce() -> T + Send) -> Option<T> {
    if !require(is_root() && find_program("ip").is_some(), "root and ip") {
        return None;
    }
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::scope(|scope| {
        // Use a separate thread, because a thread cannot return from its network namespace.
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network");
            for words in ["link set lo up", "address add 169.254.169.254/32 dev lo"] {
                let done = Command::new("ip").args(words.split(' ')).status().expect("there is ip");
                assert!(done.success(), "ip {words}");
            }
            what()
        });
        match thread.expect("there is room for a thread").join() {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
