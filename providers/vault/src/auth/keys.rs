//! The keys of `auth`. The configuration never contains a credential, only its file or variable.

use handfast_core::keys::{Key, Kind};

/// The keys of all methods. A method's definition names the keys that it accepts.
pub const KEYS: &[Key] = &[
    Key::new(
        "method",
        Kind::String,
        "How to log in: token, approle, kubernetes, jwt, cert, userpass, ldap, aws, azure, gcp, or agent, which uses the token of Vault Agent.",
    ),
    Key::new("mount", Kind::String, "The method's mount, below `auth/`; default: the method's name."),
    Key::new("role", Kind::Text, "The role to log in as."),
    Key::new(
        "header_value",
        Kind::String,
        "The mount's `iam_server_id_header_value`: the login is then valid for no other Vault.",
    ),
    Key::new(
        "token_file",
        Kind::Text,
        "The file of a token: Vault's, an agent's sink, or for `kubernetes` a service account's; default: the pod's own for `kubernetes`.",
    ),
    Key::new("token_env", Kind::CredentialVariable, "The variable with a token."),
    Key::new("jwt_file", Kind::Text, "The file of a JSON web token, read at each login."),
    Key::new("jwt_env", Kind::CredentialVariable, "The variable with a JSON web token."),
    Key::new("role_id", Kind::Text, "The role id of an AppRole, which is no credential."),
    Key::new("role_id_file", Kind::Text, "The file of a role id."),
    Key::new("role_id_env", Kind::Text, "The variable with a role id, which the app keeps."),
    Key::new("secret_id_file", Kind::Text, "The file of a secret id."),
    Key::new("secret_id_env", Kind::CredentialVariable, "The variable with a secret id."),
    Key::new("wrapped", Kind::Boolean, "The token, or the secret id, is a wrapping token.").default("false"),
    Key::new("username", Kind::String, "The name of a user."),
    Key::new("password_file", Kind::Text, "The file of a password."),
    Key::new("password_env", Kind::CredentialVariable, "The variable with a password."),
    Key::new("cert_file", Kind::Text, "The file of a client certificate and its chain, in PEM form."),
    Key::new("key_file", Kind::Text, "The file of the certificate's private key, in PEM form."),
];
