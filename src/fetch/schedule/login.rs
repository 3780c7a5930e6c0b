//! The login of one provider instance: when it is renewed, and when it is replaced.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{ErrorKind, Grant, ProviderError, Standing, Upkeep, whole_seconds};

use super::lifetime::{Kind, Lifetime, Step};
use super::trouble::{self, Trouble, Verdict};

/// The most requests of an upkeep: after a refused renewal, a new login follows at once; and a token from the user is inspected.
pub const REQUESTS: usize = 2;

/// A login, and its next upkeep.
pub struct Login {
    /// The name of its instance.
    instance: String,
    /// Which login it is; `None` before the first inspection.
    number: Option<u64>,
    /// `None` if it does not end.
    lifetime: Option<Lifetime>,
    due: Option<Duration>,
    /// The upkeep that is running.
    running: Option<Upkeep>,
    /// Whether the store has denied a request while upkeep was running: then another inspection follows.
    inspects_again: bool,
    trouble: Option<Trouble>,
    /// Whether it can be replaced by a new login.
    is_replaceable: bool,
    /// Whether a warning has said that it ends without a replacement.
    has_warned_of_end: bool,
}

/// A login that has replaced another. The leases of the earlier login end with it.
pub struct Succession {
    /// The number of the new login.
    pub number: u64,
    /// When the earlier login ends.
    pub end: Duration,
    /// Whether the earlier login has ended already.
    pub is_over: bool,
}

impl Login {
    /// A login of which nothing is known so far.
    pub fn new(instance: &str, now: Duration) -> Self {
        Self {
            instance: instance.to_owned(),
            number: None,
            lifetime: None,
            due: Some(now + trouble::BASE.mul_f64(fastrand::f64())),
            running: None,
            inspects_again: false,
            trouble: None,
            is_replaceable: false,
            has_warned_of_end: false,
        }
    }

    /// When its next upkeep is due.
    pub fn due(&self) -> Option<Duration> {
        self.due.filter(|_| self.running.is_none())
    }

    /// Whether upkeep is running.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the last upkeep has failed.
    pub fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    /// The number of the login, and its end if it is not renewed any more.
    pub fn last_end(&self) -> Option<(u64, Option<Duration>)> {
        let lifetime = self.lifetime.as_ref()?;
        Some((self.number?, lifetime.is_last().then(|| lifetime.end())))
    }

    /// Makes an inspection due now, because the store has denied a request.
    pub fn inspect_now(&mut self, now: Duration) {
        self.inspects_again = self.running.is_some();
        // After a failed upkeep, the next try is planned anyway.
        if self.running.is_none() && self.trouble.is_none() {
            self.due = Some(now);
        }
    }

    /// Returns the due upkeep, and marks it as begun.
    pub fn take_due(&mut self, now: Duration) -> Upkeep {
        let upkeep = match &self.lifetime {
            Some(lifetime) if lifetime.due() <= now && lifetime.step() == Step::Renew => Upkeep::Renew,
            Some(lifetime) if lifetime.due() <= now => Upkeep::Replace,
            _ => Upkeep::Inspect,
        };
        (self.running, self.due) = (Some(upkeep), None);
        upkeep
    }

    /// Postpones the due upkeep.
    pub fn postpone(&mut self, until: Duration) {
        self.due = Some(until);
    }

    /// Takes the result of the upkeep. Returns the succession if there is a new login.
    pub fn upkeep_done(
        &mut self,
        result: Result<Option<Standing>, ProviderError>,
        now: Duration,
    ) -> Option<Succession> {
        let upkeep = self.running.take().unwrap_or(Upkeep::Inspect);
        let succession = match result {
            Ok(Some(standing)) => self.succeeded(standing, upkeep, now),
            Ok(None) => {
                self.log_recovery(now);
                (self.lifetime, self.due) = (None, None);
                None
            }
            Err(error) => {
                self.failed(&error, upkeep, now);
                None
            }
        };
        let is_over = |lifetime: &Lifetime| lifetime.step() == Step::Replace && !self.is_replaceable;
        match &self.lifetime {
            Some(lifetime) if is_over(lifetime) => {
                self.warn_of_end(None, now);
                self.due = None;
            }
            Some(lifetime) => self.due = Some(lifetime.due()),
            // There is no end, or the first inspection has failed and has set the next time itself.
            None => {}
        }
        if std::mem::take(&mut self.inspects_again) {
            self.inspect_now(now);
        }
        succession
    }

