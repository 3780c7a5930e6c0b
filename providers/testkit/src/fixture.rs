//! The interface to a provider's test store, and the provider instances that tests make for it.

use std::rc::Rc;
use std::time::Duration;

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    Configured, Content, Definition, Ending, ErrorKind, Fetched, Item, MAX_SECRET, Place, Problems, Provider,
    ProviderError, SecretRef, SecretValue, Settings, Summary, Table, Value, keys,
};

use crate::outside::{Outside, TestClock};

/// Why a store cannot show a behaviour. The test of that behaviour then prints the reason and passes.
#[derive(Clone, Copy, Debug)]
pub struct Cannot(pub &'static str);

/// A reference, such as `mock:db`, or why there can be none.
pub type Answer = Result<String, Cannot>;

/// A store for one test, and the settings for a provider that uses it.
///
/// A test first fills the store, and then makes an instance from [`settings`](Fixture::settings) and
/// [`outside`](Fixture::outside), which may depend on the store's contents.
pub trait Fixture {
    /// The provider's definition.
    const DEFINITION: &'static Definition;

    /// The largest whole value that the provider returns. It may be larger than a secret if the store's values are objects, of
    /// which handfast selects a field.
    const LARGEST: usize = MAX_SECRET;

    /// A new, empty store.
    fn new() -> Self;

    /// The table `[providers.NAME]` for this store.
    fn settings(&self) -> Table;

    /// The environment, files and clock that the provider gets.
    fn outside(&self) -> Outside {
        Outside::default()
    }

    /// Puts a value into the store. Names are of lower-case letters, digits and `-`.
    fn put(&mut self, name: &str, value: &[u8]) -> Answer;

    /// Extracts the value given to [`put`](Fixture::put) from the whole value that the provider returns. A store of objects keeps
    /// it in a field. handfast would select that field; in these tests, the fixture does.
    fn extract(whole: Vec<u8>) -> Vec<u8> {
        whole
    }

    /// A secret that does not exist.
    fn missing(&mut self) -> Answer;

    /// A secret that exists and may not be read.
    fn denied(&mut self) -> Answer;

    /// A secret for which the store is unavailable to the first `attempts` requests. Later requests succeed.
    fn unavailable(&mut self, attempts: u32) -> Answer;

    /// A secret for which the store responds after this delay.
    fn slow(&mut self, delay: Duration) -> Answer;

    /// Invalid references, which `check` must refuse.
    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot>;

    /// References of further failures that only this provider has, each with its kind: malformed responses, wrong certificates.
    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        Vec::new()
    }

    /// The canaries (see [`canary`](crate::canary)) that the fixture has put into credentials and next to the secrets. No error
    /// may contain them. The test itself knows the canaries in its values.
    fn canaries(&self) -> Vec<String> {
        Vec::new()
    }

    /// The number of requests that the store has not finished.
    fn in_flight(&self) -> usize {
        0
    }
}

/// A provider instance, made from a fixture as handfast makes one from a configuration.
pub struct Instance {
    provider: Rc<dyn Provider>,
    clock: TestClock,
    extract: fn(Vec<u8>) -> Vec<u8>,
}

impl Instance {
    /// The instance with the fixture's settings.
    pub fn connect<F: Fixture>(fixture: &F) -> Self {
        Self { extract: F::extract, ..Self::from_settings(F::DEFINITION, fixture.settings(), fixture.outside()) }
    }

    /// An instance with any settings, for a provider's own tests.
    pub fn from_settings(definition: &Definition, settings: Table, outside: Outside) -> Self {
        let clock = outside.clock.clone();
        let connected = configure(definition, settings, &outside).connect(outside.context());
        Self {
            provider: connected.unwrap_or_else(|error| panic!("cannot connect: {error}")),
            clock,
            extract: |whole| whole,
        }
    }

    /// Fetches the whole value, once.
    pub async fn fetch(&self, reference: &str) -> Result<Fetched, ProviderError> {
        self.provider.fetch(&parse(reference).locator).await
    }

    /// The bytes of a secret. Panics if the fetch fails.
    pub async fn value(&self, reference: &str) -> Vec<u8> {
        match self.fetch(reference).await {
            Ok(fetched) => (self.extract)(only(fetched).expose().to_vec()),
            Err(error) => panic!("`{reference}` is in the store, yet: {:?}: {error}", error.kind),
        }
    }

    /// The error of a fetch. Panics if it succeeds.
    pub async fn error(&self, reference: &str) -> ProviderError {
        match self.fetch(reference).await {
            Ok(fetched) => panic!("`{reference}` cannot be had, yet it gave {} bytes", only(fetched).len()),
            Err(error) => error,
        }
    }

    /// Ends the connection to the store, as at the end of a start.
    pub async fn finish(&self, ending: Ending) {
        self.provider.finish(ending).await;
    }

    /// The provider's summary.
    pub fn summary(&self) -> Summary {
        self.provider.summary()
    }

    /// The provider itself, for its other methods.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Waits until a dropped fetch has ended completely: no timer runs, and the store has no request left.
    pub async fn settle<F: Fixture>(&self, fixture: &F) {
        const MOMENT: Duration = Duration::from_millis(10);
        assert_eq!(self.clock.sleeping(), 0, "a dropped fetch still waits on the clock");
        for _ in 0..200 {
            if fixture.in_flight() == 0 {
                return;
            }
            tokio::time::sleep(MOMENT).await;
        }
        panic!("{} requests outlive the fetch that was dropped", fixture.in_flight());
    }
}

/// The keys that handfast itself adds to every provider.
const SHARED: &[Key] =
    &[Key::new("ca_file", Kind::String, ""), Key::new("roots", Kind::String, ""), Key::new("proxy", Kind::String, "")];

/// The value of an answer that is not a list.
pub fn only(fetched: Fetched) -> SecretValue {
    match fetched.content {
        Content::Value(value) => value,
        Content::List(_) => panic!("one value was asked for, and a list came"),
    }
}

/// Reads settings. Panics if they are invalid.
pub fn configure(definition: &Definition, table: Table, outside: &Outside) -> Box<dyn Configured> {
    let mut problems = Problems::default();
    let instance = definition.name.to_owned();
    keys::check(&table, &format!("providers.{instance}"), &[SHARED, definition.keys], &mut problems);
    let (fetch, environment) = (&Table::default(), &outside.variables);
    let configured = (definition.configure)(Settings { instance, table, fetch, environment }, &mut problems);
    assert!(problems.is_empty(), "the settings are wrong: {:?}", problems.into_sorted());
    configured
}

/// Parses a reference. Panics if it is invalid.
pub fn parse(reference: &str) -> SecretRef {
    SecretRef::parse(reference).unwrap_or_else(|complaint| panic!("{complaint:?}"))
}

/// The fixture's result. `None` if the fixture cannot show the behaviour; then prints why.
#[allow(clippy::print_stderr, reason = "a test's output")]
pub fn possible<T>(answer: Result<T, Cannot>) -> Option<T> {
    answer.inspect_err(|Cannot(reason)| eprintln!("not for this provider: {reason}")).ok()
}

/// A table of settings.
pub fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    let place = Place::File { path: "handfast.toml".into(), line: 1, column: 1 };
    let mut table = Table::default();
    for (key, value) in entries {
        table.set(key, place.clone(), Item { place: place.clone(), value });
    }
    table
}

/// A string in a table of settings.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned().into())
}
