//! The supervisor of an app whose secrets can change: publishes later sets, and then notifies the app or restarts it.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};

use super::app::{App, Recipient};
use super::front::{Front, SOON};
use super::keeper::{Keeper, WorkerEvent};
use super::reaction::Reaction;
use super::recipe::{Recipe, Surroundings};
use super::supervise::{SUPERVISOR, confine, leave_directory, start_app, step_in_front, watch_all};
use crate::cage::{self, Profile};
use crate::deliver::Destination;
use crate::error::{Class, Error, Phase, Result};
use crate::lockdown::{self, Duties, ProcessState};
use crate::plan::{OnStale, Plan};
use crate::report;
use crate::sys::clock::boot_time;
use crate::worker::{Interrupts, Link};

/// Starts the app, whose first secrets are delivered, and stays until it ends. Returns the exit code.
pub fn supervise_fresh(
    plan: &Plan,
    recipe: &Recipe<'_>,
    recipient: Recipient,
    link: Link,
    mut destination: Destination,
    found: &ProcessState,
) -> Result<u8> {
    let child = recipe.spawn(&destination.app_numbers(), None)?;
    let duties = Duties { files: destination.capabilities(), restarts: plan.may_restart() };
    let surroundings = duties.restarts.then(|| Surroundings::keep(&plan.inherited)).transpose()?;
    let signals = watch_all()?;
    let mut front = step_in_front(&child, recipient, &signals)?;
    // A new file has at most the mode that its creation asks for.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    if !duties.restarts {
        cage::release_stdio().map_err(|error| Phase::Launch.cannot("let go of stdin and stdout", error))?;
        destination.close_descriptors();
        leave_directory()?;
    }
    (front.worker, front.stop_signal) = (link.worker(), plan.watching.stop_signal);
    let mut keeper = Keeper::new(plan, None, link, destination)?;
    let mut own = [front.numbers(), keeper.numbers(), vec![child.descriptor()]].concat();
    if !duties.restarts {
        own.extend(report::keep_termination_log());
    }
    if let Some(surroundings) = &surroundings {
        own.extend(plan.inherited.iter().chain(&[surroundings.number()]));
    }
    lockdown::lock_supervisor(&plan.isolation, duties, &own, recipe.core_limit, found)?;
    keeper.reread_powers()?;
    if !duties.restarts {
        let worker = front.worker.unwrap_or(child.pid);
        confine(&plan.isolation, &Profile::of_keeping_supervisor(child.pid, worker, duties.files), SUPERVISOR)?;
    }
    let front = RefCell::new(start_app(child, front)?);
    let stop = RefCell::new(None);
    // An app that ends by itself ends handfast, even in the middle of a generation.
    let handle_signals = || {
        let mut front = front.borrow_mut();
        front.handle_events()?;
        if front.is_end_requested {
            stop.borrow_mut().take_if(|stop: &mut Stop| stop.why == Why::Restart);
        }
        let is_over = front.ended.is_some() && stop.borrow().is_none();
        if is_over {
            Err(Error::new(Phase::Watch, Class::Signal(CHILD), "the app has ended"))
        } else {
            Ok(front.worker_ended)
        }
    };
    let supervisor = Supervisor {
        plan,
        recipe,
        recipient,
        surroundings,
        keeper,
        front: &front,
        stop: &stop,
        reaction: Reaction::default(),
    };
    supervisor.until_the_end(&Interrupts::of_supervisor(&signals, &handle_signals))
}

const CHILD: u8 = libc::SIGCHLD as u8;

/// The app is being stopped.
struct Stop {
    why: Why,
    /// When to kill it.
    kill: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// For a restart.
    Restart,
    /// A secret is stale, and `on_stale` says so.
    Stale(usize),
}

struct Supervisor<'a> {
    plan: &'a Plan,
    recipe: &'a Recipe<'a>,
    recipient: Recipient,
    /// `Some` if a change may restart the app.
    surroundings: Option<Surroundings>,
    keeper: Keeper<'a>,
    front: &'a RefCell<Front<'a>>,
    stop: &'a RefCell<Option<Stop>>,
    reaction: Reaction,
}

