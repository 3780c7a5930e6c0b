//! The supervisor's reaction to changes: signals that wait for the app's handler, and a planned restart.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::app::App;
use crate::error::{Class, Error, Phase, reason};
use crate::plan::{OnChange, Plan};
use crate::report;
use crate::sys::clock::boot_time;
use crate::sys::signals;

/// How often to look whether an app has a handler by now, and for how long.
const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// The signal may be the reason for the end of an app that ends this soon after it.
const AFTERMATH: Duration = Duration::from_secs(5);

const HINT: &str = "`on_change = \"restart\"` starts the app anew instead";
const HIDDEN: &str =
    "mount the `/proc` of this pid namespace, without `hidepid`, or let `on_change = \"restart\"` start the app anew";

/// The pending reactions to changes.
#[derive(Default)]
pub struct Reaction {
    waiting: Vec<Waiting>,
    /// The last signal that was sent, and when.
    sent: Option<(u8, String, Duration)>,
    /// When to restart the app, and the secret that has changed.
    restart: Option<(Duration, usize)>,
}

/// A signal that is still to be sent.
struct Waiting {
    signal: u8,
    secrets: String,
    next: Duration,
    /// When the log says that it was not sent.
    until: Duration,
    /// When the patience for the latest change is over.
    last: Duration,
}

impl Reaction {
    /// Adds the actions of these changed secrets, each distinct action once. A restart replaces signals.
    pub fn add(&mut self, secrets: &[usize], plan: &Plan) {
        let now = boot_time();
        let action = |secret: usize| &plan.secrets[secret].on_change;
        if let Some(secret) = secrets.iter().find(|secret| *action(**secret) == OnChange::Restart) {
            let splay = plan.watching.splay.mul_f64(fastrand::f64());
            self.restart.get_or_insert((now + splay, *secret));
        }
        if self.restart.is_some() {
            self.waiting.clear();
            return;
        }
        for secret in secrets {
            let OnChange::Signal(signal) = *action(*secret) else { continue };
            let name = format!("`{}`", plan.secrets[*secret].name);
            match self.waiting.iter_mut().find(|waiting| waiting.signal == signal) {
                Some(waiting) => {
                    if !waiting.secrets.split(", ").any(|other| other == name) {
                        waiting.secrets = format!("{}, {name}", waiting.secrets);
                    }
                    (waiting.next, waiting.last) = (now, now + PATIENCE);
                }
                None => {
                    let until = now + PATIENCE;
                    self.waiting.push(Waiting { signal, secrets: name, next: now, until, last: until });
                }
            }
        }
    }

    /// Whether a restart of the app is planned.
    pub fn is_restart_planned(&self) -> bool {
        self.restart.is_some()
    }

    /// Sends the signals that are due and that the app survives. Returns the signals that wait no longer, and whether each was sent.
    pub fn send_due_signals(&mut self, app: &App) -> Vec<(u8, bool)> {
        let now = boot_time();
        let (mut sent, mut done) = (None, Vec::new());
        self.waiting.retain_mut(|Waiting { signal, secrets, next, until, last }| {
            if *next > now {
                return true;
            }
            let survives = app.survives(*signal);
            if matches!(survives, Ok(true)) {
                app.send(*signal);
                done.push((*signal, true));
                tracing::info!(target: "handfast", "sent the app {} for the change of {secrets}", signals::name(*signal));
                sent = Some((*signal, std::mem::take(secrets), now));
                return false;
            }
            *next = now + PAUSE;
            if now < *until {
                return true;
            }
            let (why, hint) = match survives {
                Ok(_) => ("the app has no handler for it, and would end".to_owned(), HINT),
                Err(error) => {
                    let why = format!("`/proc` does not show whether the app has a handler for it: {}", reason(error));
                    (why, HIDDEN)
                }
            };
            let message = format!("{} for the change of {secrets} was not sent: {why}", signals::name(*signal));
            report::part(&Error::new(Phase::Watch, Class::Changed, message).hint(hint));
            done.push((*signal, false));
            // Later changes get their full time too, and do not put off this line of the log.
            *until = *last;
            now < *last
        });
        self.sent = sent.or(self.sent.take());
        done
    }

    /// Takes the planned restart if it is due, and returns the secret that asks for it.
    pub fn take_due_restart(&mut self) -> Option<usize> {
        self.restart.take_if(|(at, _)| *at <= boot_time()).map(|(_, secret)| secret)
    }

    /// When something is to be done next.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.next).chain(self.restart.map(|(at, _)| at)).min()
    }

    /// Cancels the planned restart, and no longer blames a signal for the app's end: another process has requested the end.
    pub fn cancel_restart(&mut self) {
        (self.restart, self.sent) = (None, None);
    }

    /// Reports the app's end with this exit code if a signal for a change may be the reason.
    pub fn report_end(&self, code: u8) {
        let Some((signal, secrets, at)) = &self.sent else { return };
        let since = boot_time().saturating_sub(*at);
        if since <= AFTERMATH {
            let (signal, since) = (signals::name(*signal), since.as_secs_f64());
            let message = format!(
                "the app has ended, with exit code {code}, {since:.1} s after {signal} for the change of {secrets}"
            );
            report::part(&Error::new(Phase::Watch, Class::Changed, message).hint(HINT));
        }
    }
}
