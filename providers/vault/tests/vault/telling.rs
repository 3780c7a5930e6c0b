//! What a user is told.

use handfast_core::{ProviderError, SecretRef, Table};
use handfast_testkit::{Outside, Variables, configure, run};
use handfast_vault::DEFINITION;

/// All that is said where a reference, with `params` or without, cannot be had from here: the kind, the message, and the hint
/// on a line of its own.
#[track_caller]
pub fn refusal(settings: Table, variables: Variables, reference: &str, params: Option<&str>) -> String {
    let outside = Outside { variables, ..Outside::default() };
    let mut locator = SecretRef::parse(reference).expect("it is one").locator;
    locator.params = params.map(str::to_owned);
    let configured = configure(&DEFINITION, settings, &outside);
    let fetched = run(async { configured.connect(outside.context())?.fetch(&locator).await });
    said(&fetched.err().unwrap_or_else(|| panic!("`{reference}` cannot be had, yet it was given")))
}

/// The same of an error. Each port here is `PORT`.
pub fn said(error: &ProviderError) -> String {
    let text = match &error.hint {
        Some(hint) => format!("{:?}: {error}\n{hint}", error.kind),
        None => format!("{:?}: {error}", error.kind),
    };
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "127.0.0.1:PORT" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}
