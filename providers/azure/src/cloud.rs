//! Azure's clouds, and the addresses of vaults in them
//! (learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers).

use handfast_core::{Complaint, excerpt};
use handfast_http::Url;

/// A cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The domain of its vaults.
    pub suffix: String,
    /// The address of its Entra ID, if known.
    pub authority: Option<&'static str>,
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its name: the first label of its host.
    pub name: String,
    /// Its address.
    pub url: Url,
}

/// The clouds by name, each with the domain of its vaults and its Entra ID.
const CLOUDS: [(&str, &str, &str); 3] = [
    ("public", "vault.azure.net", "https://login.microsoftonline.com"),
    ("usgov", "vault.usgovcloudapi.net", "https://login.microsoftonline.us"),
    ("china", "vault.azure.cn", "https://login.chinacloudapi.cn"),
];

impl Cloud {
    /// The cloud of this name, or a private one with this domain.
    pub fn named(name: &str) -> Result<Self, Complaint> {
        if let Some((_, suffix, authority)) = CLOUDS.iter().find(|(known, ..)| *known == name) {
            return Ok(Self { suffix: (*suffix).to_owned(), authority: Some(*authority) });
        }
        let is_domain = name.contains('.')
            && name
                .split('.')
                .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        match is_domain {
            true => Ok(Self { suffix: name.to_ascii_lowercase(), authority: None }),
            false => Err(Complaint::new(format!("`cloud` is \"{}\", which is no cloud", excerpt(name)))
                .hint("it is \"public\", \"usgov\", \"china\", or the domain of a private cloud's vaults")),
        }
    }

    /// The resource for which a token for its vaults is requested.
    pub fn resource(&self) -> String {
        format!("https://{}", self.suffix)
    }

    /// The vault of this name.
    pub fn vault(&self, name: &str) -> Result<Address, Complaint> {
        let fits = (3..=24).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !name.ends_with('-')
            && !name.contains("--");
        let wrong = || {
            Complaint::new(format!("`{}` is not a vault's name", excerpt(name))).hint(
                "3 to 24 letters, digits and single hyphens, a letter first: the part before the domain of its address",
            )
        };
        if !fits {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        let url = Url::parse(&format!("https://{name}.{}/", self.suffix)).map_err(|_| wrong())?;
        Ok(Address { name, url })
    }

    /// The vault with this name or address. With `anywhere`, it need not be under the cloud's domain.
    pub fn vault_at(&self, text: &str, anywhere: bool) -> Result<Address, Complaint> {
        if !text.contains("://") {
            return self.vault(text);
        }
        let wrong = |message: String| {
            Complaint::new(message).hint(format!("a vault's address is `https://<name>.{}`", self.suffix))
        };
        let url = Url::parse(text).map_err(|error| wrong(format!("the address is not a URL: {error}")))?;
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err(wrong("the address has no host".into()));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("the address of {host} has a user name or a password in it")));
        }
        if url.scheme() != "https" {
            // Anybody on the network path could use the token, which is valid for every vault.
            return Err(wrong(format!("the address of {host} does not start with `https://`")));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(format!("the address of {host} goes on after the host")));
        }
        if is_hsm(&host) {
            return Err(Complaint::new(format!("{host} is a Managed HSM, which holds keys and no secrets"))
                .hint("name a Key Vault: secrets are kept in vaults alone"));
        }
        if !anywhere && !is_below(&host, &self.suffix) {
            let hint = "look at the name and at `cloud`; `endpoint_suffix_check = false` is for an address that is meant to be elsewhere";
            let message = format!("{host} is not under the cloud's domain, `{}`", self.suffix);
            return Err(Complaint::new(message).hint(hint));
        }
        let name = host.split('.').next().unwrap_or(&host).to_owned();
        Ok(Address { name, url })
    }
}

/// Whether a host is below a domain.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn is_hsm(host: &str) -> bool {
    ["managedhsm.azure.net", "managedhsm.usgovcloudapi.net", "managedhsm.azure.cn"]
        .iter()
        .any(|hsm| is_below(host, hsm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> Cloud {
        Cloud::named("public").unwrap()
    }

    #[test]
    fn a_vault_is_a_name_or_an_address_under_its_clouds_domain() {
        for (text, url) in [
            ("web", "https://web.vault.azure.net/"),
            ("Web-1", "https://web-1.vault.azure.net/"),
            ("https://web.vault.azure.net", "https://web.vault.azure.net/"),
            ("https://WEB.vault.azure.net:443/", "https://web.vault.azure.net/"),
        ] {
            assert_eq!(public().vault_at(text, false).unwrap().url.as_str(), url, "{text}");
        }
        for text in [
            "",
            "ab",
            "1web",
            "web-",
            "we--b",
            "web_1",
            "w.b",
            "a-name-of-twenty-five-let",
            "http://web.vault.azure.net",
            "https://web.vault.azure.net/secrets/db",
            "https://web.vault.azure.net?x",
            "https://user:pa55@web.vault.azure.net",
            "https://web.vault.azure.cn",
            "https://vault.azure.net",
            "https://.vault.azure.net",
            "https://webvault.azure.net",
            "https://web.vault.azure.net.example",
            "https://hsm.managedhsm.azure.net",
        ] {
            let complaint = public().vault_at(text, false).expect_err(text);
            assert!(!format!("{complaint:?}").contains("pa55"), "{complaint:?}");
        }
        assert!(public().vault_at("https://127.0.0.1:8443", true).is_ok());
        assert!(public().vault_at("https://hsm.managedhsm.azure.net", true).is_err());
        assert!(public().vault_at("http://127.0.0.1", true).is_err());
    }

    #[test]
    fn each_cloud_has_its_own_domain() {
        assert_eq!(Cloud::named("usgov").unwrap().resource(), "https://vault.usgovcloudapi.net");
        let private = Cloud::named("vault.local.azurestack.external").unwrap();
        assert_eq!(private.vault("web").unwrap().url.as_str(), "https://web.vault.local.azurestack.external/");
        assert_eq!(private.authority, None);
        for wrong in ["", "germany", "a..b", "https://vault.azure.net", "vault.azure.net/", ".vault"] {
            assert!(Cloud::named(wrong).is_err(), "{wrong}");
        }
    }
}
