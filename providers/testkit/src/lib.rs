//! The conformance suite of all providers. Each provider's tests implement a [`Fixture`] for it.
//!
//! In `providers/NAME/tests/conformance.rs`:
//!
//! ```text
//! struct Store { … }
//! impl handfast_testkit::Fixture for Store { … }
//! handfast_testkit::conformance!(Store);
//! ```
//!
//! This makes one `#[test]` for each function name in [`conformance!`]. The documentation of `handfast_core::Provider` has the
//! rules that these tests check.
//!
//! handfast itself selects fields (`#field`), decodes (`?decode=base64`) and retries, so the suite does not test these. It tests
//! that a provider returns the stored bytes unchanged. This crate depends only on `handfast-core`, so that a provider's tests
//! compile neither handfast nor another provider.
#![forbid(unsafe_code)]

pub mod definition;
pub mod failures;
mod fixture;
mod listed;
mod outside;
mod scratch;
pub mod secrecy;
pub mod time;
pub mod values;

pub use fixture::{Answer, Cannot, Fixture, Instance, configure, only, parse, table, text};
pub use listed::assert_listed;
pub use outside::{Outside, TestClock, Variables};
pub use scratch::Scratch;
pub use secrecy::canary;

/// Runs a test on a runtime with one thread, as the worker has.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Expands to the whole suite: one test for each name.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty) => {
        $crate::conformance! { $fixture =>
            definition::the_definition_is_complete,
            definition::bad_references_are_refused_before_anything_is_opened,
            values::an_empty_value_arrives_empty,
            values::a_value_with_nul_bytes_arrives_whole,
            values::a_value_that_is_not_utf8_arrives_whole,
            values::white_space_around_a_value_is_kept,
            values::a_json_document_arrives_as_it_was_stored,
            values::a_value_of_one_mebibyte_arrives_whole,
            values::one_byte_more_than_the_largest_is_malformed,
            values::a_secret_can_be_fetched_again,
            values::secrets_fetched_at_the_same_time_are_not_mixed_up,
            failures::a_missing_secret_is_not_found,
            failures::a_refused_secret_is_denied,
            failures::an_unavailable_store_gets_one_request_and_the_next_fetch_succeeds,
            failures::a_failure_leaves_the_other_secrets_readable,
            failures::every_error_is_one_sentence,
            time::a_fetch_dropped_at_its_deadline_leaves_nothing_running,
            time::a_fetch_can_be_dropped_at_any_await_point,
            secrecy::no_error_contains_a_value_or_a_credential,
        }
    };
    ($fixture:ty => $($module:ident :: $sentence:ident),* $(,)?) => {
        $(
            #[test]
            fn $sentence() {
                $crate::$module::$sentence::<$fixture>();
            }
        )*
    };
}
