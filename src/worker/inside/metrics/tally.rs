//! The worker's counts, and their text in the format of OpenMetrics.
//!
//! Written by hand: seven families whose labels are names of secrets and providers and words of ours, none of which needs an escape. A
//! library for it would bring a registry with locks into a process of one thread.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handfast_core::ErrorKind;

use crate::error::Class;
use crate::fetch::Notice;
use crate::plan::OnChange;
use crate::sys::clock::boot_time;

/// How many requests a provider instance has sent.
pub type Requests = Box<dyn Fn() -> u64>;

/// The counts so far. Times are since the machine's start.
pub struct Tally {
    secrets: Vec<Secret>,
    requests: Vec<(String, Requests)>,
    /// By provider instance and class.
    errors: BTreeMap<(String, &'static str), u64>,
    /// By action, and whether it could be done.
    actions: BTreeMap<(String, bool), u64>,
    restarts: u64,
}

struct Secret {
    name: String,
    /// When it was read or renewed last.
    success: Option<Duration>,
    end: Option<Duration>,
    /// When the value of an earlier keeper ends, until another was read.
    earlier_end: Option<Duration>,
    changes: u64,
}

impl Tally {
    /// Counts of zero for the secrets of these names.
    pub fn new(secrets: impl Iterator<Item = String>, requests: Vec<(String, Requests)>) -> Self {
        let secrets =
            secrets.map(|name| Secret { name, success: None, end: None, earlier_end: None, changes: 0 }).collect();
        Self { secrets, requests, errors: BTreeMap::new(), actions: BTreeMap::new(), restarts: 0 }
    }

    /// Takes over the times of each secret whose value an earlier keeper has read: when it read the value last, and when that ends.
    pub fn go_on_from(&mut self, times: Vec<(Duration, Option<Duration>)>) {
        for (secret, (read, end)) in self.secrets.iter_mut().zip(times) {
            (secret.success, secret.earlier_end) = (Some(read), end);
        }
    }

    /// Counts the results of reads.
    pub fn count_reads(&mut self, notices: &[Notice], now: Duration) {
        for Notice { secret, is_success, end, .. } in notices {
            let secret = &mut self.secrets[*secret];
            secret.end = end.map(|end| now + end);
            if *is_success {
                (secret.success, secret.earlier_end) = (Some(now), None);
            }
        }
    }

    /// Counts a delivered change of each of these secrets.
    pub fn changed(&mut self, secrets: impl Iterator<Item = usize>) {
        secrets.for_each(|secret| self.secrets[secret].changes += 1);
    }

    /// Counts a failed request of this provider instance.
    pub fn failed(&mut self, provider: &str, kind: ErrorKind) {
        *self.errors.entry((provider.to_owned(), Class::from(kind).name())).or_default() += 1;
    }

    /// Counts an action of a change, which was done or has failed.
    pub fn acted(&mut self, action: &OnChange, is_done: bool) {
        let name = match action {
            // Without the URL, whose path may be a secret.
            OnChange::Post(_) => "post".to_owned(),
            other => other.describe(),
        };
        *self.actions.entry((name, is_done)).or_default() += 1;
        if *action == OnChange::Restart && is_done {
            self.restarts += 1;
        }
    }

