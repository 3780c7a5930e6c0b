//! The login of one provider instance: when it is renewed, and when it is made anew.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{ErrorKind, Grant, ProviderError, Standing, Upkeep, whole_seconds};

use super::tenure::{Kind, Step, Tenure};
use super::trouble::{self, Trouble, Verdict};

/// How many requests keeping it up comes to at most: where a renewal is refused, a login is made at once; and a token that was given is
/// looked at.
pub const REQUESTS: usize = 2;

/// A login, and what is due for it.
pub struct Login {
    /// The name of its instance.
    instance: String,
    /// Which login it is; `None` before the first look.
    number: Option<u64>,
    /// `None` where it does not end.
    tenure: Option<Tenure>,
    due: Option<Duration>,
    /// What is being done.
    running: Option<Upkeep>,
    /// Whether the store has refused it while something was being done.
    is_doubted: bool,
    trouble: Option<Trouble>,
    /// Whether another can be made in its place.
    can_be_anew: bool,
    /// Whether it was said that it ends for good.
    is_end_told: bool,
}

/// A login that has taken the place of another: leases of the one before end with that one.
pub struct Succession {
    /// Its number.
    pub number: u64,
    /// When the one before ends.
    pub end: Duration,
    /// Whether the one before has ended already.
    pub is_over: bool,
}

impl Login {
    /// A login of which nothing is known so far.
    pub fn new(instance: &str, now: Duration) -> Self {
        Self {
            instance: instance.to_owned(),
            number: None,
            tenure: None,
            due: Some(now + trouble::BASE.mul_f64(fastrand::f64())),
            running: None,
            is_doubted: false,
            trouble: None,
            can_be_anew: false,
            is_end_told: false,
        }
    }

    /// When something is due for it.
    pub fn due(&self) -> Option<Duration> {
        self.due.filter(|_| self.running.is_none())
    }

    /// Whether something is being done for it.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it could not be kept up the last time.
    pub fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    /// Which login it is, and its end, where that is for good.
    pub fn last(&self) -> Option<(u64, Duration)> {
        let tenure = self.tenure.as_ref().filter(|tenure| tenure.step() == Step::Anew)?;
        Some((self.number?, tenure.end()))
    }

    /// Makes a look at it due now: the store has refused it.
    pub fn doubt(&mut self, now: Duration) {
        self.is_doubted = self.running.is_some();
        // Where it fails, it is tried again anyway.
        if self.running.is_none() && self.trouble.is_none() {
            self.due = Some(now);
        }
    }

    /// What is due, which counts as begun.
    pub fn begin(&mut self, now: Duration) -> Upkeep {
        let upkeep = match &self.tenure {
            Some(tenure) if tenure.due() <= now && tenure.step() == Step::Renew => Upkeep::Renew,
            Some(tenure) if tenure.due() <= now => Upkeep::Anew,
            _ => Upkeep::Look,
        };
        (self.running, self.due) = (Some(upkeep), None);
        upkeep
    }

    /// Puts off what is due.
    pub fn wait(&mut self, until: Duration) {
        self.due = Some(until);
    }

    /// Takes what came of it. The new login, where it is another now.
    pub fn take(&mut self, result: Result<Option<Standing>, ProviderError>, now: Duration) -> Option<Succession> {
        let upkeep = self.running.take().unwrap_or(Upkeep::Look);
        let succession = match result {
            Ok(Some(standing)) => self.stands(standing, upkeep, now),
            Ok(None) => {
                self.tenure = None;
                self.due = None;
                return None;
            }
            Err(error) => {
                self.fails(&error, upkeep, now);
                None
            }
        };
        let is_over = |tenure: &Tenure| tenure.step() == Step::Anew && !self.can_be_anew;
        match &self.tenure {
            Some(tenure) if is_over(tenure) => {
                if !std::mem::replace(&mut self.is_end_told, true) {
                    let (instance, left) = (&self.instance, whole_seconds(tenure.end().saturating_sub(now)));
                    tracing::warn!(target: "handfast", "`{instance}`: the token that was given ends in {left}, and is not renewed any more");
                }
                self.due = None;
            }
            Some(tenure) => self.due = Some(tenure.due()),
            // The first look has failed, and set a time of its own.
            None => {}
        }
        if std::mem::take(&mut self.is_doubted) {
            self.doubt(now);
        }
        succession
    }

    fn stands(&mut self, standing: Standing, upkeep: Upkeep, now: Duration) -> Option<Succession> {
        let Standing { number, whole, grant, can_be_anew } = standing;
        if let Some(trouble) = self.trouble.take() {
            let (instance, lasted) = (&self.instance, trouble.lasted(now));
            tracing::info!(target: "handfast", "`{instance}`: the login holds again, after {lasted}");
        }
        self.can_be_anew = can_be_anew;
        let end = self.tenure.as_ref().map(Tenure::end).filter(|_| upkeep == Upkeep::Anew).unwrap_or(now);
        if self.number == Some(number) {
            // A look has nothing new to say of a login that is known.
            if let Some(tenure) = self.tenure.as_mut().filter(|_| upkeep == Upkeep::Renew) {
                tenure.renewed(grant, now, fastrand::f64());
            }
            return None;
        }
        if self.number.replace(number).is_some() {
            tracing::info!(target: "handfast", "`{}`: logged in anew", self.instance);
        }
        let Grant { life, renewable } = grant;
        let age = whole.saturating_sub(life);
        self.tenure = Some(Tenure::new(Kind::Login, whole, age, renewable, now, fastrand::f64()));
        self.is_end_told = false;
        Some(Succession { number, end, is_over: end <= now })
    }

