//! Provider instances for the tests' Azure.

use handfast_azure::DEFINITION;
use handfast_core::{ErrorKind, ProviderError, Table, Value};
use handfast_testkit::{Instance, Outside, Variables, table, text};
use handfast_testservers::{Azure, TENANT};

/// Settings for the vault `main`.
pub fn settings(azure: &Azure) -> Table {
    table([
        ("vault", text(&azure.address())),
        ("authority", text(&azure.address())),
        ("ca_file", text(&azure.ca_file().display().to_string())),
        ("endpoint_suffix_check", Value::Boolean(false)),
    ])
}

/// The same with `auth`.
pub fn with_auth<const N: usize>(azure: &Azure, auth: [(&str, &str); N]) -> Table {
    let mut settings = settings(azure);
    let auth = table(auth.map(|(key, value)| (key, text(value))));
    settings.merge(table([("auth", Value::Table(auth))]));
    settings
}

/// The environment with an application's client secret.
pub fn variables(azure: &Azure) -> Variables {
    let (client, secret) = azure.application();
    Variables::default()
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_CLIENT_ID", &client)
        .with_credential("AZURE_CLIENT_SECRET", &secret)
}

/// An instance with these settings and variables, and the machine's files.
pub fn connect(settings: Table, variables: Variables) -> Instance {
    Instance::from_settings(&DEFINITION, settings, Outside { variables, ..Outside::default() })
}

/// The error of an instance that cannot connect.
pub fn refused(settings: Table, variables: Variables) -> ProviderError {
    let outside = Outside { variables, ..Outside::default() };
    let configured = handfast_testkit::configure(&DEFINITION, settings, &outside);
    match configured.connect(outside.context()) {
        Ok(_) => panic!("it connects"),
        Err(error) => error,
    }
}

/// An instance with an application's client secret, for the vault `main`.
pub fn known(azure: &Azure) -> Instance {
    connect(settings(azure), variables(azure))
}

/// Asserts an error's kind, and parts of its message and its hint.
#[track_caller]
pub fn assert_text(error: &ProviderError, kind: ErrorKind, message: &str, hint: &str) {
    assert_eq!(error.kind, kind, "{error:?}");
    assert!(error.message.contains(message), "{error:?}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{error:?}");
}
