//! The keys of a profile in the shared files: its own keys, or those of a role
//! (docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html).

use handfast_core::{Complaint, ProviderError, SecretValue, did_you_mean, excerpt};
use zeroize::Zeroizing;

use super::keys::{Found, Keys};
use super::resources::{Resources, denied};
use super::settings::{Role, named_profile};
use super::shared_files::{Profile, Profiles};
use super::{container, environment, machine, sts};

/// The longest chain of roles.
const LONGEST: usize = 8;

pub async fn find(resources: &Resources) -> Result<Found, ProviderError> {
    let name = resources.settings.profile(&*resources.context.environment);
    let profiles = Profiles::read(resources)?;
    if !profiles.all.contains_key(name) {
        return Ok(Found::NotSetUp(format!("no profile `{}` in {}", excerpt(name), profiles.places)));
    }
    if let Some((key, hint)) = profiles.endpoint_key(resources, name) {
        return Err(denied(format!(
            "no AWS credentials in the profile `{}`: it has `{key}`, which says where AWS is, and is not read from there",
            excerpt(name)
        ))
        .hint(hint));
    }
    keys(resources, &profiles, name).await
}

/// Fails if the profile has an endpoint, whatever the source of the keys, because AWS's own tools would use that endpoint.
/// Unreadable files are no failure here, because the keys may come from elsewhere.
pub fn check_endpoint(resources: &Resources) -> Result<(), ProviderError> {
    let name = resources.settings.profile(&*resources.context.environment);
    let Some((key, hint)) = Profiles::read(resources).ok().and_then(|profiles| profiles.endpoint_key(resources, name))
    else {
        return Ok(());
    };
    let name = excerpt(name);
    let why = format!("the profile `{name}` has `{key}`, which says where AWS is, and is not read from there");
    Err(denied(why).hint(hint))
}

/// Refuses a variable that names a missing profile, because any other keys would have another identity. AWS's own tools refuse it
/// too.
pub fn exists(resources: &Resources) -> Result<(), ProviderError> {
    let Some((variable, name)) = named_profile(&*resources.context.environment) else { return Ok(()) };
    let profiles = Profiles::read(resources)?;
    if profiles.all.contains_key(name) {
        return Ok(());
    }
    let hint = did_you_mean(name, profiles.all.keys().map(String::as_str))
        .unwrap_or_else(|| format!("mount the file that has it, or unset {variable} for another way to credentials"));
    let (name, places) = (excerpt(name), &profiles.places);
    Err(denied(format!("no AWS credentials: `{variable}` is \"{name}\", and there is no such profile in {places}"))
        .hint(hint))
}

/// The keys of a profile: its own, or those of the role that it names. The keys that assume the role may come from another
/// profile or way.
async fn keys(resources: &Resources, profiles: &Profiles, name: &str) -> Result<Found, ProviderError> {
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
                    return Ok(Found::NotSetUp(format!(
                        "the profile `{}` has neither keys nor a role",
                        excerpt(&name)
                    )));
                }
                None => return Err(failed("it has no keys".into())),
            }
        };
        if roles.len() == LONGEST || roles.iter().any(|(seen, _)| *seen == name) {
            return Err(failed("its roles lead in a circle".into()));
        }
        let role = ProfileRole {
            arn: arn.to_owned(),
            external_id: value("external_id").map(str::to_owned),
            session_name: value("role_session_name").unwrap_or(resources.settings.session_name()).to_owned(),
        };
        if let Some(file) = value("web_identity_token_file") {
            break Found::Keys(sts::assume_with_token(resources, file, &role.role()).await?);
        }
        if value("mfa_serial").is_some() {
            return Err(failed("`mfa_serial` asks for a code, and nobody is there to type one".into()).hint(INSTEAD));
        }
        roles.push((name.clone(), role));
        match (value("source_profile"), value("credential_source")) {
            (Some(source), _) => name = source.to_owned(),
            (None, Some("Environment")) => break environment::find(resources)?,
            (None, Some("EcsContainer")) => break container::find(resources).await?,
            (None, Some("Ec2InstanceMetadata")) => break machine::find(resources).await?,
            (None, Some(other)) => {
                let why = format!("`credential_source` is \"{}\"", excerpt(other));
                return Err(failed(why).hint("Environment, EcsContainer or Ec2InstanceMetadata"));
            }
            (None, None) => return Err(failed("its role has neither `source_profile` nor `credential_source`".into())),
        }
    };
    let mut keys = match source {
        Found::Keys(keys) => keys,
        Found::NotSetUp(why) | Found::Incomplete(why) => {
            return Err(denied(format!(
                "no AWS credentials in the profile `{}`: its source is not there: {why}",
                excerpt(&name)
            )));
        }
    };
    for (_, role) in roles.iter().rev() {
        keys = sts::assume(resources, &keys, &role.role()).await?;
    }
    Ok(Found::Keys(keys))
}

/// A role in a profile.
struct ProfileRole {
    arn: String,
    external_id: Option<String>,
    session_name: String,
}

impl ProfileRole {
    fn role(&self) -> Role<'_> {
        Role { arn: &self.arn, external_id: self.external_id.as_deref(), session_name: &self.session_name }
    }
}

/// The hint for profiles that need a program, a browser or a person at a keyboard.
const INSTEAD: &str = "use a role of the machine, the task or the pod; or `aws configure export-credentials --format env` where there is one who can log in, for keys in the environment";

/// The keys in a profile.
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
