//! The secrets in references: `<secret>`, or `<vault>/<secret>`.

use handfast_core::{Complaint, Locator, excerpt};

/// The parts of a locator.
pub struct Parts<'a> {
    /// The vault's name, if the reference has one.
    pub vault: Option<&'a str>,
    /// The secret's name.
    pub secret: &'a str,
    /// Its version, if the reference has one.
    pub version: Option<&'a str>,
}

/// Parses a locator.
pub fn parts(locator: &Locator) -> Result<Parts<'_>, Complaint> {
    let path = &locator.path;
    if path.contains("://") {
        return Err(Complaint::new("an address names no secret here").hint(from_identifier(path)));
    }
    let (vault, secret) = match path.split('/').collect::<Vec<_>>()[..] {
        [secret] => (None, secret),
        [vault, secret] => (Some(vault), secret),
        [_, _, version] if is_version(version) => {
            return Err(Complaint::new("a version stands in a query")
                .hint(format!("write `?version={version}` instead of `/{version}`")));
        }
        _ => return Err(Complaint::new(format!("`{}` has too many parts", excerpt(path))).hint(EXPECTED)),
    };
    // learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#objects-identifiers-and-versioning
    if !(1..=127).contains(&secret.len()) || !secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        let hint = "1 to 127 letters, digits and hyphens; a vault keeps no other names";
        return Err(Complaint::new(format!("`{}` is not a secret's name", excerpt(secret))).hint(hint));
    }
    let version = locator.parameter("version");
    if version.is_some_and(|version| !is_version(version)) {
        let hint =
            "32 hexadecimal digits, the last part of the secret's identifier; without `?version=` it is the newest";
        return Err(Complaint::new("`version` is not a version").hint(hint));
    }
    Ok(Parts { vault, secret, version })
}

const EXPECTED: &str = "write `azure:<secret>`, or `azure:<vault>/<secret>`";

fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The hint for a secret's identifier, as the portal shows it.
fn from_identifier(text: &str) -> String {
    let translated = || {
        let (host, rest) = text.split_once("://")?.1.split_once("/secrets/")?;
        let (secret, version) = rest.split_once('/').unwrap_or((rest, ""));
        let version = if is_version(version) { format!("?version={version}") } else { String::new() };
        Some(format!("write `{}/{secret}{version}`", host.split('.').next()?))
    };
    translated().unwrap_or_else(|| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use handfast_core::SecretRef;

    use super::*;

    const VERSION: &str = "0123456789abcdef0123456789ABCDEF";

    #[test]
    fn a_secret_with_or_without_its_vault() {
        let checked =
            |reference: &str| parts(&SecretRef::parse(reference).unwrap().locator).map(|parts| parts.vault.is_some());
        assert_eq!(checked("azure:db-password"), Ok(false));
        assert_eq!(checked(&format!("azure:web/db?version={VERSION}#a")), Ok(true));
        for bad in [
            "azure:db_password",
            "azure:web/",
            "azure:web/db/x",
            "azure:web/db.pem",
            "azure:d b",
            "azure:ä",
            "azure:db?version=1",
            "azure:db?version=latest",
            &format!("azure:{}", "x".repeat(128)),
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hint_translates_an_identifier_into_a_reference() {
        let hint = |path: &str| {
            let locator = Locator { path: path.into(), parameters: Vec::new(), params: None };
            parts(&locator).map(|_| ()).unwrap_err().hint.unwrap()
        };
        assert_eq!(
            hint(&format!("https://web.vault.azure.net/secrets/db/{VERSION}")),
            format!("write `web/db?version={VERSION}`")
        );
        assert_eq!(hint("https://web.vault.azure.net/secrets/db"), "write `web/db`");
        assert_eq!(hint(&format!("web/db/{VERSION}")), format!("write `?version={VERSION}` instead of `/{VERSION}`"));
    }
}