    /// As OpenMetrics.
    pub fn text(&self) -> String {
        let (boot, day) = (boot_time(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        // By the clock as it is now, even if it was set meanwhile.
        let time = |at: Duration| {
            let time = (day + at).saturating_sub(boot);
            format!("{}.{:03}", time.as_secs(), time.subsec_millis())
        };
        let secrets = |value: fn(&Secret) -> Option<Duration>| {
            let one = move |secret: &Secret| Some((labels(&[("secret", &secret.name)]), time(value(secret)?)));
            self.secrets.iter().filter_map(one).collect::<Vec<_>>()
        };
        let mut text = String::new();
        let name = "handfast_secret_last_success_timestamp_seconds";
        gauge(&mut text, name, "When the secret was last read or renewed.", secrets(|secret| secret.success));
        let name = "handfast_secret_expiry_timestamp_seconds";
        gauge(
            &mut text,
            name,
            "When the secret ends, if it does.",
            secrets(|secret| secret.end.or(secret.earlier_end)),
        );
        let changes = self.secrets.iter().map(|secret| (labels(&[("secret", &secret.name)]), secret.changes));
        counter(&mut text, "handfast_secret_changes", "Later sets in which the secret was another.", changes);
        let errors = self.errors.iter();
        let errors =
            errors.map(|((provider, class), count)| (labels(&[("provider", provider), ("class", class)]), *count));
        counter(&mut text, "handfast_refresh_errors", "Reads, renewals and logins that have failed.", errors);
        let requests = self.requests.iter().map(|(provider, sent)| (labels(&[("provider", provider)]), sent()));
        counter(&mut text, "handfast_requests", "Requests that were sent to a store.", requests);
        let result = |is_done: bool| if is_done { "done" } else { "failed" };
        let actions = self.actions.iter();
        let actions = actions
            .map(|((action, is_done), count)| (labels(&[("action", action), ("result", result(*is_done))]), *count));
        counter(&mut text, "handfast_on_change", "What changes have asked for, and what came of it.", actions);
        let restarts = [(String::new(), self.restarts)].into_iter();
        counter(&mut text, "handfast_app_restarts", "How often the app was started anew.", restarts);
        text.push_str("# EOF\n");
        text
    }
}

/// A family of times.
fn gauge(text: &mut String, name: &str, help: &str, samples: Vec<(String, String)>) {
    text.push_str(&format!("# TYPE {name} gauge\n# UNIT {name} seconds\n# HELP {name} {help}\n"));
    samples.iter().for_each(|(labels, value)| text.push_str(&format!("{name}{labels} {value}\n")));
}

/// A family of numbers since the start.
fn counter(text: &mut String, name: &str, help: &str, samples: impl Iterator<Item = (String, u64)>) {
    text.push_str(&format!("# TYPE {name} counter\n# HELP {name} {help}\n"));
    samples.for_each(|(labels, value)| text.push_str(&format!("{name}_total{labels} {value}\n")));
}

/// What distinguishes a sample from the others of its family.
fn labels(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new(["a", "b"].map(str::to_owned).into_iter(), vec![("kv".to_owned(), Box::new(|| 7))])
    }

    #[test]
    fn each_family_is_told_in_whole_lines() {
        let mut tally = tally();
        tally.changed([1, 1].into_iter());
        tally.failed("kv", ErrorKind::NotFound);
        tally.failed("kv", ErrorKind::NotFound);
        tally.acted(&OnChange::Signal(1), true);
        tally.acted(&OnChange::Signal(1), false);
        tally.acted(&OnChange::Restart, true);
        let expected = "\
# TYPE handfast_secret_last_success_timestamp_seconds gauge
# UNIT handfast_secret_last_success_timestamp_seconds seconds
# HELP handfast_secret_last_success_timestamp_seconds When the secret was last read or renewed.
# TYPE handfast_secret_expiry_timestamp_seconds gauge
# UNIT handfast_secret_expiry_timestamp_seconds seconds
# HELP handfast_secret_expiry_timestamp_seconds When the secret ends, if it does.
# TYPE handfast_secret_changes counter
# HELP handfast_secret_changes Later sets in which the secret was another.
handfast_secret_changes_total{secret=\"a\"} 0
handfast_secret_changes_total{secret=\"b\"} 2
# TYPE handfast_refresh_errors counter
# HELP handfast_refresh_errors Reads, renewals and logins that have failed.
handfast_refresh_errors_total{provider=\"kv\",class=\"not-found\"} 2
# TYPE handfast_requests counter
# HELP handfast_requests Requests that were sent to a store.
handfast_requests_total{provider=\"kv\"} 7
# TYPE handfast_on_change counter
# HELP handfast_on_change What changes have asked for, and what came of it.
handfast_on_change_total{action=\"restart\",result=\"done\"} 1
handfast_on_change_total{action=\"signal:HUP\",result=\"failed\"} 1
handfast_on_change_total{action=\"signal:HUP\",result=\"done\"} 1
# TYPE handfast_app_restarts counter
# HELP handfast_app_restarts How often the app was started anew.
handfast_app_restarts_total 1
# EOF
";
        assert_eq!(tally.text(), expected);
    }

    #[test]
    fn times_are_those_of_the_clock() {
        let mut tally = tally();
        let notice = |is_success, end| Notice { secret: 0, is_success, needs_restart: false, next: None, end };
        tally.count_reads(&[notice(true, Some(Duration::from_secs(600)))], boot_time());
        let time = |tally: &Tally, name: &str| {
            let sample = format!("{name}{{secret=\"a\"}} ");
            let text = tally.text();
            text.lines().find_map(|line| line.strip_prefix(&sample)).map(|time| time.parse::<f64>().unwrap())
        };
        let read = time(&tally, "handfast_secret_last_success_timestamp_seconds").unwrap();
        let end = time(&tally, "handfast_secret_expiry_timestamp_seconds").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - read).abs() < 5.0 && (end - read - 600.0).abs() < 0.01, "{read} {end} {now}");
        // A failure is no success, and what has no end has none.
        tally.count_reads(&[notice(false, None)], boot_time());
        assert!((time(&tally, "handfast_secret_last_success_timestamp_seconds").unwrap() - read).abs() < 0.01);
        assert_eq!(time(&tally, "handfast_secret_expiry_timestamp_seconds"), None);
    }
}