    fn fails(&mut self, error: &ProviderError, upkeep: Upkeep, now: Duration) {
        if let (Upkeep::Renew, Some(tenure)) = (upkeep, &mut self.tenure)
            && error.kind != ErrorKind::Unavailable
        {
            tracing::info!(target: "handfast", "`{}`: the login is not renewed but made anew: {error}", self.instance);
            return tenure.refused(now, fastrand::f64());
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble::new(now));
        let Verdict { pause, voice } = trouble.add(error, fastrand::f64());
        let what = match upkeep {
            Upkeep::Look => "look at the login",
            Upkeep::Renew => "renew the login",
            Upkeep::Anew => "log in anew",
        };
        let what = format!("`{}`: cannot {what}", self.instance);
        trouble.tell(voice, &what, "the one before serves until its end", error, now);
        match &mut self.tenure {
            Some(tenure) => tenure.failed(trouble::asked(error), now),
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
        Ok(Some(Standing { number, whole: seconds(100), grant, can_be_anew: true }))
    }

    fn looked_at(standing: Result<Option<Standing>, ProviderError>) -> Login {
        let mut login = Login::new("vault", NOW);
        assert!(login.due().is_some_and(|due| due <= NOW + seconds(1)));
        assert_eq!(login.begin(NOW), Upkeep::Look);
        assert_eq!(login.due(), None, "one thing at a time");
        login.take(standing, NOW);
        login
    }

    #[test]
    fn a_login_is_renewed_and_then_made_anew_at_two_thirds_of_what_is_left() {
        let mut login = looked_at(standing(1, 100, true));
        let due = login.due().unwrap();
        assert!((NOW + seconds(50)..=NOW + seconds(67)).contains(&due), "{due:?}");
        assert_eq!(login.begin(due), Upkeep::Renew);
        assert!(login.take(standing(1, 50, true), due).is_none());
        let anew = login.due().unwrap();
        assert_eq!(anew, due + seconds(50).mul_f64(0.67));
        assert_eq!(login.begin(anew), Upkeep::Anew);
        let succession = login.take(standing(2, 100, true), anew).unwrap();
        assert_eq!((succession.number, succession.end, succession.is_over), (2, due + seconds(50), false));
    }

    #[test]
    fn a_login_that_cannot_be_renewed_is_made_anew_and_tried_again_where_that_fails() {
        let mut login = looked_at(standing(1, 100, false));
        let due = login.due().unwrap();
        assert_eq!((due, login.begin(due)), (NOW + seconds(67), Upkeep::Anew));
        login.take(Err(ProviderError::new(ErrorKind::Unavailable, "no")), due);
        let again = login.due().unwrap();
        assert!((due + seconds(1) / 2..=due + seconds(1)).contains(&again), "{again:?}");
        assert_eq!(login.begin(again), Upkeep::Anew);
    }

    #[test]
    fn a_refused_renewal_is_followed_by_a_new_login() {
        let mut login = looked_at(standing(1, 100, true));
        assert_eq!(login.begin(NOW + seconds(67)), Upkeep::Renew);
        login.take(Err(ProviderError::new(ErrorKind::Denied, "no")), NOW + seconds(60));
        assert_eq!(login.due(), Some(NOW + seconds(67)));
    }

    #[test]
    fn a_login_without_an_end_needs_no_upkeep_and_a_doubted_one_is_looked_at() {
        let mut login = looked_at(Ok(None));
        assert_eq!(login.due(), None);
        login.doubt(NOW + seconds(20));
        assert_eq!((login.due(), login.begin(NOW + seconds(20))), (Some(NOW + seconds(20)), Upkeep::Look));
        let succession = login.take(standing(2, 100, true), NOW + seconds(20)).unwrap();
        assert!(succession.is_over);
        let due = login.due();
        login.doubt(NOW + seconds(25));
        assert_eq!((login.due(), login.begin(NOW + seconds(25))), (Some(NOW + seconds(25)), Upkeep::Look));
        login.doubt(NOW + seconds(26));
        assert_eq!(login.due(), None);
        assert!(login.take(standing(2, 74, true), NOW + seconds(26)).is_none());
        assert_eq!((login.due(), login.begin(NOW + seconds(26))), (Some(NOW + seconds(26)), Upkeep::Look));
        assert!(login.take(standing(2, 74, true), NOW + seconds(26)).is_none());
        assert_eq!(login.due(), due, "a look changes nothing else");
    }

    #[test]
    fn a_given_token_that_cannot_be_renewed_is_left_to_its_end() {
        let given = Standing {
            number: 1,
            whole: seconds(100),
            grant: Grant { life: seconds(40), renewable: false },
            can_be_anew: false,
        };
        assert_eq!(looked_at(Ok(Some(given))).due(), None);
    }
}
