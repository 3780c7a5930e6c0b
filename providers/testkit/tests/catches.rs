//! Tests the suite itself: a provider without a fault passes, and a provider with a fault fails in the test for that fault.
#![allow(missing_docs)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use handfast_core::keys::{Key, Kind};
use handfast_core::{
    BoxFuture, Complaint, Configured, Context, Definition, ErrorKind, Fetched, Locator, MAX_SECRET, Problems, Provider,
    ProviderError, SecretValue, Table,
};
use handfast_testkit::{Answer, Cannot, Fixture, definition, failures, secrecy, table, text, time, values};

type Fault = u8;
const NONE: Fault = 0;
const TRIMS: Fault = 1;
const REPLACES: Fault = 2;
const CUTS: Fault = 3;
const UNBOUNDED: Fault = 4;
const MIXES_UP: Fault = 5;
const MISSING_IS_EMPTY: Fault = 6;
const DENIED_IS_MISSING: Fault = 7;
const RETRIES: Fault = 8;
const UPPER_CASE: Fault = 9;
const SHOWS_A_BODY: Fault = 10;
const SHOWS_A_BODY_IN_HEX: Fault = 11;
const SHOWS_THE_CREDENTIAL: Fault = 12;
const LEAVES_A_TIMER: Fault = 13;
const LOCKS: Fault = 14;
const CHECKS_NOTHING: Fault = 15;
const UNDOCUMENTED: Fault = 16;
const LEAVES_A_REQUEST: Fault = 17;

thread_local! {
    /// The store of the test that runs on this thread, because `configure` is a plain function that gets only settings.
    static STORE: RefCell<Rc<Contents>> = RefCell::default();
}

#[derive(Default)]
struct Contents {
    values: RefCell<Vec<(String, Vec<u8>)>>,
    unavailable: Cell<u32>,
    delay: Cell<Duration>,
    in_flight: Cell<usize>,
    locked: Cell<bool>,
}

struct Store<const FAULT: Fault>(Rc<Contents>);

impl<const FAULT: Fault> Fixture for Store<FAULT> {
    const DEFINITION: &'static Definition = &Definition {
        name: "faulty",
        keys: &[Key::new("token", Kind::String, if FAULT == UNDOCUMENTED { "token" } else { "The credential." })],
        parameters: &[],
        writes: false,
        bootstrap: &["FAULTY_TOKEN"],
        identity: None,
        configure: |settings, _: &mut Problems| Box::new(Faulty::<FAULT>(STORE.with_borrow(Rc::clone), settings.table)),
    };

    fn new() -> Self {
        let contents = Rc::new(Contents::default());
        STORE.set(contents.clone());
        Self(contents)
    }

    fn settings(&self) -> Table {
        table([("token", text("hvs.0123456789abcdef"))])
    }

    fn put(&mut self, name: &str, value: &[u8]) -> Answer {
        self.0.values.borrow_mut().push((name.to_owned(), value.to_owned()));
        Ok(format!("faulty:{name}"))
    }

    fn missing(&mut self) -> Answer {
        Ok("faulty:missing".into())
    }

    fn denied(&mut self) -> Answer {
        Ok("faulty:denied".into())
    }

    fn unavailable(&mut self, attempts: u32) -> Answer {
        self.0.unavailable.set(attempts);
        self.put("unavailable", b"there at last")
    }

    fn slow(&mut self, delay: Duration) -> Answer {
        self.0.delay.set(delay);
        self.put("slow", b"slow")
    }

    fn bad_references(&self) -> Result<Vec<&'static str>, Cannot> {
        Ok(vec!["faulty:UPPER"])
    }

    fn canaries(&self) -> Vec<String> {
        vec!["hvs.0123456789abcdef".into()]
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight.get()
    }
}

struct Faulty<const FAULT: Fault>(Rc<Contents>, Table);

impl<const FAULT: Fault> Configured for Faulty<FAULT> {
    fn check(&self, locator: &Locator) -> Result<(), Complaint> {
        if FAULT != CHECKS_NOTHING && locator.path.contains(char::is_uppercase) {
            return Err(Complaint::new("names are lower case").hint("write it in lower case"));
        }
        Ok(())
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let token = self.1.string("token").unwrap_or_default().to_owned();
        Ok(Rc::new(Connection::<FAULT> { contents: self.0, token, context }))
    }
}

struct Connection<const FAULT: Fault> {
    contents: Rc<Contents>,
    token: String,
    context: Context,
}

impl<const FAULT: Fault> Provider for Connection<FAULT> {
    fn fetch<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Fetched, ProviderError>> {
        Box::pin(async move {
            let answer = self.ask(&locator.path).await;
            if FAULT == RETRIES && answer.is_err() {
                return self.ask(&locator.path).await;
            }
            answer
        })
    }
}

