//! The endpoints of AWS's services: the user's, otherwise AWS's own host names
//! (docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html, …/feature-endpoints.html).
//!
//! The SDKs know these names. Only STS's name is made here, because STS has no SDK here.

use handfast_core::{Complaint, Environment, Problems, Table, excerpt};
use handfast_http::{Address, Plaintext};

use crate::region::Target;

/// A service that handfast uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Secrets Manager.
    SecretsManager,
    /// Systems Manager, of which Parameter Store is a part.
    Ssm,
    /// The Security Token Service.
    Sts,
}

/// The endpoints.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// For all services: `endpoint`, otherwise AWS_ENDPOINT_URL.
    any: Option<String>,
    /// For each service: its own variable.
    own: [Option<String>; 3],
    /// Whether to use AWS's host names for FIPS.
    pub fips: bool,
    /// Whether to use AWS's host names for IPv4 and IPv6.
    pub dual_stack: bool,
    /// Whether endpoints in variables and profiles are ignored.
    ignores_others: bool,
}

/// The services and their variables, in the order of `own`.
const SERVICES: [(Service, &str); 3] = [
    (Service::SecretsManager, "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
    (Service::Ssm, "AWS_ENDPOINT_URL_SSM"),
    (Service::Sts, "AWS_ENDPOINT_URL_STS"),
];

const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";
/// The SDKs read this variable themselves, and panic if its file is invalid.
const PARTITIONS: &str = "SMITHY_CLIENT_SDK_CUSTOM_PARTITION";
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

impl Endpoints {
    /// Reads `endpoint` and the variables. Adds problems with the variables to `missing`.
    pub fn read(
        table: &Table,
        environment: &dyn Environment,
        problems: &mut Problems,
        missing: &mut Vec<Complaint>,
    ) -> Self {
        let plaintext = plaintext(table);
        let parse = |text: &str| parse(text, plaintext);
        if environment.variable(PARTITIONS).is_some() {
            let message = format!("`{PARTITIONS}` is set: the SDK would read AWS' regions from a file");
            missing.push(Complaint::new(message).hint("unset it"));
        }
        let mut endpoints = Self {
            fips: boolean(environment, FIPS, missing),
            dual_stack: boolean(environment, DUAL_STACK, missing),
            ..Self::default()
        };
        if let Some((text, place)) = table.string("endpoint").zip(table.place("endpoint")) {
            match parse(text) {
                Ok(url) => endpoints.any = Some(url),
                Err(complaint) => problems.add(place, complaint.context("`endpoint`")),
            }
            return endpoints;
        }
        if boolean(environment, IGNORE, missing) {
            endpoints.ignores_others = true;
            return endpoints;
        }
        let mut variable = |name: &str| match parse(environment.variable(name)?) {
            Ok(url) => Some(url),
            Err(complaint) => {
                missing.push(complaint.context(format!("`{name}`")));
                None
            }
        };
        endpoints.any = variable("AWS_ENDPOINT_URL");
        endpoints.own = SERVICES.map(|(_, name)| variable(name));
        endpoints
    }

    /// The user's URL of a service, if there is one. Otherwise its SDK knows the URL.
    pub fn configured(&self, service: Service) -> Option<&str> {
        let own = SERVICES.iter().zip(&self.own).find(|((known, _), _)| *known == service);
        own.and_then(|(_, own)| own.as_deref()).or(self.any.as_deref())
    }

    /// Whether requests to an endpoint leave this machine unencrypted.
    pub fn has_unencrypted(&self) -> bool {
        let is_far = |url: &str| Address::parse(url, Plaintext::Anywhere).is_ok_and(|address| !address.is_local());
        self.urls().any(|url| url.starts_with("http://") && is_far(url))
    }

    /// All URLs of the user.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.any.iter().chain(self.own.iter().flatten()).map(String::as_str)
    }

    /// Whether an endpoint in a profile has no effect: the user's endpoint is for all services, or others are ignored.
    pub fn overrides_profile(&self) -> bool {
        self.ignores_others || self.any.is_some()
    }

    /// The kind of server that requests go to.
    pub fn target(&self) -> Target {
        if self.any.is_some() { Target::Custom } else { Target::Aws }
    }

    /// The URL of STS in a region.
    pub fn sts(&self, region: &str) -> String {
        if let Some(url) = self.configured(Service::Sts) {
            return url.to_owned();
        }
        let partition = partition(region);
        // In GovCloud all host names are FIPS endpoints, and only the names for IPv6 have the suffix.
        let has_suffix = self.dual_stack || partition.name != "aws-us-gov";
        let fips = if self.fips && has_suffix { "-fips" } else { "" };
        let domain = if self.dual_stack { partition.dual_stack_domain } else { partition.domain };
        format!("https://sts{fips}.{region}.{domain}")
    }
}

/// A part of AWS with its own host names and accounts.
#[derive(Clone, Copy)]
pub struct Partition {
    /// Its name in ARNs: `aws`, `aws-cn`.
    pub name: &'static str,
    /// The end of its services' host names.
    pub domain: &'static str,
    dual_stack_domain: &'static str,
}

/// The partition of a region.
pub fn partition(region: &str) -> Partition {
    const BY_PREFIX: &[(&str, Partition)] = &[
        ("cn-", of("aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn")),
        ("us-gov-", of("aws-us-gov", "amazonaws.com", "api.aws")),
        ("eusc-", of("aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu")),
        ("us-isob-", of("aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud")),
        ("us-isof-", of("aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov")),
        ("us-iso-", of("aws-iso", "c2s.ic.gov", "api.aws.ic.gov")),
        ("eu-isoe-", of("aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk")),
    ];
    const fn of(name: &'static str, domain: &'static str, dual_stack_domain: &'static str) -> Partition {
        Partition { name, domain, dual_stack_domain }
    }
    let known = BY_PREFIX.iter().find(|(prefix, _)| region.starts_with(prefix));
    known.map_or(of("aws", "amazonaws.com", "api.aws"), |(_, partition)| *partition)
}

/// The hosts that unencrypted requests may go to, according to `danger_plaintext`.
pub fn plaintext(table: &Table) -> Plaintext {
    match table.boolean("danger_plaintext") {
        Some(true) => Plaintext::Anywhere,
        _ => Plaintext::Local,
    }
}

/// An endpoint's URL, without the slash at its end.
fn parse(text: &str, plaintext: Plaintext) -> Result<String, Complaint> {
    let expected = "an endpoint is `https://host` or `https://host:port`";
    let address = Address::parse(text, plaintext).map_err(|complaint| {
        let offers_a_socket = complaint.hint.as_ref().is_some_and(|hint| hint.contains("unix://"));
        if offers_a_socket { complaint.hint(expected) } else { complaint }
    })?;
    if address.unix_socket.is_some() {
        return Err(Complaint::new("AWS is not behind a Unix socket").hint(expected));
    }
    Ok(address.url.as_str().trim_end_matches('/').to_owned())
}

/// Reads a boolean in the form of AWS's variables.
fn boolean(environment: &dyn Environment, name: &str, missing: &mut Vec<Complaint>) -> bool {
    let Some(text) = environment.variable(name) else { return false };
    match text.to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => {
            let message = format!("`{name}` is \"{}\", expected true or false", excerpt(text));
            missing.push(Complaint::new(message).hint("unset it, or set it to \"true\""));
            false
        }
    }
}

#[cfg(test)]
mod tests;
