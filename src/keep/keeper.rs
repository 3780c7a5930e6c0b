//! The keeper of a set of secrets: publishes the changes that the worker finds, and writes the status of the secrets.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::earlier::Earlier;
use super::status::{Aged, Status};
use super::status_schedule::StatusSchedule;
use super::undelivered::Undelivered;
use crate::deliver::{Changes, Destination, Presence};
use crate::error::{Class, Error, Phase, Result};
use crate::plan::Plan;
use crate::sys::clock::{Alarm, boot_time};
use crate::sys::program;
use crate::worker::{Interrupts, Link, Message};

/// An event that a message of the worker has caused.
pub enum WorkerEvent {
    /// No message has arrived.
    None,
    /// A secret was read, or could not be; or a generation could not be published.
    Report,
    /// A generation was published, in which these secrets have changed.
    Change(Vec<usize>),
    /// This secret is due to be issued anew, which only a restart does.
    NeedsRestart(usize),
}

/// The keeper: its worker, the destination of the secrets, and their status.
pub struct Keeper<'p> {
    plan: &'p Plan,
    /// `None` once the worker is lost.
    link: Option<Link>,
    destination: Destination,
    status: Status,
    alarm: Alarm,
    status_schedule: StatusSchedule,
    /// Whether the status file could not be written the last time.
    has_failed_to_write: bool,
    undelivered: Undelivered,
    /// The lock that `ready` tests: while it is held, the keeper lives.
    presence: Option<Presence>,
}

impl<'p> Keeper<'p> {
    /// A keeper after the first set was published. `earlier` is the status of the earlier keeper whose files have stayed.
    pub fn new(plan: &'p Plan, earlier: Option<&Earlier>, link: Link, destination: Destination) -> Result<Self> {
        let presence = destination.announce()?;
        let status = Status::new(plan, earlier, |secret| destination.files_of(secret));
        let alarm = Alarm::new().map_err(|error| Phase::Watch.cannot("make an alarm", error))?;
        let (status_schedule, undelivered) = (StatusSchedule::new(), Undelivered::default());
        Ok(Self {
            plan,
            link: Some(link),
            destination,
            status,
            alarm,
            status_schedule,
            has_failed_to_write: false,
            undelivered,
            presence,
        })
    }

    /// Orders the worker to read every secret again.
    pub fn read_again(&mut self) -> Result<()> {
        self.link.as_mut().map_or(Ok(()), Link::read_again)
    }

    /// Orders the worker to post the changes of those secrets whose `on_change` is a post: one post for each endpoint.
    pub fn post(&mut self, changed: &[usize]) -> Result<()> {
        let posts = self.plan.posts(changed);
        self.link.as_mut().map_or(Ok(()), |link| link.post(&posts))
    }

    /// Counts an action of a change for the metrics, done or failed: a signal, or a restart (`None`).
    pub fn count_action(&mut self, signal: Option<u8>, is_done: bool) -> Result<()> {
        match &mut self.link {
            Some(link) if self.plan.watching.metrics.is_some() => link.count_action(signal, is_done),
            _ => Ok(()),
        }
    }

    /// Handles the next message of the worker, if one has arrived: notes a report, or publishes a generation.
    pub fn next_event(&mut self, interrupts: &Interrupts<'_>) -> Result<WorkerEvent> {
        let Some(link) = &mut self.link else { return Ok(WorkerEvent::None) };
        match link.receive_message(self.plan, interrupts)? {
            None => Ok(WorkerEvent::None),
            Some(Message::Report(secret, report)) => {
                let end = self.status.report(secret, report);
                self.status_schedule.soon(end);
                Ok(if report.needs_restart { WorkerEvent::NeedsRestart(secret) } else { WorkerEvent::Report })
            }
            Some(Message::Generation(changes)) => {
                let published = changes.and_then(|changes| self.publish(changes, interrupts));
                let changed = self.log_failure(published)?;
                self.link.as_mut().map_or(Ok(()), |link| link.report_delivery(changed.is_some()))?;
                Ok(changed.map_or(WorkerEvent::Report, WorkerEvent::Change))
            }
        }
    }

    /// Updates which secrets are stale, and returns those that have become stale.
    pub fn age(&mut self) -> Vec<usize> {
        let Aged { stale, is_news } = self.status.age();
        if is_news {
            self.status_schedule.now();
        }
        for secret in &stale {
            // A lost worker makes all secrets stale, for which the log has one line already.
            if self.link.is_some() {
                let why = match self.status.has_ended(*secret) {
                    true => "it has ended, and no other could be had",
                    false => "it could not be read again, or delivered, for too long",
                };
                tracing::error!(target: "handfast", "`{}` is stale: {why}", self.name(*secret));
            }
        }
        stale
    }

