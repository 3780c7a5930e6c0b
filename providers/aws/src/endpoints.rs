//! Where AWS' services are: what the user says, else the names that AWS gives them
//! (docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html, …/feature-endpoints.html).
//!
//! Those names are the SDKs' business, but for STS, which has no SDK here.

use handfast_core::{Complaint, Environment, Problems, Table, excerpt};
use handfast_http::{Address, Plaintext};

use crate::region::Asked;

/// A service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Secrets Manager.
    SecretsManager,
    /// Systems Manager, of which Parameter Store is a part.
    Ssm,
    /// The Security Token Service.
    Sts,
}

/// Where the services are.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// For every service: `endpoint`, else AWS_ENDPOINT_URL.
    any: Option<String>,
    /// For one: its own variable.
    own: [Option<String>; 3],
    /// Whether the names are those of FIPS.
    pub fips: bool,
    /// Whether the names are those of IPv6 too.
    pub dual_stack: bool,
    /// Whether what is said elsewhere than in the settings does not count.
    ignoring: bool,
}

/// The services and their variables, in the order of `own`.
const SERVICES: [(Service, &str); 3] = [
    (Service::SecretsManager, "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
    (Service::Ssm, "AWS_ENDPOINT_URL_SSM"),
    (Service::Sts, "AWS_ENDPOINT_URL_STS"),
];

const FIPS: &str = "AWS_USE_FIPS_ENDPOINT";
const DUAL_STACK: &str = "AWS_USE_DUALSTACK_ENDPOINT";
/// The SDKs read it themselves, and panic where its file is not as they want it.
const PARTITIONS: &str = "SMITHY_CLIENT_SDK_CUSTOM_PARTITION";
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

impl Endpoints {
    /// Reads `endpoint` and the variables. What is wrong with the variables goes to `missing`.
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
            endpoints.ignoring = true;
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

    /// The URL of a service, where the user says one. Else its SDK knows it.
    pub fn said(&self, service: Service) -> Option<&str> {
        let own = SERVICES.iter().zip(&self.own).find(|((known, _), _)| *known == service);
        own.and_then(|(_, own)| own.as_deref()).or(self.any.as_deref())
    }

    /// Whether a request to one of them leaves this machine unencrypted.
    pub fn leaves_in_clear_text(&self) -> bool {
        let is_far = |url: &str| Address::parse(url, Plaintext::Anywhere).is_ok_and(|address| !address.is_local());
        self.urls().any(|url| url.starts_with("http://") && is_far(url))
    }

    /// All URLs that the user says.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.any.iter().chain(self.own.iter().flatten()).map(String::as_str)
    }

    /// Whether nothing else may say where AWS is: it is said for every service, or to be what AWS says.
    pub fn is_settled(&self) -> bool {
        self.ignoring || self.any.is_some()
    }

    /// Who answers where a region is asked.
    pub fn asked(&self) -> Asked {
        if self.any.is_some() { Asked::Elsewhere } else { Asked::Aws }
    }

    /// The URL of STS in a region: it has no SDK here.
    pub fn sts(&self, region: &str) -> String {
        if let Some(url) = self.said(Service::Sts) {
            return url.to_owned();
        }
        let partition = partition(region);
        // In GovCloud all of it is as FIPS wants it, but for the names of IPv6.
        let is_named_so = self.dual_stack || partition.name != "aws-us-gov";
        let fips = if self.fips && is_named_so { "-fips" } else { "" };
        let domain = if self.dual_stack { partition.dual_stack_domain } else { partition.domain };
        format!("https://sts{fips}.{region}.{domain}")
    }
}

/// A part of AWS with names and accounts of its own.
#[derive(Clone, Copy)]
pub struct Partition {
    /// Its name, which ARNs begin with: `aws`, `aws-cn`.
    pub name: &'static str,
    /// What the names of its services end with.
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

/// Where clear text is allowed: `danger_plaintext`.
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

/// A boolean as AWS' variables have it.
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
