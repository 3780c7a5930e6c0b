//! `watch` after its start: keeps the files fresh until a signal ends it, or a change asks for a restart.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::earlier::Earlier;
use super::keeper::{Keeper, WorkerEvent};
use super::supervise::confine;
use crate::cage::Profile;
use crate::deliver::{Arrived, Destination};
use crate::error::{Class, Error, Phase, Result};
use crate::lockdown::{self, CoreLimit, ProcessState};
use crate::plan::{OnChange, OnStale, Plan};
use crate::report;
use crate::sys::clock::boot_time;
use crate::sys::signals;
use crate::worker::{Interrupts, Link};

const INT: u8 = libc::SIGINT as u8;
const TERM: u8 = libc::SIGTERM as u8;

/// Publishes the first set. If a store did not answer, keeps the `earlier` set, provided it is whole and fresh; then returns it.
pub fn publish_first(
    plan: &Plan,
    set: Result<Vec<Arrived>>,
    earlier: Option<Earlier>,
    destination: &mut Destination,
    check_interrupts: &dyn Fn() -> Result<()>,
) -> Result<Option<Earlier>> {
    let error = match set {
        Ok(set) => return destination.publish(plan, set, check_interrupts).map(|_| None),
        Err(error) => error,
    };
    if error.class != Class::Unavailable || !goes_on(check_interrupts())? {
        return Err(error);
    }
    let Some(set) = earlier.as_ref().and_then(Earlier::set) else { return Err(error) };
    if !destination.adopt(plan, set, check_interrupts)? {
        return Err(error);
    }
    tracing::warn!(target: "handfast", "{}: the files of the keeper before stay, and are read again", error.message);
    Ok(earlier)
}

/// Whether nothing has happened that ends the start. A signal is a failure of its own, because it is reported only once.
fn goes_on(checked: Result<()>) -> Result<bool> {
    match checked {
        Err(error) if matches!(error.class, Class::Signal(_)) => Err(error),
        // Without a working worker, the earlier set would never be read again.
        checked => Ok(checked.is_ok()),
    }
}

/// Drops every privilege that later sets do not need, and keeps the files fresh until a signal ends this process; TERM and INT are no
/// failure. `earlier` is the status of the earlier keeper whose files have stayed.
pub fn watch(
    plan: &Plan,
    earlier: Option<Earlier>,
    link: Link,
    destination: Destination,
    signals: &signals::SignalFd,
    (core_limit, found): (CoreLimit, &ProcessState),
) -> Result<()> {
    let (files, worker) = (destination.capabilities(), link.worker());
    let mut keeper = Keeper::new(plan, earlier.as_ref(), link, destination)?;
    let mut own = keeper.numbers();
    own.push(signals.as_fd().as_raw_fd());
    own.extend(report::keep_termination_log());
    lockdown::lock_keeper(&plan.isolation, files, &own, core_limit, found)?;
    keeper.reread_powers()?;
    if let Some(worker) = worker {
        confine(&plan.isolation, &Profile::of_keeper(worker, files), "`watch`")?;
    }
    let hung_up = Cell::new(false);
    let mut sidecar = Sidecar { plan, keeper, planned_exit: None };
    let ended = sidecar.run_loop(&Interrupts::of_keeper(signals, &hung_up), &hung_up);
    let is_asked_to = ended.as_ref().is_err_and(|error| matches!(error.class, Class::Signal(INT | TERM)));
    if matches!(&ended, Err(error) if matches!(error.class, Class::Signal(_))) {
        sidecar.keeper.stop_worker();
    }
    if is_asked_to { Ok(()) } else { ended }
}

struct Sidecar<'p> {
    plan: &'p Plan,
    keeper: Keeper<'p>,
    /// When to exit for a restart of the app, the secret that asks for the restart, and why.
    planned_exit: Option<(Duration, usize, &'static str)>,
}

