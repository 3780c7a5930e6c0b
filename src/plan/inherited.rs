//! Descriptors that the app gets as handfast found them: those that the configuration keeps, and those of socket activation.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use handfast_core::{Place, Problems, Table, Value};

use super::targets::{END, FIRST};
use crate::config::Environment;
use crate::sys::descriptors::closes_on_exec;

/// The variables of systemd's protocol (sd_listen_fds(3)): a process takes them for its own where LISTEN_PID is its pid, and the
/// app keeps handfast's pid. As a child it has another, which `launch` then writes there.
const ACTIVATION: [&str; 4] = ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The channel to the parent of a program that `fork` of Node.js has started.
const CHANNEL: &str = "NODE_CHANNEL_FD";

/// As many entries as any array of the configuration has.
const MOST: usize = 1024;

/// The descriptors, and the variables that name other ones.
#[derive(Default)]
pub struct Inherited {
    /// Their numbers, sorted, each once.
    pub numbers: Vec<RawFd>,
    /// The variables that would name closed descriptors.
    pub untrue: Vec<&'static str>,
}

impl Inherited {
    /// Reads them, and looks whether each is open.
    pub fn read(app: &Table, environment: &Environment, problems: &mut Problems) -> Self {
        let mut numbers = kept(app, problems);
        let mut untrue = Vec::new();
        match activation(environment, problems) {
            Some(sockets) => numbers.extend(sockets),
            None => untrue.extend(ACTIVATION),
        }
        numbers.sort_unstable();
        numbers.dedup();
        let channel = environment.raw(CHANNEL).and_then(|number| number.to_str()?.parse().ok());
        if channel.is_none_or(|channel| !numbers.contains(&channel)) {
            untrue.push(CHANNEL);
        }
        Self { numbers, untrue }
    }
}

fn kept(app: &Table, problems: &mut Problems) -> Vec<RawFd> {
    let Some(Value::Array(items)) = app.item("keep_fds").map(|item| &item.value) else { return Vec::new() };
    // More have been reported as too many.
    if items.len() > MOST {
        return Vec::new();
    }
    let mut numbers = Vec::new();
    for item in items {
        // A number that is out of range has been reported.
        let Value::Integer(number) = item.value else { continue };
        let Some(number) = RawFd::try_from(number).ok().filter(|number| (FIRST..END).contains(number)) else {
            continue;
        };
        if !is_open(number) {
            let message = format!("`keep_fds` names the descriptor {number}, which is not open");
            let hint = "whoever starts handfast must hand it over, not close-on-exec";
            problems.add_with_hint(&item.place, message, hint);
        }
        numbers.push(number);
    }
    numbers
}

/// The sockets that were handed to this very process; `None` where the variables speak of another one, or of none.
fn activation(environment: &Environment, problems: &mut Problems) -> Option<Vec<RawFd>> {
    let number = |name: &str| environment.raw(name)?.to_str()?.parse::<RawFd>().ok();
    if number("LISTEN_PID")? != nix::unistd::getpid().as_raw() {
        return None;
    }
    let count = number("LISTEN_FDS").filter(|count| (1..END - FIRST).contains(count))?;
    let sockets: Vec<RawFd> = (FIRST..FIRST + count).take_while(|socket| is_open(*socket)).collect();
    if sockets.len() < usize::try_from(count).ok()? {
        let missing = FIRST + RawFd::try_from(sockets.len()).ok()?;
        let message = format!("LISTEN_FDS is {count}, and the descriptor {missing} is not open");
        problems.add_with_hint(&Place::Environment, message, "unset LISTEN_PID where no socket is handed over");
    }
    Some(sockets)
}

/// Whether it was handed to this process: handfast's own are close-on-exec.
fn is_open(descriptor: RawFd) -> bool {
    closes_on_exec(descriptor).is_ok_and(|closes| !closes)
}
