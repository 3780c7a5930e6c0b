//! `aws:` secrets of AWS Secrets Manager and parameters of Parameter Store, by the official SDKs over handfast's HTTP client.
//!
//! The files are the way of a fetch: [`settings`] (where AWS is), [`region`] (what its parts are called), [`credentials`] (who we
//! are), [`locator`] (what a reference asks for), [`store`] (alone or in batches), [`secrets`] and [`parameters`] (the calls),
//! [`session`] (one call), [`connector`] (the SDK's way to the network), [`endpoints`] (where the services are), [`refusal`] and
//! [`explain`] (what a refusal is, and means). [`policy`] says what all of it must be allowed.
//! [`identity`] proves who we are to other providers' stores.
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

/// The parts of this provider.
pub const DEFINITION: Definition = Definition {
    name: "aws",
    keys: &[
        Key::new(
            "region",
            Kind::Text,
            "The region of what is not named by an ARN; default: AWS_REGION, AWS_DEFAULT_REGION, the profile's, the machine's.",
        ),
        Key::new(
            "endpoint",
            Kind::String,
            "Where every service is, instead of its own name: https://host:port; default: the AWS_ENDPOINT_URL variables.",
        ),
        Key::new(
            "danger_plaintext",
            Kind::Boolean,
            "Allows http:// to other machines, such as LocalStack's container: whoever is on the way reads every secret.",
        )
        .default("false"),
        Key::new("profile", Kind::Text, "The profile of the shared files; default: AWS_PROFILE."),
        Key::new("role_arn", Kind::Text, "A role to assume with the credentials that are found."),
        Key::new("external_id", Kind::Text, "What the role's owner asks for besides."),
        Key::new(
            "session_name",
            Kind::Text,
            "The session's name in the role's logs; default: AWS_ROLE_SESSION_NAME.",
        ),
        Key::new(
            "auth",
            Kind::Table(credentials::AUTH_KEYS),
            "The one way to take to credentials; default: the first that works.",
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