impl Sidecar<'_> {
    fn run_loop(&mut self, interrupts: &Interrupts<'_>, hung_up: &Cell<bool>) -> Result<()> {
        loop {
            interrupts.check(Phase::Watch)?;
            if hung_up.take() {
                tracing::info!(target: "handfast", "SIGHUP: every secret is read again");
                self.keeper.read_again().map_err(lost)?;
            }
            match self.keeper.next_event(interrupts).map_err(lost)? {
                WorkerEvent::Change(secrets) => {
                    self.plan_exit_for_changes(&secrets);
                    // A restart replaces posts, as it replaces signals.
                    if self.next_exit().is_none() {
                        self.keeper.post(&secrets).map_err(lost)?;
                    }
                }
                WorkerEvent::NeedsRestart(secret) => self.plan_exit(secret, "is due anew"),
                WorkerEvent::Report => {}
                WorkerEvent::None => {
                    self.exit_if_stale()?;
                    self.exit_if_restart_is_due()?;
                    self.keeper.write_status_if_due();
                    self.keeper.wait(interrupts, self.next_exit().map(|(at, ..)| at)).map_err(lost)?;
                }
            }
        }
    }

    fn plan_exit_for_changes(&mut self, secrets: &[usize]) {
        let restarts = |secret: &&usize| self.plan.secrets[**secret].on_change == OnChange::Restart;
        if let Some(secret) = secrets.iter().find(restarts) {
            self.plan_exit(*secret, "has changed");
        }
    }

    /// Plans the exit after a random part of `splay`, and well before the secret ends.
    fn plan_exit(&mut self, secret: usize, why: &'static str) {
        let now = boot_time();
        let left = self.keeper.end(secret).map_or(Duration::MAX, |end| end.saturating_sub(now) / 2);
        let splay = self.plan.watching.splay.min(left).mul_f64(fastrand::f64());
        if self.next_exit().is_none() {
            self.planned_exit = Some((now + splay, secret, why));
        }
    }

    /// The planned exit, unless it is to wait.
    fn next_exit(&self) -> Option<(Duration, usize, &'static str)> {
        self.planned_exit.filter(|(_, secret, _)| !self.must_wait(*secret))
    }

    /// Whether the exit for this secret waits. As long as the set of an earlier keeper stays in an outage, the next start would keep that
    /// set too, get another value issued for this secret, and exit for this change again.
    fn must_wait(&self, secret: usize) -> bool {
        let was_issued = self.plan.secrets[secret].may_issue && self.keeper.end(secret).is_some();
        was_issued && self.keeper.has_unread()
    }

    fn exit_if_stale(&mut self) -> Result<()> {
        let stale = self.keeper.age();
        let Some(first) = stale.first() else { return Ok(()) };
        match self.plan.watching.on_stale {
            OnStale::Unready => Ok(()),
            OnStale::Exit => {
                self.keeper.write_status();
                Err(self.keeper.stale_error(*first))
            }
        }
    }

    /// Fails with exit code 79 once the planned exit is due.
    fn exit_if_restart_is_due(&mut self) -> Result<()> {
        match self.next_exit() {
            Some((at, secret, why)) if at <= boot_time() => {
                self.keeper.write_status();
                let message = format!("`{}` {why}, and asks for a restart", self.keeper.name(secret));
                Err(Error::new(Phase::Watch, Class::Changed, message))
            }
            _ => Ok(()),
        }
    }
}

/// The error of a keeper that has lost its worker: it ends with 70, so that its container is restarted.
fn lost(error: Error) -> Error {
    match error.class {
        Class::Signal(_) => error,
        _ => Error { class: Class::Internal, phase: Phase::Watch, ..error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_comes_with_the_failure_of_a_store_ends_the_start() {
        let failed = |class| Err(Error::new(Phase::Watch, class, "x"));
        let signalled = goes_on(failed(Class::Signal(TERM))).err().map(|error| error.class);
        assert_eq!(signalled.map(Class::exit_code), Some(143));
        assert!(matches!(goes_on(failed(Class::Internal)), Ok(false)) && matches!(goes_on(Ok(())), Ok(true)));
    }
}
