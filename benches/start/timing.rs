//! Starts programs and waits for their end with as little overhead as possible, since every figure includes this overhead.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::Result;
use crate::contenders::Contender;
use crate::statistics::Samples;

/// The uncounted first rounds, which fill the caches.
const WARM_UP: usize = 20;

/// Starts each contender once in each round, one after the other, so that all contenders meet the same disturbances.
pub fn interleaved(contenders: &[Contender], rounds: usize) -> Result<Vec<Samples>> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut actions = PosixSpawnFileActions::init()?;
    for number in 0..3 {
        actions.add_dup2(null.as_raw_fd(), number)?;
    }
    let attributes = PosixSpawnAttr::init()?;
    let mut durations = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..WARM_UP + rounds {
        for (contender, durations) in contenders.iter().zip(&mut durations) {
            let duration = start(contender, &actions, &attributes)
                .map_err(|why| format!("{}: {why}: {:?}", contender.name, contender.command))?;
            if round >= WARM_UP {
                durations.push(duration);
            }
        }
    }
    Ok(durations.iter().map(|durations| Samples::new(durations)).collect())
}

/// Measures from before the start until the end is known. stdin, stdout and stderr are /dev/null.
fn start(contender: &Contender, actions: &PosixSpawnFileActions, attributes: &PosixSpawnAttr) -> Result<Duration> {
    let Contender { command, environment, .. } = contender;
    let started = Instant::now();
    let process = posix_spawn(command[0].as_c_str(), actions, attributes, command, environment)?;
    let status = waitpid(process, None)?;
    let duration = started.elapsed();
    match status {
        WaitStatus::Exited(_, 0) => Ok(duration),
        status => Err(format!("{status:?}").into()),
    }
}
