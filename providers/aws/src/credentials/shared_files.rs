//! The shared files and their profiles (docs.aws.amazon.com/sdkref/latest/guide/file-format.html).
//!
//! They are read as botocore reads them, which most users have tested their files with. The SDK's own parser, in aws-runtime, is
//! not used: it refuses the whole file for a line that AWS's other tools accept or skip, such as `key: value` or an indented
//! setting after a section's name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use handfast_core::{ErrorKind, ProviderError, excerpt};
use zeroize::Zeroizing;

use super::resources::{Resources, denied};
use crate::region::{self, Target};

/// A profile's settings. Values may be credentials.
pub type Profile = BTreeMap<String, Zeroizing<String>>;

/// One of the two files, whose sections have different names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    /// `~/.aws/config`.
    Configuration,
    /// `~/.aws/credentials`.
    Credentials,
}

/// The profiles of both files, by name.
pub struct Profiles {
    /// By name.
    pub all: BTreeMap<String, Profile>,
    /// The files, for a message.
    pub places: String,
}

/// The region, if it is known without a request: from the configuration, a variable or the profile.
pub fn known_region(resources: &Resources) -> Result<Option<String>, ProviderError> {
    if let Some(region) = &resources.settings.region {
        return Ok(Some(region.clone()));
    }
    let name = resources.settings.profile(&*resources.context.environment);
    let profiles = Profiles::read(resources)?;
    let Some(region) = profiles.all.get(name).and_then(|profile| profile.get("region")) else { return Ok(None) };
    match region::check(region, resources.endpoints.target()) {
        Ok(()) => Ok(Some(region.to_string())),
        Err(complaint) => {
            let place = format!("no AWS region: `region` of the profile `{}`", excerpt(name));
            Err(complaint.context(place).into_error(ErrorKind::Denied))
        }
    }
}

const ADDRESS: &str = "set `endpoint` in [providers.aws], or AWS_ENDPOINT_URL; or AWS_IGNORE_CONFIGURED_ENDPOINT_URLS to \"true\" for AWS' own names";

/// The kinds of AWS's own host names: the key, the variable that takes precedence over it, and a hint.
const KINDS: [(&str, &str, &str); 2] = [
    ("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT", "set AWS_USE_FIPS_ENDPOINT to what is meant"),
    ("use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT", "set AWS_USE_DUALSTACK_ENDPOINT to what is meant"),
];

impl Profiles {
    /// The key of a profile that sets an endpoint, which the SDKs would use, and a hint. `None` if a setting that handfast reads
    /// takes precedence over it.
    pub fn endpoint_key(&self, resources: &Resources, name: &str) -> Option<(&'static str, &'static str)> {
        let profile = self.all.get(name)?;
        let is_true = |key: &str| profile.get(key).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let is_ignored = resources.endpoints.overrides_profile() || is_true("ignore_configured_endpoint_urls");
        let address = ["endpoint_url", "services"].into_iter().filter(|key| profile.contains_key(*key));
        let address = address.map(|key| (key, ADDRESS)).next().filter(|_| !is_ignored);
        let kind = KINDS.iter().find(|(key, variable, _)| is_true(key) && resources.variable(variable).is_none());
        let kind = kind.map(|(key, _, hint)| (*key, *hint)).filter(|_| resources.endpoints.target() == Target::Aws);
        address.or(kind)
    }

    /// Reads both files. A missing file has no profiles.
    pub fn read(resources: &Resources) -> Result<Self, ProviderError> {
        let mut all = BTreeMap::new();
        let mut places = Vec::new();
        // For each key, the second file takes precedence.
        let files = [
            ("AWS_CONFIG_FILE", "config", File::Configuration),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", File::Credentials),
        ];
        for (variable, usual, file) in files {
            let Some(path) = path(resources, variable, usual) else { continue };
            places.push(format!("`{}`", path.display()));
            match resources.context.files.read(&path, None, 1 << 20) {
                Ok(text) => match unreadable(text.expose()) {
                    None => parse(&String::from_utf8_lossy(text.expose()), file, &mut all),
                    Some(why) => {
                        let message = format!("cannot read AWS' profiles: `{}`: {why}", path.display());
                        return Err(denied(message).hint("save it as UTF-8 without a byte order mark"));
                    }
                },
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

fn path(resources: &Resources, variable: &str, file: &str) -> Option<PathBuf> {
    let home = resources.variable("HOME");
    if let Some(path) = resources.variable(variable) {
        return Some(match (path.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => path.into(),
        });
    }
    home.map(|home| PathBuf::from(home).join(".aws").join(file))
}

/// Why a file is not text, if it is not. AWS's own tools do not read such files either.
fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("it begins with a byte order mark"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("it is UTF-16"),
        _ => bytes.contains(&0).then_some("it is no text"),
    }
}

/// Adds a file's profiles, as botocore reads them. A section's name is the profile's name, in the configuration file after the
/// word `profile`. Sections of other kinds are skipped. So is a line that is indented deeper than the setting before it: it
/// continues that setting's value, and no setting that is read here has such lines. An empty value counts as unset.
fn parse(text: &str, file: File, all: &mut BTreeMap<String, Profile>) {
    let mut section: Option<String> = None;
    // The indentation of this section's last setting.
    let mut setting: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || setting.is_some_and(|setting| indent > setting) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            section = name(header.split(']').next().unwrap_or_default().trim(), file).map(str::to_owned);
            setting = None;
            if let Some(section) = &section {
                all.entry(section.clone()).or_default();
            }
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        setting = Some(indent);
        // A comment at the end of a line begins after white space.
        let value = [" #", " ;", "\t#", "\t;"]
            .iter()
            .fold(value, |value, mark| value.split(mark).next().unwrap_or(value))
            .trim();
        if let Some(profile) = section.as_ref().and_then(|section| all.get_mut(section))
            && !value.is_empty()
        {
            profile.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
        }
    }
}

/// The profile's name in a section's name, if the section is a profile.
fn name(header: &str, file: File) -> Option<&str> {
    if file == File::Credentials || header == "default" {
        return Some(header);
    }
    let name = header.strip_prefix("profile").filter(|name| name.starts_with(char::is_whitespace))?.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
    // A name of two words must have quotes.
    quoted.or_else(|| (!name.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'')).then_some(name))
}

#[cfg(test)]
mod tests;