    /// Waits until a message or a signal arrives, the keeper's own work is due, or `until`.
    pub fn wait(&mut self, interrupts: &Interrupts<'_>, until: Option<Duration>) -> Result<()> {
        let tidy = self.destination.tidy(boot_time());
        let next = [tidy, self.status.next_end(), self.status_schedule.due(), until];
        self.alarm.set(next.into_iter().flatten().min()).map_err(|error| Phase::Watch.cannot("set an alarm", error))?;
        program::unmap_code();
        match &mut self.link {
            Some(link) => link.wait(interrupts, &self.alarm),
            None => {
                let awaited = [Some(self.alarm.as_fd()), interrupts.descriptor()];
                let awaited =
                    awaited.into_iter().flatten().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
                match poll(&mut awaited.collect::<Vec<_>>(), PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => Ok(()),
                    Err(error) => Err(Phase::Watch.cannot("wait", error)),
                }
            }
        }
    }

    /// Gives the worker up, for this reason: its secrets are stale from now on.
    pub fn lose(&mut self, why: &Error) {
        tracing::error!(target: "handfast", "{}: the app runs on, and its secrets are read no more", why.message);
        self.link = None;
        self.status.lose();
    }

    /// The worker has ended, and was reaped, with this exit code.
    pub fn worker_was_reaped(&mut self, code: u8) {
        self.link.iter_mut().for_each(|link| link.was_reaped(code));
    }

    /// The numbers of our own descriptors.
    pub fn numbers(&self) -> Vec<RawFd> {
        let link = self.link.iter().flat_map(Link::numbers);
        let own = self.presence.iter().map(Presence::number).chain([self.alarm.as_raw_fd()]);
        link.chain(self.destination.numbers()).chain(own).collect()
    }

    /// Reads the capabilities of this process again, after it has dropped some.
    pub fn reread_powers(&mut self) -> Result<()> {
        self.destination.reread_powers()
    }

    /// Opens the secrets' descriptors again for the next app, and returns their numbers.
    pub fn reopen_descriptors(&mut self) -> Result<Vec<RawFd>> {
        self.destination.reopen_descriptors()
    }

    /// Why a stale secret ends handfast.
    pub fn stale_error(&self, secret: usize) -> Error {
        let message = format!("`{}` is stale, and `on_stale` is \"exit\"", self.name(secret));
        Error::new(Phase::Watch, Class::Unavailable, message)
    }

    /// Writes the status if it is due.
    pub fn write_status_if_due(&mut self) {
        if self.status_schedule.due().is_some_and(|due| due <= boot_time()) {
            self.write_status();
        }
    }

    /// Writes the status now.
    pub fn write_status(&mut self) {
        self.status_schedule.written(boot_time(), self.status.next_end());
        let written = self.destination.write_status(&self.status.json(self.plan));
        // The status is written again and again: the log has one line for a row of failures.
        let had_failed = std::mem::replace(&mut self.has_failed_to_write, written.is_err());
        if let (Err(error), false) = (written, had_failed) {
            tracing::error!(target: "handfast", "{}", error.message);
        }
    }

    /// Ends the worker, and waits for its end with a bound.
    pub fn stop_worker(&mut self) {
        self.link.take().into_iter().for_each(Link::stop);
        self.presence = None;
    }

    /// Whether another start now would keep the set of an earlier keeper, as this one has done.
    pub fn has_unread(&self) -> bool {
        self.status.has_unread()
    }

    /// When a secret ends.
    pub fn end(&self, secret: usize) -> Option<Duration> {
        self.status.end(secret)
    }

    /// A secret's name.
    pub fn name(&self, secret: usize) -> &'p str {
        &self.plan.secrets[secret].name
    }

    /// Publishes a generation, whole or not at all, and returns the secrets that have changed.
    fn publish(&mut self, changes: Changes, interrupts: &Interrupts<'_>) -> Result<Vec<usize>> {
        let secrets = changes.secrets();
        self.destination.publish_changes(self.plan, changes, &|| interrupts.check(Phase::Watch))?;
        self.status.published(&secrets, |secret| self.destination.files_of(secret));
        self.status_schedule.now();
        let names: Vec<&str> = secrets.iter().map(|secret| self.name(*secret)).collect();
        tracing::info!(target: "handfast", "changed: {}", names.join(", "));
        Ok(secrets)
    }

    /// Logs why a generation was not published. A signal ends the keeper; any other failure concerns this generation alone.
    fn log_failure(&mut self, published: Result<Vec<usize>>) -> Result<Option<Vec<usize>>> {
        match published {
            Ok(secrets) => {
                self.undelivered.delivered();
                Ok(Some(secrets))
            }
            Err(error) if matches!(error.class, Class::Signal(_)) => Err(error),
            Err(error) => {
                self.undelivered.failed(&error);
                Ok(None)
            }
        }
    }
}