    fn succeeded(&mut self, standing: Standing, upkeep: Upkeep, now: Duration) -> Option<Succession> {
        let Standing { number, whole, grant, is_replaceable } = standing;
        self.log_recovery(now);
        self.is_replaceable = is_replaceable;
        let end = self.lifetime.as_ref().map(Lifetime::end).filter(|_| upkeep == Upkeep::Replace).unwrap_or(now);
        if self.number == Some(number) {
            // An inspection brings nothing new about a known login.
            if let Some(lifetime) = self.lifetime.as_mut().filter(|_| upkeep == Upkeep::Renew) {
                lifetime.renewed(grant, now, fastrand::f64());
            }
            return None;
        }
        if self.number.replace(number).is_some() {
            tracing::info!(target: "handfast", "`{}`: logged in anew", self.instance);
        }
        let Grant { life, renewable } = grant;
        let age = whole.saturating_sub(life);
        let lifetime = Lifetime::new(Kind::Login, whole, age, renewable, now, fastrand::f64());
        self.lifetime = Some(if is_replaceable { lifetime } else { lifetime.never_replaced() });
        self.has_warned_of_end = false;
        Some(Succession { number, end, is_over: end <= now })
    }

    fn log_recovery(&mut self, now: Duration) {
        if let Some(trouble) = self.trouble.take() {
            let (instance, lasted) = (&self.instance, trouble.lasted(now));
            tracing::info!(target: "handfast", "`{instance}`: the login holds again, after {lasted}");
        }
    }

    /// Warns once that nothing renews the token that was given. `why` is the refused renewal.
    fn warn_of_end(&mut self, why: Option<&ProviderError>, now: Duration) {
        let Some(lifetime) = self.lifetime.as_ref().filter(|_| !self.has_warned_of_end) else { return };
        self.has_warned_of_end = true;
        let (instance, left) = (&self.instance, whole_seconds(lifetime.end().saturating_sub(now)));
        let why = why.map(|error| format!(": {error}")).unwrap_or_default();
        tracing::warn!(target: "handfast", "`{instance}`: the token that was given ends in {left}, and is not renewed any more{why}");
    }

