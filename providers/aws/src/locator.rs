//! The secrets and parameters that references name.

use handfast_core::{Complaint, Locator};

/// A secret, a parameter, or every parameter below a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// `sm/…`
    Secret(Secret),
    /// `ssm/…`
    Parameter(Parameter),
    /// `ssm/…/*`: the path, which begins with a slash, and does not end with one unless it is the root.
    Below(String),
}

/// A secret of Secrets Manager.
#[derive(Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name or its ARN, with or without the six characters that AWS adds at the end.
    pub id: String,
    /// The region that the ARN names.
    pub region: Option<String>,
    /// One version.
    pub version: Option<String>,
    /// The staging label of a version.
    pub stage: Option<String>,
}

/// A parameter of Parameter Store.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name or its ARN.
    pub name: String,
    /// The region that the ARN names.
    pub region: Option<String>,
    /// Its version or its label.
    pub selector: Option<String>,
}

/// The identifiers by which the items of a batch are found in its response.
pub struct Identifiers {
    /// The name or ARN in the request, without a version.
    own: String,
    /// The possible names of an ARN's item.
    names: Vec<String>,
}

impl Identifiers {
    /// Whether the response for one item could match the other: two versions of the same item, or a name and an ARN in another
    /// account.
    pub fn clash(&self, other: &Self) -> bool {
        self.own == other.own || self.names.contains(&other.own) || other.names.contains(&self.own)
    }
}

/// A parsed ARN.
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its account.
    pub account: &'a str,
    /// The rest.
    pub resource: &'a str,
}

/// The prefix of names for which Parameter Store reads from Secrets Manager.
pub const REFERENCE: &str = "/aws/reference/secretsmanager/";

/// Reads a locator.
pub fn parse(locator: &Locator) -> Result<Item, Complaint> {
    match locator.path.split_once('/') {
        Some(("sm", id)) => secret(id, locator).map(Item::Secret),
        Some(("ssm", "*")) => below("/", locator),
        Some(("ssm", name)) => match name.strip_suffix("/*") {
            Some(path) => below(path, locator),
            None => parameter(name, locator).map(Item::Parameter),
        },
        _ if locator.path.starts_with("arn:") => {
            let store = if locator.path.contains(":ssm:") { "ssm" } else { "sm" };
            refuse("the locator is an ARN alone", format!("write which store it is of before it: `{store}/arn:…`"))
        }
        _ => refuse(
            "the locator starts with neither `sm/` nor `ssm/`",
            "`sm/<name or ARN>` is a secret of Secrets Manager, `ssm/<name>` a parameter of Parameter Store".into(),
        ),
    }
}

/// Whether a locator names every parameter below a path.
pub fn is_list(locator: &Locator) -> bool {
    locator.path == "ssm/*" || (locator.path.starts_with("ssm/") && locator.path.ends_with("/*"))
}

impl Secret {
    /// Whether a batch can contain it. A batch returns only current versions.
    pub fn is_current(&self) -> bool {
        self.version.is_none() && self.stage.is_none()
    }

    /// Whether a secret in a response is this one.
    pub fn is(&self, name: Option<&str>, arn: Option<&str>) -> bool {
        let whole = |arn: &str| arn == self.id || without_suffix(arn) == Some(&self.id);
        name == Some(&self.id) || arn.is_some_and(whole)
    }

    /// Its identifiers in a batch.
    pub fn identifiers(&self) -> Identifiers {
        // The last characters of an ARN may be AWS's or part of the name.
        let of_arn = |arn: Arn<'_>| {
            let name = arn.resource.trim_start_matches("secret:");
            [Some(name), without_suffix(name)].into_iter().flatten().map(str::to_owned).collect()
        };
        Identifiers { own: self.id.clone(), names: Arn::parse(&self.id).map(of_arn).unwrap_or_default() }
    }
}

