//! The text of errors, as a user sees them.

use handfast_core::{ProviderError, SecretRef, Table};
use handfast_testkit::{Outside, Variables, configure, run};
use handfast_vault::DEFINITION;

/// The whole text of a failed fetch, with or without `params`: the kind, the message, and the hint on its own line.
#[track_caller]
pub fn refusal(settings: Table, variables: Variables, reference: &str, params: Option<&str>) -> String {
    let outside = Outside { variables, ..Outside::default() };
    let mut locator = SecretRef::parse(reference).expect("it is one").locator;
    locator.params = params.map(str::to_owned);
    let configured = configure(&DEFINITION, settings, &outside);
    let fetched = run(async { configured.connect(outside.context())?.fetch(&locator).await });
    error_text(&fetched.err().unwrap_or_else(|| panic!("`{reference}` cannot be had, yet it was given")))
}

/// The whole text of an error, with `PORT` for each local port.
pub fn error_text(error: &ProviderError) -> String {
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
