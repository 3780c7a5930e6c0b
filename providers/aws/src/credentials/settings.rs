//! The settings of the credentials, in the configuration and in AWS's variables.

use handfast_core::keys::{Key, Kind};
use handfast_core::{Complaint, Environment, Problems, Table};

use crate::region::{self, Target};

/// The keys of `auth` in `[providers.NAME]`.
pub const AUTH_KEYS: &[Key] = &[Key::new(
    "method",
    Kind::Choice(&["env", "web-identity", "profile", "container", "imds"]),
    "The only source of credentials, instead of the first that is set up.",
)];

/// A way to get keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    Environment,
    /// An identity provider's token, such as that of a pod in EKS (IRSA).
    WebIdentity,
    /// The shared files.
    Profile,
    /// The credentials that ECS and EKS Pod Identity provide to a container.
    Container,
    /// The metadata service of an EC2 machine (IMDSv2).
    Machine,
}

impl Way {
    fn named(method: &str) -> Option<Self> {
        Some(match method {
            "env" => Self::Environment,
            "web-identity" => Self::WebIdentity,
            "profile" => Self::Profile,
            "container" => Self::Container,
            "imds" => Self::Machine,
            _ => return None,
        })
    }

    /// Its name in a message.
    pub fn title(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::WebIdentity => "web identity",
            Self::Profile => "profile",
            Self::Container => "container",
            Self::Machine => "machine",
        }
    }
}

/// A role to assume.
pub struct Role<'r> {
    /// Its ARN.
    pub arn: &'r str,
    /// The external id that its owner requires.
    pub external_id: Option<&'r str>,
    /// The name of the session in the role's logs.
    pub session_name: &'r str,
}

/// The settings of the credentials.
pub struct Settings {
    /// The region, if the configuration or a variable has it.
    pub region: Option<String>,
    /// The only allowed way, if `auth` or `profile` in the configuration names it.
    pub way: Option<Way>,
    /// A role to assume with the keys that are found.
    pub role_arn: Option<String>,
    profile: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
}

impl Settings {
    /// Reads the settings. Adds problems with the variables to `missing`.
    pub fn read(
        table: &Table,
        environment: &dyn Environment,
        target: Target,
        problems: &mut Problems,
        missing: &mut Vec<Complaint>,
    ) -> Self {
        let own = |key: &str| table.string(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let variable = |name: &str| environment.variable(name).map(str::to_owned);
        let way = table.table("auth").and_then(|auth| auth.string("method")).and_then(Way::named);
        let profile = own("profile");
        if let (Some(way), Some(place)) = (way, table.place("profile"))
            && way != Way::Profile
        {
            let message = "`profile` is of the shared files, and `auth.method` is another way";
            problems.add_with_hint(place, message, "leave one of them out");
        }
        if let (None, Some(place)) = (table.item("role_arn"), table.place("external_id")) {
            problems.add_with_hint(place, "`external_id` is of a role, and there is none", "set `role_arn`");
        }
        let mut region = own("region");
        if let (Some(text), Some(place)) = (&region, table.place("region"))
            && let Err(complaint) = region::check(text, target)
        {
            problems.add(place, complaint.context("`region`"));
        }
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            let Some(text) = variable(name).filter(|_| region.is_none()) else { continue };
            missing.extend(region::check(&text, target).err().map(|complaint| complaint.context(format!("`{name}`"))));
            region = Some(text);
        }
        Self {
            region,
            way: way.or(profile.as_ref().map(|_| Way::Profile)),
            role_arn: own("role_arn"),
            profile,
            external_id: own("external_id"),
            session_name: own("session_name").or_else(|| variable("AWS_ROLE_SESSION_NAME")),
        }
    }

    /// The profile's name.
    pub fn profile<'a>(&'a self, environment: &'a dyn Environment) -> &'a str {
        let variable = || named_profile(environment).map(|(_, name)| name);
        self.profile.as_deref().or_else(variable).unwrap_or("default")
    }

    /// The configured role.
    pub fn role<'a>(&'a self, arn: &'a str) -> Role<'a> {
        Role { arn, external_id: self.external_id.as_deref(), session_name: self.session_name() }
    }

    /// The name of the session in the role's logs.
    pub fn session_name(&self) -> &str {
        self.session_name.as_deref().unwrap_or("handfast")
    }
}

/// The variable that names a profile, and the name.
pub fn named_profile(environment: &dyn Environment) -> Option<(&'static str, &str)> {
    ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
        .into_iter()
        .find_map(|variable| Some((variable, environment.variable(variable)?)))
}