    fn failed(&mut self, error: &ProviderError, upkeep: Upkeep, now: Duration) {
        if let (Upkeep::Renew, Some(lifetime)) = (upkeep, &mut self.lifetime)
            && trouble::is_refusal(error)
        {
            match error.kind {
                ErrorKind::NotFound => lifetime.lost(now),
                _ => lifetime.renewal_refused(now, fastrand::f64()),
            }
            match self.is_replaceable {
                true => {
                    tracing::info!(target: "handfast", "`{}`: the login is not renewed but made anew: {error}", self.instance);
                }
                false => self.warn_of_end(Some(error), now),
            }
            return;
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble::new(now));
        let Verdict { pause, severity } = trouble.add(error, fastrand::f64());
        let what = match upkeep {
            Upkeep::Inspect => "look at the login",
            Upkeep::Renew => "renew the login",
            Upkeep::Replace => "log in anew",
        };
        let what = format!("`{}`: cannot {what}", self.instance);
        trouble.log(severity, &what, "the one before serves until its end", error, now);
        match &mut self.lifetime {
            Some(lifetime) => lifetime.failed(trouble::asked(error), now),
            // The store answers, and will not say more at once.
            None => self.due = Some(now + pause.unwrap_or(trouble::LONGEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const NOW: Duration = seconds(1000);

    fn standing(number: u64, life: u64, renewable: bool) -> Result<Option<Standing>, ProviderError> {
        let grant = Grant { life: seconds(life), renewable };
        Ok(Some(Standing { number, whole: seconds(100), grant, is_replaceable: true }))
    }

    fn looked_at(standing: Result<Option<Standing>, ProviderError>) -> Login {
        let mut login = Login::new("vault", NOW);
        assert!(login.due().is_some_and(|due| due <= NOW + seconds(1)));
        assert_eq!(login.take_due(NOW), Upkeep::Inspect);
        assert_eq!(login.due(), None, "one thing at a time");
        login.upkeep_done(standing, NOW);
        login
    }

    #[test]
    fn a_login_is_renewed_and_then_made_anew_at_two_thirds_of_what_is_left() {
        let mut login = looked_at(standing(1, 100, true));
        let due = login.due().unwrap();
        assert!((NOW + seconds(50)..=NOW + seconds(67)).contains(&due), "{due:?}");
        assert_eq!(login.take_due(due), Upkeep::Renew);
        assert!(login.upkeep_done(standing(1, 50, true), due).is_none());
        let anew = login.due().unwrap();
        assert_eq!(anew, due + seconds(50).mul_f64(0.67));
        assert_eq!(login.take_due(anew), Upkeep::Replace);
        let succession = login.upkeep_done(standing(2, 100, true), anew).unwrap();
        assert_eq!((succession.number, succession.end, succession.is_over), (2, due + seconds(50), false));
    }

    #[test]
    fn a_login_that_cannot_be_renewed_is_made_anew_and_tried_again_where_that_fails() {
        let mut login = looked_at(standing(1, 100, false));
        let due = login.due().unwrap();
        assert_eq!((due, login.take_due(due)), (NOW + seconds(67), Upkeep::Replace));
        login.upkeep_done(Err(ProviderError::new(ErrorKind::Unavailable, "no")), due);
        let again = login.due().unwrap();
        assert!((due + seconds(1) / 2..=due + seconds(1)).contains(&again), "{again:?}");
        assert_eq!(login.take_due(again), Upkeep::Replace);
    }

    #[test]
    fn a_refused_renewal_is_followed_by_a_new_login() {
        let mut login = looked_at(standing(1, 100, true));
        assert_eq!(login.take_due(NOW + seconds(67)), Upkeep::Renew);
        login.upkeep_done(Err(ProviderError::new(ErrorKind::Denied, "no")), NOW + seconds(60));
        assert_eq!(login.due(), Some(NOW + seconds(67)));
    }

    #[test]
    fn a_login_without_an_end_needs_no_upkeep_and_a_doubted_one_is_looked_at() {
        let mut login = looked_at(Ok(None));
        assert_eq!(login.due(), None);
        login.inspect_now(NOW + seconds(20));
        assert_eq!((login.due(), login.take_due(NOW + seconds(20))), (Some(NOW + seconds(20)), Upkeep::Inspect));
        let succession = login.upkeep_done(standing(2, 100, true), NOW + seconds(20)).unwrap();
        assert!(succession.is_over);
        let due = login.due();
        login.inspect_now(NOW + seconds(25));
        assert_eq!((login.due(), login.take_due(NOW + seconds(25))), (Some(NOW + seconds(25)), Upkeep::Inspect));
        login.inspect_now(NOW + seconds(26));
        assert_eq!(login.due(), None);
        assert!(login.upkeep_done(standing(2, 74, true), NOW + seconds(26)).is_none());
        assert_eq!((login.due(), login.take_due(NOW + seconds(26))), (Some(NOW + seconds(26)), Upkeep::Inspect));
        assert!(login.upkeep_done(standing(2, 74, true), NOW + seconds(26)).is_none());
        assert_eq!(login.due(), due, "a look changes nothing else");
    }

    #[test]
    fn a_login_without_an_end_recovers_from_a_failed_look() {
        let mut login = looked_at(Err(ProviderError::new(ErrorKind::Unavailable, "no")));
        assert!(login.is_troubled());
        let again = login.due().unwrap();
        assert_eq!(login.take_due(again), Upkeep::Inspect);
        assert!(login.upkeep_done(Ok(None), again).is_none());
        assert_eq!((login.is_troubled(), login.due()), (false, None));
    }

    #[test]
    fn a_given_token_that_cannot_be_renewed_is_left_to_its_end() {
        let given = Standing {
            number: 1,
            whole: seconds(100),
            grant: Grant { life: seconds(40), renewable: false },
            is_replaceable: false,
        };
        assert_eq!(looked_at(Ok(Some(given))).due(), None);
    }
}
