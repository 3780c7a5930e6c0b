//! The shared files and their profiles (docs.aws.amazon.com/sdkref/latest/guide/file-format.html).

use std::collections::BTreeMap;
use std::path::PathBuf;

use handfast_core::{Complaint, ErrorKind, ProviderError, SecretValue, excerpt};
use zeroize::Zeroizing;

use super::sts::{self, Role};
use super::{Found, Keys, Outside, container, denied, environment, machine};

/// No chain of roles is longer than this.
const LONGEST: usize = 8;

/// A profile's settings. Values may be credentials.
type Profile = BTreeMap<String, Zeroizing<String>>;

/// The profiles of both files, by name.
struct Profiles {
    all: BTreeMap<String, Profile>,
    /// The files, for a message.
    places: String,
}

pub async fn find(outside: &Outside) -> Result<Found, ProviderError> {
    let name = outside.settings.profile(&*outside.context.environment);
    let profiles = Profiles::read(outside)?;
    if !profiles.all.contains_key(name) {
        return Ok(Found::Passed(format!("no profile `{}` in {}", excerpt(name), profiles.places)));
    }
    if let Some(key) = profiles.elsewhere(outside, name) {
        return Err(denied(format!(
            "no AWS credentials in the profile `{}`: it has `{key}`, which says where AWS is, and is not read from there",
            excerpt(name)
        ))
        .hint("set `endpoint` in [providers.aws], or AWS_ENDPOINT_URL; or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS to \"true\" for AWS' own names"));
    }
    keys(outside, &profiles, name).await
}

/// The profile's region.
pub fn region(outside: &Outside) -> Result<Option<String>, ProviderError> {
    let name = outside.settings.profile(&*outside.context.environment);
    let profiles = Profiles::read(outside)?;
    let region = profiles.all.get(name).and_then(|profile| profile.get("region"));
    Ok(region.map(|region| region.to_string()))
}

/// The keys of a profile: its own, or those of the role that it names, which another profile or another way may be the source of.
async fn keys(outside: &Outside, profiles: &Profiles, name: &str) -> Result<Found, ProviderError> {
    let mut roles = Vec::new();
    let mut name = name.to_owned();
    let source = loop {
        let failed = |why: String| denied(format!("no AWS credentials in the profile `{}`: {why}", excerpt(&name)));
        let profile = profiles.all.get(&name).ok_or_else(|| failed(format!("there is none in {}", profiles.places)))?;
        let value = |key: &str| profile.get(key).map(|value| value.as_str());
        let is_source_of_itself = roles.last().is_some_and(|(last, _)| *last == name);
        let Some(arn) = value("role_arn").filter(|_| !is_source_of_itself) else {
            match own(profile).map_err(|why| ProviderError { hint: why.hint, ..failed(why.message) })? {
                Some(keys) => break Found::Keys(keys),
                None if roles.is_empty() => {
                    return Ok(Found::Passed(format!("the profile `{}` has neither keys nor a role", excerpt(&name))));
                }
                None => return Err(failed("it has no keys".into())),
            }
        };
        if roles.len() == LONGEST || roles.iter().any(|(seen, _)| *seen == name) {
            return Err(failed("its roles lead in a circle".into()));
        }
        let role = Named {
            arn: arn.to_owned(),
            external_id: value("external_id").map(str::to_owned),
            session_name: value("role_session_name").unwrap_or(outside.settings.session_name()).to_owned(),
        };
        if let Some(file) = value("web_identity_token_file") {
            break Found::Keys(sts::assume_with_token(outside, file, &role.role()).await?);
        }
        if value("mfa_serial").is_some() {
            return Err(failed("`mfa_serial` asks for a code, and nobody is there to type one".into()).hint(INSTEAD));
        }
        roles.push((name.clone(), role));
        match (value("source_profile"), value("credential_source")) {
            (Some(source), _) => name = source.to_owned(),
            (None, Some("Environment")) => break environment::find(outside)?,
            (None, Some("EcsContainer")) => break container::find(outside).await?,
            (None, Some("Ec2InstanceMetadata")) => break machine::find(outside).await?,
            (None, Some(other)) => {
                let why = format!("`credential_source` is \"{}\"", excerpt(other));
                return Err(failed(why).hint("Environment, EcsContainer or Ec2InstanceMetadata"));
            }
            (None, None) => return Err(failed("its role has neither `source_profile` nor `credential_source`".into())),
        }
    };
    let mut keys = match source {
        Found::Keys(keys) => keys,
        Found::Passed(why) => {
            return Err(denied(format!(
                "no AWS credentials in the profile `{}`: its source is not there: {why}",
                excerpt(&name)
            )));
        }
    };
    for (_, role) in roles.iter().rev() {
        keys = sts::assume(outside, &keys, &role.role()).await?;
    }
    Ok(Found::Keys(keys))
}

/// A role, as a profile names it.
struct Named {
    arn: String,
    external_id: Option<String>,
    session_name: String,
}

impl Named {
    fn role(&self) -> Role<'_> {
        Role { arn: &self.arn, external_id: self.external_id.as_deref(), session_name: &self.session_name }
    }
}

