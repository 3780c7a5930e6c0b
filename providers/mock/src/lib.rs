//! `mock:` made-up secrets, and faults on demand, for local work and for tests.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    BoxFuture, Complaint, Configured, Context, Definition, ErrorKind, Fetched, Locator, MAX_SECRET, Problems, Provider,
    ProviderError, SecretValue, Settings, Value, did_you_mean,
};

/// The parts of this provider.
pub const DEFINITION: Definition = Definition {
    name: "mock",
    keys: &[
        Key::new(
            "values",
            Kind::StringTable,
            "The secrets by name, and only these exist; default: every one exists, and `mock:db` is `mock-db`.",
        ),
        Key::new("latency", Kind::Duration, "How long each request takes.").default("\"0s\""),
        Key::new(
            "fail",
            Kind::Choice(&["unavailable", "denied", "not-found", "untrusted", "malformed"]),
            "How each request fails; default: none does.",
        ),
        Key::new(
            "fail_first",
            Kind::Integer(0, 1_000_000),
            "How many requests for each secret fail before one succeeds.",
        )
        .default("0"),
        Key::new(
            "rotate_every",
            Kind::Duration,
            "How often every value changes: `mock:db` is `mock-db-0` first, then `mock-db-1`, …; default: never.",
        ),
    ],
    parameters: &[],
    writes: false,
    bootstrap: &[],
    identity: None,
    configure,
};

struct Mock {
    values: Option<Vec<(String, SecretValue)>>,
    latency: Duration,
    fail: Option<ErrorKind>,
    fail_first: Option<u32>,
    rotate_every: Option<Duration>,
}

struct Store {
    mock: Mock,
    context: Context,
    attempts: Attempts,
    started: SystemTime,
}

fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let table = &settings.table;
    let values = table.table("values").map(|values| {
        let text = |value: &Value| match value {
            Value::String(text) => Some(SecretValue::from(text.as_bytes().to_vec())),
            _ => None,
        };
        values.iter().filter_map(|(name, item)| Some((name.to_owned(), text(&item.value)?))).collect()
    });
    let fail = table.string("fail").and_then(|kind| match kind {
        "unavailable" => Some(ErrorKind::Unavailable),
        "denied" => Some(ErrorKind::Denied),
        "not-found" => Some(ErrorKind::NotFound),
        "untrusted" => Some(ErrorKind::Untrusted),
        "malformed" => Some(ErrorKind::Malformed),
        _ => None,
    });
    let fail_first = table.integer("fail_first").and_then(|count| u32::try_from(count).ok());
    let rotate_every = table.duration("rotate_every");
    if let (Some(Duration::ZERO), Some(place)) = (rotate_every, table.place("rotate_every")) {
        problems.add(place, "`rotate_every` is 0, expected more");
    }
    Box::new(Mock { values, latency: table.duration("latency").unwrap_or_default(), fail, fail_first, rotate_every })
}

impl Configured for Mock {
    fn check(&self, _: &Locator) -> Result<(), Complaint> {
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        Some("the provider `mock` is in use: its secrets are made up".into())
    }

    fn least_refresh(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let started = context.clock.now();
        Ok(Rc::new(Store { mock: *self, context, attempts: Attempts::default(), started }))
    }
}

impl Provider for Store {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            if !self.mock.latency.is_zero() {
                self.context.clock.sleep(self.mock.latency).await;
            }
            self.fail_on_demand(locator)?;
            let value = match &self.mock.values {
                None => SecretValue::from(format!("mock-{}", locator.path).into_bytes()),
                Some(values) => find(values, &locator.path)?,
            };
            let value = self.rotated(value);
            if value.len() > MAX_SECRET {
                let message = format!("`{}` has {} bytes, more than {MAX_SECRET}", locator.path, value.len());
                return Err(ProviderError::new(ErrorKind::Malformed, message));
            }
            Ok(Fetched::from(value))
        })
    }
}

/// A copy of the value with this name. Names are not secret, so the error for a wrong name suggests a similar one.
fn find(values: &[(String, SecretValue)], path: &str) -> Result<SecretValue, ProviderError> {
    if let Some((_, value)) = values.iter().find(|(name, _)| name == path) {
        return Ok(SecretValue::from(value.expose().to_vec()));
    }
    let hint = did_you_mean(path, values.iter().map(|(name, _)| name.as_str()));
    Err(ProviderError { hint, ..ProviderError::new(ErrorKind::NotFound, format!("no secret `{path}` in `values`")) })
}

impl Store {
    /// The value, followed by the number of rotations since the start if `rotate_every` is set.
    fn rotated(&self, value: SecretValue) -> SecretValue {
        let Some(every) = self.mock.rotate_every.filter(|every| !every.is_zero()) else { return value };
        let age = self.context.clock.now().duration_since(self.started).unwrap_or_default();
        let rotations = age.as_nanos() / every.as_nanos();
        SecretValue::from([value.expose(), format!("-{rotations}").as_bytes()].concat())
    }

    /// Fails as configured. With `fail` alone, every request fails. With `fail_first = N`, the first N requests for each secret
    /// fail: as `fail` says, or as unavailable without `fail`.
    fn fail_on_demand(&self, locator: &Locator) -> Result<(), ProviderError> {
        let failing = match self.mock.fail_first {
            Some(first) => self.attempts.count(&locator.path) <= first,
            None => self.mock.fail.is_some(),
        };
        if !failing {
            return Ok(());
        }
        let kind = self.mock.fail.unwrap_or(ErrorKind::Unavailable);
        let message = match kind {
            ErrorKind::Denied => "the mock denies it, as `fail` says",
            ErrorKind::NotFound => "the mock does not find it, as `fail` says",
            ErrorKind::Untrusted => "the mock is not to be trusted, as `fail` says",
            ErrorKind::Malformed => "the mock's answer is malformed, as `fail` says",
            _ => "the mock does not answer, as `fail` or `fail_first` says",
        };
        Err(ProviderError::new(kind, message))
    }
}

/// How often each secret was requested.
#[derive(Default)]
struct Attempts(Cell<Vec<(String, u32)>>);

impl Attempts {
    fn count(&self, path: &str) -> u32 {
        let mut counts = self.0.take();
        let count = match counts.iter_mut().find(|(name, _)| name == path) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push((path.to_owned(), 1));
                1
            }
        };
        self.0.set(counts);
        count
    }
}