impl<const FAULT: Fault> Connection<FAULT> {
    async fn ask(&self, path: &str) -> Result<Fetched, ProviderError> {
        let contents = &self.contents;
        if contents.locked.get() {
            return Err(ProviderError::new(ErrorKind::Os, "somebody holds the lock"));
        }
        contents.locked.set(FAULT == LOCKS);
        let delay = contents.delay.get();
        if FAULT == LEAVES_A_TIMER {
            let clock = self.context.clock.clone();
            tokio::task::spawn_local(async move { clock.sleep(delay).await });
        }
        contents.in_flight.set(contents.in_flight.get() + 1);
        let request = Request::<FAULT>(contents);
        self.context.clock.sleep(delay).await;
        drop(request);
        contents.locked.set(false);
        let left = contents.unavailable.get();
        if left > 0 {
            contents.unavailable.set(left - 1);
            return Err(self.error(ErrorKind::Unavailable));
        }
        let values = contents.values.borrow();
        let found = match values.iter().position(|(name, _)| name == path) {
            Some(at) if FAULT == MIXES_UP && at > 2 => &values[at - 1].1,
            Some(at) => &values[at].1,
            None if path == "denied" && FAULT != DENIED_IS_MISSING => return Err(self.error(ErrorKind::Denied)),
            None if FAULT == MISSING_IS_EMPTY => return Ok(SecretValue::from(Vec::new()).into()),
            None => return Err(self.error(ErrorKind::NotFound)),
        };
        if found.len() > MAX_SECRET && FAULT != UNBOUNDED {
            return Err(self.error(ErrorKind::Malformed));
        }
        let value = match FAULT {
            TRIMS => found.trim_ascii().to_vec(),
            REPLACES => String::from_utf8_lossy(found).into_owned().into_bytes(),
            CUTS => found.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            _ => found.clone(),
        };
        Ok(SecretValue::from(value).into())
    }

    fn error(&self, kind: ErrorKind) -> ProviderError {
        let values = self.contents.values.borrow();
        let body = values.first().map_or(&[][..], |(_, value)| &value[..value.len().min(40)]);
        let message = match FAULT {
            UPPER_CASE => "Cannot fetch.".to_owned(),
            SHOWS_A_BODY => format!("cannot fetch: the store says `{}`", String::from_utf8_lossy(body)),
            SHOWS_A_BODY_IN_HEX => {
                format!("cannot fetch: {}", body.iter().map(|b| format!("{b:02x}")).collect::<String>())
            }
            SHOWS_THE_CREDENTIAL => format!("cannot fetch with the token {}", self.token),
            _ => "cannot fetch".to_owned(),
        };
        ProviderError::new(kind, message)
    }
}

/// Counts a request from its start until it ends or is dropped.
struct Request<'c, const FAULT: Fault>(&'c Contents);

impl<const FAULT: Fault> Drop for Request<'_, FAULT> {
    fn drop(&mut self) {
        if FAULT != LEAVES_A_REQUEST {
            self.0.in_flight.set(self.0.in_flight.get() - 1);
        }
    }
}

handfast_testkit::conformance!(Store<NONE>);

macro_rules! caught {
    ($($name:ident: $fault:ident by $module:ident :: $sentence:ident, $message:literal;)*) => {
        mod caught {
            use super::*;
            $(
                #[test]
                #[should_panic(expected = $message)]
                fn $name() {
                    $module::$sentence::<Store<$fault>>();
                }
            )*
        }
    };
}

caught! {
    a_trimmed_newline: TRIMS by values::white_space_around_a_value_is_kept, "other bytes arrived";
    a_replacement_character: REPLACES by values::a_value_that_is_not_utf8_arrives_whole, "other bytes arrived";
    a_value_cut_at_a_nul: CUTS by values::a_value_with_nul_bytes_arrives_whole, "0 other bytes arrived";
    a_missing_limit: UNBOUNDED by values::one_byte_more_than_the_largest_is_malformed, "it gave 1048577 bytes";
    values_mixed_up: MIXES_UP by values::secrets_fetched_at_the_same_time_are_not_mixed_up, "got another's value";
    an_empty_value_for_a_missing_secret: MISSING_IS_EMPTY by failures::a_missing_secret_is_not_found, "it gave 0 bytes";
    a_refusal_that_looks_like_a_missing_secret: DENIED_IS_MISSING by failures::a_refused_secret_is_denied, "cannot fetch";
    a_retry: RETRIES by failures::an_unavailable_store_gets_one_request_and_the_next_fetch_succeeds, "yet it gave";
    a_full_stop: UPPER_CASE by failures::every_error_is_one_sentence, "it starts with 'C'";
    a_body_in_an_error: SHOWS_A_BODY by secrecy::no_error_contains_a_value_or_a_credential, "it contains a secret";
    a_body_in_hex_in_an_error: SHOWS_A_BODY_IN_HEX by secrecy::no_error_contains_a_value_or_a_credential, "it contains a secret";
    a_credential_in_an_error: SHOWS_THE_CREDENTIAL by secrecy::no_error_contains_a_value_or_a_credential, "it contains a secret";
    a_timer_left: LEAVES_A_TIMER by time::a_fetch_dropped_at_its_deadline_leaves_nothing_running, "waits on the clock";
    a_request_left: LEAVES_A_REQUEST by time::a_fetch_dropped_at_its_deadline_leaves_nothing_running, "1 requests";
    a_lock_left: LOCKS by time::a_fetch_can_be_dropped_at_any_await_point, "somebody holds the lock";
    no_check: CHECKS_NOTHING by definition::bad_references_are_refused_before_anything_is_opened, "is not refused";
    no_sentence: UNDOCUMENTED by definition::the_definition_is_complete, "is no sentence";
}