/// An ARN without the hyphen and six characters that AWS adds to a secret's name.
pub fn without_suffix(arn: &str) -> Option<&str> {
    let (name, suffix) = arn.rsplit_once('-')?;
    (suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(name)
}

impl Parameter {
    /// The name for a request, with the version or label after a colon.
    pub fn request_name(&self) -> String {
        match &self.selector {
            Some(selector) => format!("{}:{selector}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether a parameter in a response is this one, in any version.
    pub fn is(&self, name: Option<&str>, arn: Option<&str>) -> bool {
        name == Some(&self.name) || arn == Some(&self.name)
    }

    /// Its identifiers in a batch.
    pub fn identifiers(&self) -> Identifiers {
        let of_arn = |arn: Arn<'_>| {
            let name = arn.resource.trim_start_matches("parameter");
            [name, name.trim_start_matches('/')].map(str::to_owned).into()
        };
        Identifiers { own: self.name.clone(), names: Arn::parse(&self.name).map(of_arn).unwrap_or_default() }
    }
}

impl<'a> Arn<'a> {
    /// Parses an ARN.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
        let (partition, _service, region) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { partition, region, account: parts.next()?, resource: parts.next()? })
    }
}

/// Whether a text can be a region's name, which becomes part of a host name.
pub fn is_region(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

fn secret(id: &str, locator: &Locator) -> Result<Secret, Complaint> {
    let (name, region) = match id.starts_with("arn:") {
        true => {
            let arn = arn(id, "secretsmanager", "secret:")?;
            (&arn.resource["secret:".len()..], Some(arn.region.to_owned()))
        }
        false => (id, None),
    };
    if id.ends_with('*') {
        return refuse(
            "lists by path are of parameters, and this is a secret",
            "name each secret; `#*` gives every field of one, and `ssm/<path>/*` every parameter below a path".into(),
        );
    }
    if let Some((_, rest)) = name.split_once(':') {
        let whole = &id[..id.len() - rest.len() - 1];
        return refuse(
            "this is how ECS writes a secret's field and version",
            format!("write `sm/{whole}{}`", of_ecs(rest)),
        );
    }
    named(name, 512, "/_+=.@-!", "a secret's name")?;
    if let Some(label) = locator.parameter("label") {
        return refuse("`label` is of a parameter", format!("a secret's version has stages: `?stage={label}`"));
    }
    let version = locator.parameter("version").map(str::to_owned);
    if version.as_ref().is_some_and(|version| !(32..=64).contains(&version.len())) {
        return refuse(
            "`version` is not a version's id, which has 32 to 64 characters",
            "`aws secretsmanager list-secret-version-ids` shows them; `?stage=AWSPREVIOUS` is the one before".into(),
        );
    }
    let stage = locator.parameter("stage").map(str::to_owned);
    if stage.as_ref().is_some_and(|stage| stage.len() > 256) {
        return refuse("`stage` has more than 256 characters", "such as `?stage=AWSPREVIOUS`".into());
    }
    Ok(Secret { id: id.to_owned(), region, version, stage })
}

/// The query and field of a reference that are the same as ECS's `json-key:version-stage:version-id`
/// (docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html).
fn of_ecs(rest: &str) -> String {
    let mut parts = rest.split(':');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (key, stage, version) = (next(), next(), next());
    let query = match (version, stage) {
        (Some(version), _) => format!("?version={version}"),
        (None, Some(stage)) => format!("?stage={stage}"),
        (None, None) => String::new(),
    };
    query + &key.map(|key| format!("#{key}")).unwrap_or_default()
}

fn parameter(name: &str, locator: &Locator) -> Result<Parameter, Complaint> {
    if name.starts_with("arn:") {
        let arn = arn(name, "ssm", "parameter/")?;
        named(&arn.resource["parameter/".len()..], 1011, "_.-/", "a parameter's name")?;
        let region = Some(arn.region.to_owned());
        return Ok(Parameter { name: name.to_owned(), region, selector: selector(locator, false)? });
    }
    let name = slashed(name);
    if let Some(secret) = name.strip_prefix(REFERENCE) {
        named(secret, 512, "/_+=.@-!", "a secret's name")?;
        return Ok(Parameter { region: None, selector: selector(locator, true)?, name });
    }
    if name.contains(':') {
        let hint = "a version or label stands in the query: `?version=3` or `?label=prod`";
        return refuse("the parameter's name has a `:` in it", hint.into());
    }
    named(&name, 1011, "_.-/", "a parameter's name")?;
    if name.ends_with('/') || name.contains("//") {
        return refuse("the parameter's name has an empty part", "write it as `ssm/prod/web/db`".into());
    }
    Ok(Parameter { region: None, selector: selector(locator, false)?, name })
}

fn below(path: &str, locator: &Locator) -> Result<Item, Complaint> {
    if !locator.parameters.is_empty() {
        return refuse("a list takes no query", "name one parameter, or leave the query out".into());
    }
    if path.starts_with("arn:") {
        return refuse("a list is of a path, not of an ARN", "write it as `ssm/prod/web/*`".into());
    }
    // A path always begins with a slash. Parameters without a slash are below the root only.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
        return refuse("the path has an empty part", "write it as `ssm/prod/web/*`".into());
    }
    named(&path, 1011, "_.-/", "a path")?;
    Ok(Item::Below(path))
}

/// Adds the slash at the beginning to a name that contains a slash.
fn slashed(name: &str) -> String {
    if name.contains('/') && !name.starts_with('/') { format!("/{name}") } else { name.to_owned() }
}

/// The version or label, if there is one.
fn selector(locator: &Locator, of_secret: bool) -> Result<Option<String>, Complaint> {
    if let Some(stage) = locator.parameter("stage") {
        return refuse("`stage` is of a secret", format!("a parameter's version has labels: `?label={stage}`"));
    }
    match (locator.parameter("version"), locator.parameter("label")) {
        (Some(_), Some(_)) => refuse("`version` and `label` both name a version", "leave one of them out".into()),
        (Some(version), None) if !of_secret => match version.parse::<u64>() {
            Ok(1..) if version.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(version.to_owned())),
            _ => refuse("`version` is not a number from 1 on", "`?version=3` is a parameter's third version".into()),
        },
        (version, label) => {
            let selector = version.or(label);
            if let Some(selector) = selector {
                named(selector, 100, "_.-", "a label")?;
            }
            Ok(selector.map(str::to_owned))
        }
    }
}

