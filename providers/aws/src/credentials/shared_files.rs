//! The shared files and their profiles (docs.aws.amazon.com/sdkref/latest/guide/file-format.html).
//!
//! The SDK's own reader, in aws-runtime, is not used: it refuses a whole file for a line that AWS' other tools read or skip, such
//! as `key: value` or an indented setting after a section's name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use handfast_core::{ErrorKind, ProviderError, excerpt};
use zeroize::Zeroizing;

use super::outside::Outside;
use crate::region;

/// A profile's settings. Values may be credentials.
pub type Profile = BTreeMap<String, Zeroizing<String>>;

/// The profiles of both files, by name.
pub struct Profiles {
    /// By name.
    pub all: BTreeMap<String, Profile>,
    /// The files, for a message.
    pub places: String,
}

/// The region as far as it is known without asking anybody: configured, a variable's, or the profile's.
pub fn known_region(outside: &Outside) -> Result<Option<String>, ProviderError> {
    if let Some(region) = &outside.settings.region {
        return Ok(Some(region.clone()));
    }
    let name = outside.settings.profile(&*outside.context.environment);
    let profiles = Profiles::read(outside)?;
    let Some(region) = profiles.all.get(name).and_then(|profile| profile.get("region")) else { return Ok(None) };
    match region::check(region, outside.endpoints.asked()) {
        Ok(()) => Ok(Some(region.to_string())),
        Err(complaint) => {
            let place = format!("no AWS region: `region` of the profile `{}`", excerpt(name));
            Err(complaint.context(place).into_error(ErrorKind::Denied))
        }
    }
}

impl Profiles {
    /// The key of a profile that says where AWS is, where nothing that is read does: the SDKs would ask there.
    pub fn elsewhere(&self, outside: &Outside, name: &str) -> Option<&'static str> {
        let profile = self.all.get(name).filter(|_| !outside.endpoints.is_settled())?;
        ["endpoint_url", "services"].into_iter().find(|key| profile.contains_key(*key))
    }

    /// Reads both files; one that is not there has no profiles.
    pub fn read(outside: &Outside) -> Result<Self, ProviderError> {
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
