//! `aws:` secrets of AWS Secrets Manager and parameters of Parameter Store, with the official SDKs over handfast's HTTP client.
//!
//! The files follow the steps of a fetch: [`settings`] (the settings), [`region`] (the names of regions), [`credentials`] (the
//! keys), [`locator`] (the item that a reference names), [`store`] (fetches items alone or in batches), [`secrets`] and
//! [`parameters`] (the calls), [`session`] (one call), [`connector`] (connects the SDK to the HTTP client), [`endpoints`] (the
//! services' URLs), [`refusal`] and [`explain`] (the kind of a refusal, and its error). [`policy`] writes the IAM policy that all
//! of this needs. [`identity`] signs requests for logins to other providers' stores.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod connector;
mod credentials;
mod endpoints;
mod explain;
mod identity;
mod locator;
mod parameters;
mod policy;
mod refusal;
mod region;
mod secrets;
mod session;
mod settings;
mod signature;
mod store;

use std::rc::Rc;

use handfast_core::Definition;
use handfast_core::keys::{Key, Kind};

use identity::Identity;

/// The definition of this provider.
pub const DEFINITION: Definition = Definition {
    name: "aws",
    keys: &[
        Key::new(
            "region",
            Kind::Text,
            "The region for names that are not ARNs; default: AWS_REGION, AWS_DEFAULT_REGION, the profile's, the machine's.",
        ),
        Key::new(
            "endpoint",
            Kind::String,
            "The endpoint of all services, instead of AWS's own: https://host:port; default: the AWS_ENDPOINT_URL variables.",
        ),
        Key::new(
            "danger_plaintext",
            Kind::Boolean,
            "Allows http:// to other machines, such as LocalStack's container: anybody on the network path can read every secret.",
        )
        .default("false"),
        Key::new("profile", Kind::Text, "The profile of the shared files; default: AWS_PROFILE."),
        Key::new("role_arn", Kind::Text, "A role to assume with the credentials that are found."),
        Key::new("external_id", Kind::Text, "The external id that the role's trust policy requires."),
        Key::new(
            "session_name",
            Kind::Text,
            "The session's name in the role's logs; default: AWS_ROLE_SESSION_NAME.",
        ),
        Key::new(
            "auth",
            Kind::Table(credentials::AUTH_KEYS),
            "The only source of credentials; default: the first that is set up.",
        ),
    ],
    parameters: &["version", "stage", "label"],
    writes: false,
    bootstrap: &[
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_KEY",
    ],
    identity: Some(|context| Rc::new(Identity::new(context))),
    configure: settings::configure,
};