/// What to do without a program, a browser or somebody who types.
const INSTEAD: &str = "use a role of the machine, the task or the pod; or `aws configure export-credentials --format env` where there is one who can log in, for keys in the environment";

/// The keys that stand in a profile.
fn own(profile: &Profile) -> Result<Option<Keys>, Complaint> {
    if let (Some(id), Some(secret)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
        let secret_value = |text: &Zeroizing<String>| SecretValue::from(text.as_bytes().to_vec());
        let session_token = profile.get("aws_session_token").map(secret_value);
        return Ok(Some(Keys { id: id.to_string(), secret: secret_value(secret), session_token, expires: None }));
    }
    if profile.contains_key("aws_access_key_id") || profile.contains_key("aws_secret_access_key") {
        return Err(Complaint::new("of `aws_access_key_id` and `aws_secret_access_key` one is missing")
            .hint("a profile has both, or neither"));
    }
    if profile.contains_key("credential_process") {
        return Err(Complaint::new("`credential_process` is a program, and handfast starts none").hint(INSTEAD));
    }
    if profile.keys().any(|key| key.starts_with("sso_")) {
        return Err(Complaint::new("it is one of IAM Identity Center (SSO), whose login needs a browser").hint(INSTEAD));
    }
    if profile.contains_key("login_session") {
        return Err(Complaint::new("it is one of `aws login`, which needs a browser").hint(INSTEAD));
    }
    Ok(None)
}

impl Profiles {
    /// The key of a profile that says where AWS is, where nothing that is read does: the SDKs would ask there.
    fn elsewhere(&self, outside: &Outside, name: &str) -> Option<&'static str> {
        let profile = self.all.get(name).filter(|_| !outside.endpoints.is_settled())?;
        ["endpoint_url", "services"].into_iter().find(|key| profile.contains_key(*key))
    }

    fn read(outside: &Outside) -> Result<Self, ProviderError> {
        let mut all = BTreeMap::new();
        let mut places = Vec::new();
        // The second wins, key by key.
        let files = [("AWS_CONFIG_FILE", "config", "profile "), ("AWS_SHARED_CREDENTIALS_FILE", "credentials", "")];
        for (variable, file, prefix) in files {
            let Some(path) = path(outside, variable, file) else { continue };
            places.push(format!("`{}`", path.display()));
            match outside.context.files.read(&path, None, 1 << 20) {
                Ok(text) => parse(&String::from_utf8_lossy(text.expose()), prefix, &mut all),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => {
                    let error = error.context("cannot read AWS' profiles");
                    return Err(ProviderError { kind: ErrorKind::Denied, ..error });
                }
            }
        }
        let places = if places.is_empty() { "any file: `HOME` is not set".to_owned() } else { places.join(" and ") };
        Ok(Self { all, places })
    }
}

fn path(outside: &Outside, variable: &str, file: &str) -> Option<PathBuf> {
    let home = outside.variable("HOME");
    if let Some(path) = outside.variable(variable) {
        return Some(match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => path.into(),
        });
    }
    home.map(|home| PathBuf::from(home).join(".aws").join(file))
}

/// Adds a file's profiles. A name stands alone or, in the configuration's file, behind `profile `; sections of other kinds are
/// nobody's, and so are the indented lines of a nested setting.
fn parse(text: &str, prefix: &str, all: &mut BTreeMap<String, Profile>) {
    let mut section: Option<String> = None;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            let name = match header.strip_prefix(prefix) {
                Some(name) => Some(name.trim()),
                None => (header == "default").then_some(header),
            };
            section = name.map(str::to_owned);
            continue;
        }
        let (Some(section), Some((key, value)), false) = (&section, line.split_once('='), is_nested) else { continue };
        // A comment within a line begins behind white space.
        let value =
            [" #", " ;", "\t#", "\t;"].iter().fold(value, |value, mark| value.split(mark).next().unwrap_or(value));
        let profile = all.entry(section.clone()).or_default();
        profile.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_as_aws_own_tools_read_them() {
        let mut all = BTreeMap::new();
        let config = "# a comment\n[default]\nregion = eu-west-1 # mine\ns3 =\n  region = none\n[profile web]\nrole_arn=arn\n\
            [sso-session x]\nregion = none\n[web]\nregion = none\n";
        parse(config, "profile ", &mut all);
        parse("[web]\nAWS_ACCESS_KEY_ID = id\naws_secret_access_key = a=b/c+d#e\n[default]\n", "", &mut all);
        let value = |profile: &str, key: &str| all[profile].get(key).map(|value| value.as_str());
        assert_eq!(all.keys().collect::<Vec<_>>(), ["default", "web"]);
        assert_eq!((value("default", "region"), value("web", "region")), (Some("eu-west-1"), None));
        assert_eq!((value("web", "role_arn"), value("web", "aws_access_key_id")), (Some("arn"), Some("id")));
        assert_eq!(value("web", "aws_secret_access_key"), Some("a=b/c+d#e"));
    }
}
