//! `watch` after its start: publishes what the worker has found changed, and tells how fresh the secrets are.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use super::status::{Aged, Earlier, Status};
use super::telling::Telling;
use super::undelivered::Undelivered;
use crate::deliver::{Arrived, Changes, Destination};
use crate::error::{Class, Error, Phase, Result, reason};
use crate::plan::{OnChange, OnStale, Plan};
use crate::sys::clock::{Alarm, boot_time};
use crate::sys::signals;
use crate::worker::{Link, News, Watch};

const INT: u8 = libc::SIGINT as u8;
const TERM: u8 = libc::SIGTERM as u8;

/// Publishes the first set. Where the stores gave none in time, and an earlier keeper's set is whole and fresh, that one stays.
pub fn first(
    plan: &Plan,
    set: Result<Vec<Arrived>>,
    destination: &mut Destination,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Option<Earlier>> {
    let error = match set {
        Ok(set) => return destination.publish(plan, set, go_on).map(|_| None),
        Err(error) => error,
    };
    // A worker that is gone, or did not answer, cannot go on.
    if error.class != Class::Unavailable || go_on().is_err() {
        return Err(error);
    }
    let mut earlier = None;
    let choose = |status: &[u8]| {
        earlier = Earlier::read(plan, status);
        earlier.as_ref().map(Earlier::files)
    };
    if !destination.adopt(plan, choose, go_on)? {
        return Err(error);
    }
    tracing::warn!(target: "handfast", "{}: the files of the keeper before stay, and are read again", error.message);
    Ok(earlier)
}

/// Goes on until a signal ends it, which is no failure where it is TERM or INT.
/// `earlier` is what the keeper has told whose files have stayed.
pub fn watch(
    plan: &Plan,
    earlier: Option<Earlier>,
    link: Link,
    destination: Destination,
    signals: &signals::Watch,
) -> Result<()> {
    let hung_up = Cell::new(false);
    let presence = destination.announce()?;
    let status = Status::new(plan, earlier.as_ref(), |secret| destination.files_of(secret));
    let mut keeper = Keeper {
        plan,
        link,
        destination,
        status,
        telling: Telling::new(),
        is_untold: false,
        undelivered: Undelivered::default(),
        restart: None,
    };
    let ended = keeper.go_on(&Watch::of_keeper(signals, &hung_up), &hung_up);
    let is_asked_to = ended.as_ref().is_err_and(|error| matches!(error.class, Class::Signal(INT | TERM)));
    if matches!(&ended, Err(error) if matches!(error.class, Class::Signal(_))) {
        keeper.link.leave();
    }
    // Until here, whoever asks is told that the keeper lives.
    drop(presence);
    if is_asked_to { Ok(()) } else { ended }
}

struct Keeper<'p> {
    plan: &'p Plan,
    link: Link,
    destination: Destination,
    status: Status,
    telling: Telling,
    /// Whether the status file could not be written the last time.
    is_untold: bool,
    undelivered: Undelivered,
    /// When to end so that the app is started anew, and the secret that has changed.
    restart: Option<(Duration, usize)>,
}

