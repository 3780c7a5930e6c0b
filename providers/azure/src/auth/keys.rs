//! The keys of `auth`. The configuration never contains a credential, only its file or variable.

use handfast_core::keys::{Key, Kind};

/// The names of the methods.
pub const METHODS: &[&str] =
    &["client-secret", "client-certificate", "workload-identity", "managed-identity", "token-file"];

/// The keys of all methods.
pub const KEYS: &[Key] = &[
    Key::new("method", Kind::Choice(METHODS), "How to get a token."),
    Key::new("tenant_id", Kind::String, "The application's tenant; default: AZURE_TENANT_ID."),
    Key::new("client_id", Kind::Text, "The application's id, or a user-assigned identity's; default: AZURE_CLIENT_ID."),
    Key::new(
        "client_secret_file",
        Kind::Text,
        "The file with a client secret; default: the variable AZURE_CLIENT_SECRET.",
    ),
    Key::new("client_secret_env", Kind::CredentialVariable, "The variable with a client secret."),
    Key::new(
        "cert_file",
        Kind::Text,
        "The file of a client certificate, in PEM form, with its private key unless `key_file` has it; default: AZURE_CLIENT_CERTIFICATE_PATH.",
    ),
    Key::new("key_file", Kind::Text, "The file of the certificate's private key, in PEM form."),
    Key::new(
        "token_file",
        Kind::Text,
        "The file with the cluster's token, or for `token-file` with one for Key Vault; default: AZURE_FEDERATED_TOKEN_FILE.",
    ),
    Key::new("resource_id", Kind::Text, "A user-assigned identity's resource id."),
    Key::new("object_id", Kind::Text, "A user-assigned identity's object id."),
];

/// The keys that a method accepts, in addition to `method`.
pub fn keys_of(method: &str) -> &'static [&'static str] {
    match method {
        "client-secret" => &["tenant_id", "client_id", "client_secret_file", "client_secret_env"],
        "client-certificate" => &["tenant_id", "client_id", "cert_file", "key_file"],
        "workload-identity" => &["tenant_id", "client_id", "token_file"],
        "managed-identity" => &["client_id", "resource_id", "object_id"],
        _ => &["token_file"],
    }
}

/// Keys with the same meaning: `auth` may have only one key of each group.
pub const EXCLUSIVE: &[&[&str]] =
    &[&["client_secret_file", "client_secret_env"], &["client_id", "resource_id", "object_id"]];
