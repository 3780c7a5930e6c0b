//! What a provider's tests say about its store, and the instances that are made from it.

use std::rc::Rc;
use std::time::Duration;

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    Configured, Content, Definition, Ending, ErrorKind, Fetched, Item, MAX_SECRET, Place, Problems, Provider,
    ProviderError, SecretRef, SecretValue, Settings, Summary, Table, Value, keys,
};

use crate::outside::{Outside, TestClock};

/// What a store cannot do, and why: the test for it then says so and passes.
#[derive(Clone, Copy, Debug)]
pub struct Cannot(pub &'static str);

/// A reference, `mock:db`, or why there can be none.
pub type Answer = Result<String, Cannot>;

/// A store for one test, and how a provider is pointed at it.
///
/// A test first says what is in the store, then makes an instance from [`settings`](Fixture::settings) and
/// [`outside`](Fixture::outside): these may depend on what was asked for before.
pub trait Fixture {
    /// The provider's parts.
    const DEFINITION: &'static Definition;

    /// The largest whole value that the provider gives: more than a secret may have where it is an object, of which handfast
    /// takes a field.
    const LARGEST: usize = MAX_SECRET;

    /// A store of its own, with nothing in it.
    fn new() -> Self;

    /// The table `[providers.NAME]` that leads to this store.
    fn settings(&self) -> Table;

    /// What the provider sees of the outside.
    fn outside(&self) -> Outside {
        Outside::default()
    }

    /// Puts a value into the store. Names are of lower-case letters, digits and `-`.
    fn put(&mut self, name: &str, value: &[u8]) -> Answer;

    /// What [`put`](Fixture::put) was given, in the whole value that the provider gives for it. A store of objects keeps it in
    /// a field, which is handfast's to take, and here the fixture's.
    fn taken(whole: Vec<u8>) -> Vec<u8> {
        whole
    }

    /// A secret that does not exist.
    fn missing(&mut self) -> Answer;

    /// A secret that exists and may not be read.
    fn denied(&mut self) -> Answer;

    /// A secret whose first `attempts` requests find the store unavailable. All later ones are answered.
    fn unavailable(&mut self, attempts: u32) -> Answer;

    /// A secret whose answer takes this long.
    fn slow(&mut self, delay: Duration) -> Answer;

    /// References that cannot be asked for at all: `check` refuses them.
    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot>;

    /// Further failures that only this provider has, with what each is: answers that make no sense, wrong certificates.
    fn more_failures(&mut self) -> Vec<(String, ErrorKind)> {
        Vec::new()
    }

    /// Canaries (see [`canary`](crate::canary)) in credentials and in what stands next to the secrets: none may be in an
    /// error. Those in the values that a test puts there are known to it.
    fn canaries(&self) -> Vec<String> {
        Vec::new()
    }

    /// The requests that the store is still working on.
    fn in_flight(&self) -> usize {
        0
    }
}

/// A provider instance, made from a fixture as handfast makes one from a configuration.
pub struct Instance {
    provider: Rc<dyn Provider>,
    clock: TestClock,
    taken: fn(Vec<u8>) -> Vec<u8>,
}

impl Instance {
    /// The instance that the fixture's settings give.
    pub fn connect<F: Fixture>(fixture: &F) -> Self {
        Self { taken: F::taken, ..Self::from_settings(F::DEFINITION, fixture.settings(), fixture.outside()) }
    }

    /// The instance that settings of one's own give, for what a provider tests besides the suite.
    pub fn from_settings(definition: &Definition, settings: Table, outside: Outside) -> Self {
        let clock = outside.clock.clone();
        let connected = configure(definition, settings, &outside).connect(outside.context());
        Self {
            provider: connected.unwrap_or_else(|error| panic!("cannot connect: {error}")),
            clock,
            taken: |whole| whole,
        }
    }

    /// Fetches the whole value, once.
    pub async fn fetch(&self, reference: &str) -> Result<Fetched, ProviderError> {
        self.provider.fetch(&parse(reference).locator).await
    }

    /// The bytes of a secret that is there.
    pub async fn value(&self, reference: &str) -> Vec<u8> {
        match self.fetch(reference).await {
            Ok(fetched) => (self.taken)(only(fetched).expose().to_vec()),
            Err(error) => panic!("`{reference}` is in the store, yet: {:?}: {error}", error.kind),
        }
    }

    /// The error of a secret that cannot be had.
    pub async fn error(&self, reference: &str) -> ProviderError {
        match self.fetch(reference).await {
            Ok(fetched) => panic!("`{reference}` cannot be had, yet it gave {} bytes", only(fetched).len()),
            Err(error) => error,
        }
    }

    /// Lets go of the store, as at the end of a start.
    pub async fn finish(&self, ending: Ending) {
        self.provider.finish(ending).await;
    }

    /// What the provider says that it has done.
    pub fn summary(&self) -> Summary {
        self.provider.summary()
    }

    /// Its connection, for what else a provider can do.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Waits a moment until nothing is left of a fetch that was dropped: no timer, and no request in the store.
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

/// What handfast itself adds to every provider's keys.
const SHARED: &[Key] =
    &[Key::new("ca_file", Kind::String, ""), Key::new("roots", Kind::String, ""), Key::new("proxy", Kind::String, "")];

/// The value of an answer that is one.
pub fn only(fetched: Fetched) -> SecretValue {
    match fetched.content {
        Content::Value(value) => value,
        Content::List(_) => panic!("one value was asked for, and a list came"),
    }
}

/// Reads settings, which must be right.
pub fn configure(definition: &Definition, table: Table, outside: &Outside) -> Box<dyn Configured> {
    let mut problems = Problems::default();
    let instance = definition.name.to_owned();
    keys::check(&table, &format!("providers.{instance}"), &[SHARED, definition.keys], &mut problems);
    let (fetch, environment) = (&Table::default(), &outside.variables);
    let configured = (definition.configure)(Settings { instance, table, fetch, environment }, &mut problems);
    assert!(problems.is_empty(), "the settings are wrong: {:?}", problems.into_sorted());
    configured
}

/// Reads a reference, which must be one.
pub fn parse(reference: &str) -> SecretRef {
    SecretRef::parse(reference).unwrap_or_else(|complaint| panic!("{complaint:?}"))
}

/// What the fixture has made, or nothing where it cannot, with a line that says why.
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