impl Supervisor<'_> {
    /// Returns the app's exit code.
    fn until_the_end(mut self, interrupts: &Interrupts<'_>) -> Result<u8> {
        let ended = self.run_loop(interrupts);
        // Without credentials to revoke, handfast ends with the app at once.
        if self.plan.revokes_on_exit {
            self.keeper.stop_worker();
        }
        if let Ok(code) = ended {
            self.reaction.report_end(code);
        }
        ended
    }

    fn run_loop(&mut self, interrupts: &Interrupts<'_>) -> Result<u8> {
        loop {
            // The signals were handled in this call; their effects are read below.
            match interrupts.check(Phase::Watch) {
                Err(error) if !matches!(error.class, Class::Signal(_)) => return Err(error),
                _ => {}
            }
            if std::mem::take(&mut self.front.borrow_mut().is_end_requested) {
                self.reaction.cancel_restart();
            }
            let (ended, worker_ended) = (self.front.borrow().ended, self.front.borrow().worker_ended);
            worker_ended.into_iter().for_each(|code| self.keeper.worker_was_reaped(code));
            if let Some(code) = ended {
                match self.stop.take().map(|stop| stop.why) {
                    None => {
                        self.front.borrow().app.dismiss();
                        return Ok(code);
                    }
                    Some(Why::Stale(secret)) => {
                        self.keeper.write_status();
                        return Err(self.keeper.stale_error(secret));
                    }
                    Some(Why::Restart) => {
                        self.front.borrow_mut().end_group()?;
                        if self.front.borrow().is_restart_cancelled()? {
                            return Ok(code);
                        }
                        self.restart_app()?;
                        // Orphans that ended with the app are still to be reaped, and no further signal announces them.
                        continue;
                    }
                }
            }
            match self.keeper.next_event(interrupts) {
                Ok(WorkerEvent::Change(secrets)) => self.react(&secrets),
                Ok(WorkerEvent::Report | WorkerEvent::NeedsRestart(_)) => {}
                Ok(WorkerEvent::None) => {
                    self.do_due_work();
                    self.keeper.write_status_if_due();
                    if let Err(error) = self.keeper.wait(interrupts, self.next_due()) {
                        self.lose(error);
                    }
                }
                Err(error) if matches!(error.class, Class::Signal(_)) => {}
                Err(error) => self.lose(error),
            }
        }
    }

    fn react(&mut self, secrets: &[usize]) {
        self.reaction.add(secrets, self.plan);
        // A restarted app reads all of its secrets.
        if self.reaction.is_restart_planned() || self.stop.borrow().is_some() {
            return;
        }
        if let Err(error) = self.keeper.post(secrets) {
            self.lose(error);
        }
    }

    /// Does the work that is due: restarts, signals, KILL after `stop_timeout`, and the end for a stale secret.
    fn do_due_work(&mut self) {
        let stale = self.keeper.age();
        if let (Some(secret), OnStale::Exit) = (stale.first(), self.plan.watching.on_stale) {
            self.stop(Why::Stale(*secret));
        }
        if self.stop.borrow().is_none() {
            match self.reaction.take_due_restart() {
                // A second signal could interrupt the app's shutdown, and a new app would not know that it is to end.
                Some(secret) if self.front.borrow().is_stop_requested => {
                    tracing::info!(target: "handfast", "`{}` has changed: the app is not started anew, because it was told to end", self.keeper.name(secret));
                }
                Some(secret) => {
                    tracing::info!(target: "handfast", "`{}` has changed: the app is started anew", self.keeper.name(secret));
                    self.stop(Why::Restart);
                }
                None => {
                    let done = self.reaction.send_due_signals(&self.front.borrow().app);
                    done.into_iter().for_each(|(signal, is_done)| self.count(Some(signal), is_done));
                }
            }
        }
        if let Some(stop) = &mut *self.stop.borrow_mut()
            && stop.kill.take_if(|kill| *kill <= boot_time()).is_some()
        {
            self.front.borrow().app.kill();
        }
    }

    /// When the supervisor's own work is due next, besides the keeper's.
    fn next_due(&self) -> Option<Duration> {
        let soon = self.front.borrow().app.has_held_back_signal().then(|| boot_time() + SOON);
        match &*self.stop.borrow() {
            Some(stop) => [stop.kill, soon].into_iter().flatten().min(),
            None => [self.reaction.next_due(), soon].into_iter().flatten().min(),
        }
    }

    /// Stops the app. A stale secret replaces a restart as the reason; no reason replaces a stale secret.
    fn stop(&self, why: Why) {
        let mut stop = self.stop.borrow_mut();
        match &mut *stop {
            None => {
                let kill = Some(boot_time() + self.plan.watching.stop_timeout);
                *stop = Some(Stop { why, kill });
                self.front.borrow().app.send_to_recipient(self.plan.watching.stop_signal);
            }
            Some(stop) if stop.why == Why::Restart => stop.why = why,
            Some(_) => {}
        }
    }

    /// After the app has ended: starts the same command with the current secrets.
    fn restart_app(&mut self) -> Result<()> {
        // The new app starts with the current secrets, so no earlier change is left to react to.
        self.reaction = Reaction::default();
        let secrets = self.keeper.reopen_descriptors()?;
        let child = self.recipe.spawn(&secrets, self.surroundings.as_ref())?;
        let app = App::new(child.pid, self.recipient)
            .map_err(|error| Phase::Launch.cannot("give the app a process group", error))?;
        let mut front = self.front.borrow_mut();
        front.replace_app(app)?;
        tracing::info!(target: "handfast", "the app is process {}", child.pid);
        front.hand_over_terminal();
        drop(front);
        child.start()?;
        self.count(None, true);
        Ok(())
    }

    /// Counts an action of a change for the metrics: a signal, or a restart (`None`).
    fn count(&mut self, signal: Option<u8>, is_done: bool) {
        if let Err(error) = self.keeper.count_action(signal, is_done) {
            self.lose(error);
        }
    }

    /// Gives the worker up. The app runs on with the secrets that it has.
    fn lose(&mut self, error: Error) {
        self.keeper.lose(&error);
        self.front.borrow_mut().worker = None;
    }
}
