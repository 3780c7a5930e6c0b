//! A network of the test's own, where an address such as the clouds' metadata services have it is free to take.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::requirements::{find_program, is_root, require};

/// The metadata services' address.
pub const LINK_LOCAL: &str = "169.254.169.254";

/// Takes one more address of a network of the test's own: `169.254.170.2/32`, `fd00:ec2::254/128`.
pub fn take_address(address: &str) {
    // Nobody else has it: IPv6 would ask first, and let nothing listen meanwhile.
    let unasked = address.contains(':').then_some("nodad");
    let words = ["address", "add", address, "dev", "lo"].into_iter().chain(unasked);
    let done = Command::new("ip").args(words).status().expect("there is ip");
    assert!(done.success(), "ip address add {address}");
}

/// Runs this in a network that has nothing but loopback, with [`LINK_LOCAL`] on it. What is started and listens in there stays
/// in there; servers outside are reached by Unix sockets alone. Needs root: `None` without.
pub fn in_own_network<T: Send>(what: impl FnOnce() -> T + Send) -> Option<T> {
    if !require(is_root() && find_program("ip").is_some(), "root and ip") {
        return None;
    }
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::scope(|scope| {
        // A thread of its own, since the way back does not exist.
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