impl Keeper<'_> {
    fn go_on(&mut self, watch: &Watch<'_>, hung_up: &Cell<bool>) -> Result<()> {
        let alarm = Alarm::new()
            .map_err(|error| Error::new(Phase::Watch, Class::Os, format!("cannot make an alarm: {}", reason(error))))?;
        loop {
            watch.signal(Phase::Watch)?;
            if hung_up.take() {
                tracing::info!(target: "handfast", "SIGHUP: every secret is read again");
                self.link.read_again().map_err(lost)?;
            }
            match self.link.news(self.plan, watch).map_err(lost)? {
                Some(News::Report(secret, report)) => {
                    let end = self.status.report(secret, report);
                    self.telling.soon(end);
                    continue;
                }
                Some(News::Generation(changes)) => {
                    let published = changes.and_then(|changes| self.publish(changes, watch));
                    let is_kept = self.tell_failure(published)?;
                    self.link.answer(is_kept).map_err(lost)?;
                    continue;
                }
                None => {}
            }
            let tidy = self.destination.tidy(boot_time());
            self.mind_age()?;
            self.mind_restart()?;
            if self.telling.due().is_some_and(|due| due <= boot_time()) {
                self.tell();
            }
            let next = [tidy, self.status.next_end(), self.telling.due(), self.restart.map(|(at, _)| at)];
            alarm.set(next.into_iter().flatten().min()).map_err(|error| {
                Error::new(Phase::Watch, Class::Os, format!("cannot set an alarm: {}", reason(error)))
            })?;
            self.link.wait(watch, &alarm).map_err(lost)?;
        }
    }

    /// Publishes a generation, whole or not at all.
    fn publish(&mut self, changes: Changes, watch: &Watch<'_>) -> Result<()> {
        let secrets = changes.secrets();
        self.destination.publish_changes(self.plan, changes, &|| watch.signal(Phase::Watch))?;
        self.status.published(&secrets, |secret| self.destination.files_of(secret));
        self.telling.now();
        let names: Vec<&str> = secrets.iter().map(|secret| self.plan.secrets[*secret].name.as_str()).collect();
        tracing::info!(target: "handfast", "changed: {}", names.join(", "));
        let restarts = |secret: &usize| self.plan.secrets[*secret].on_change == OnChange::Restart;
        if let (None, Some(secret)) = (self.restart, secrets.into_iter().find(restarts)) {
            self.restart = Some((boot_time() + self.plan.watching.splay.mul_f64(fastrand::f64()), secret));
        }
        Ok(())
    }

    /// Whether a generation was published. A signal ends the keeper; any other failure is one of this generation alone.
    fn tell_failure(&mut self, published: Result<()>) -> Result<bool> {
        match published {
            Ok(()) => {
                self.undelivered.delivered();
                Ok(true)
            }
            Err(error) if matches!(error.class, Class::Signal(_)) => Err(error),
            Err(error) => {
                self.undelivered.failed(&error);
                Ok(false)
            }
        }
    }

    /// Tells which secrets have become stale.
    fn mind_age(&mut self) -> Result<()> {
        let Aged { stale, is_news } = self.status.age();
        if is_news {
            self.telling.now();
        }
        let Some(first) = stale.first() else { return Ok(()) };
        let name = |secret: &usize| self.plan.secrets[*secret].name.as_str();
        for secret in &stale {
            tracing::error!(target: "handfast", "`{}` is stale: it could not be read again for too long", name(secret));
        }
        match self.plan.watching.on_stale {
            OnStale::Unready => Ok(()),
            OnStale::Exit => {
                self.tell();
                let message = format!("`{}` is stale, and `on_stale` is \"exit\"", name(first));
                Err(Error::new(Phase::Watch, Class::Unavailable, message))
            }
        }
    }

    /// Ends so that the app is started anew, once it is time.
    fn mind_restart(&mut self) -> Result<()> {
        match self.restart {
            Some((at, secret)) if at <= boot_time() => {
                self.tell();
                let message = format!("`{}` has changed, and asks for a restart", self.plan.secrets[secret].name);
                Err(Error::new(Phase::Watch, Class::Changed, message))
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self) {
        self.telling.told(boot_time(), self.status.next_end());
        let told = self.destination.tell(&self.status.json(self.plan));
        // Each read is another attempt: the log gets one line, not one for each.
        let was_untold = std::mem::replace(&mut self.is_untold, told.is_err());
        if let (Err(error), false) = (told, was_untold) {
            tracing::error!(target: "handfast", "{}", error.message);
        }
    }
}

/// Without its worker, a keeper ends as after a bug, so that its container starts anew.
fn lost(error: Error) -> Error {
    match error.class {
        Class::Signal(_) => error,
        _ => Error { class: Class::Internal, phase: Phase::Watch, ..error },
    }
}