/// Parses an ARN of this service, with this start of the resource.
fn arn<'a>(text: &'a str, service: &str, resource: &str) -> Result<Arn<'a>, Complaint> {
    let shape = format!("an ARN is `arn:aws:{service}:<region>:<account>:{resource}<name>`");
    let Some(arn) = Arn::parse(text) else { return refuse("the ARN has too few parts", shape) };
    let other = text.split(':').nth(2).filter(|other| *other != service);
    if let Some(other) = other {
        return refuse(&format!("the ARN is of `{}`, not of `{service}`", handfast_core::excerpt(other)), shape);
    }
    let is_account = arn.account.len() == 12 && arn.account.bytes().all(|byte| byte.is_ascii_digit());
    match () {
        () if !arn.partition.starts_with("aws") => refuse("the ARN's partition is not one of AWS", shape),
        () if !is_region(arn.region) => refuse("the ARN has no region", shape),
        () if !is_account => refuse("the ARN's account is not a number of 12 digits", shape),
        () if !arn.resource.starts_with(resource) => refuse("the ARN is of something else", shape),
        () => Ok(arn),
    }
}

/// Checks that a name consists of letters, digits and these other characters.
fn named(name: &str, longest: usize, others: &str, what: &str) -> Result<(), Complaint> {
    let spaced = || others.chars().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(" ");
    let expected = || format!("{what} has 1 to {longest} letters, digits and {}", spaced());
    if name.is_empty() || name.len() > longest {
        return refuse(&format!("{what} has {} characters", name.len()), expected());
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c)) {
        Some(other) => refuse(&format!("{what} has a {other:?} in it"), expected()),
        None => Ok(()),
    }
}

fn refuse<T>(message: &str, hint: String) -> Result<T, Complaint> {
    Err(Complaint::new(message).hint(hint))
}

#[cfg(test)]
mod tests;
