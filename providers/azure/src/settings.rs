//! The settings: `[providers.azure]`, otherwise the environment variables of Microsoft's own tools.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use handfast_core::{
    Complaint, Configured, Context, Environment, Locator, Problems, Provider, ProviderError, Settings, Sockets, Table,
    excerpt,
};
use handfast_http::{Options, Url};

use crate::auth::{self, Connections, Method};
use crate::cloud::{Address, Cloud};
use crate::locator;
use crate::policy;
use crate::session::Session;
use crate::store::Store;

/// An instance with its settings.
struct Azure {
    cloud: Cloud,
    vault: Option<Address>,
    /// Whether the settings have a vault, valid or not.
    has_vault: bool,
    authority: Option<Url>,
    check: bool,
    method: Method,
    options: Options,
    missing: Vec<Complaint>,
}

/// Reads the settings.
pub fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let Settings { table, fetch, environment, .. } = settings;
    let mut missing = Vec::new();
    let options = Options::read(&[fetch, &table], problems);
    missing.extend(options.unusable(environment));
    let check = table.boolean("endpoint_suffix_check").unwrap_or(true);
    let cloud = cloud(&table, problems);
    let authority = authority(&table, &cloud, environment, problems, &mut missing);
    let vault = vault(&table, &cloud, check, problems);
    let urls = authority.iter().chain(vault.iter().map(|vault| &vault.url));
    missing.extend(urls.filter_map(|url| options.unreachable(url, environment)));
    let method = auth::read(table.table("auth"), environment, problems, &mut missing);
    let has_vault = table.item("vault").is_some();
    Box::new(Azure { cloud, vault, has_vault, authority, check, method, options, missing })
}

impl Configured for Azure {
    fn missing(&self) -> Vec<Complaint> {
        self.missing.clone()
    }

    fn check(&self, locator: &Locator) -> Result<(), Complaint> {
        let parts = locator::parts(locator)?;
        match parts.vault {
            Some(name) => self.cloud.vault(name).map(|_| ()),
            // An invalid vault has been reported.
            None if self.has_vault => Ok(()),
            None => Err(Complaint::new("no vault is named")
                .hint("set `vault` in [providers.azure], or write `azure:<vault>/<secret>`")),
        }
    }

    fn sockets(&self) -> Sockets {
        Sockets::INTERNET
    }

    fn warning(&self) -> Option<String> {
        (!self.check).then(|| {
            "`endpoint_suffix_check = false`: a vault's address may be anywhere, and what answers there gets a token that reads \
             every secret this identity can"
                .into()
        })
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        Some(policy::assignments(self.vault.as_ref().map(|vault| vault.name.as_str()), locators))
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let Some(authority) = self.authority else {
            // `missing` has reported it before.
            return Err(ProviderError::new(handfast_core::ErrorKind::Unavailable, NO_AUTHORITY));
        };
        let requests = Arc::<AtomicU64>::default();
        let connections = Connections {
            authority,
            options: self.options.clone(),
            context: context.clone(),
            requests: requests.clone(),
            grace: Arc::default(),
        };
        let session = Session::new(self.method, connections)?;
        // With HTTP/2, many secrets need one handshake. For a single secret, HTTP/1.1 is faster.
        let options = Options { http2: context.several, ..self.options };
        Ok(Rc::new(Store {
            cloud: self.cloud,
            vault: self.vault,
            check: self.check,
            session,
            options,
            context,
            requests,
            vaults: RefCell::default(),
        }))
    }
}

const NO_AUTHORITY: &str = "no address of Entra ID";

fn cloud(table: &Table, problems: &mut Problems) -> Cloud {
    let named = Cloud::named(table.string("cloud").unwrap_or("public"));
    named.unwrap_or_else(|complaint| {
        if let Some(place) = table.place("cloud") {
            problems.add(place, complaint);
        }
        Cloud { suffix: "vault.azure.net".into(), authority: None }
    })
}

fn vault(table: &Table, cloud: &Cloud, check: bool, problems: &mut Problems) -> Option<Address> {
    let (text, place) = table.string("vault").zip(table.place("vault"))?;
    let address = cloud.vault_at(text, !check);
    address.map_err(|complaint| problems.add(place, complaint.context("`vault`"))).ok()
}

/// The address of Entra ID. Only `https` is allowed, because credentials are sent there.
fn authority(
    table: &Table,
    cloud: &Cloud,
    environment: &dyn Environment,
    problems: &mut Problems,
    missing: &mut Vec<Complaint>,
) -> Option<Url> {
    let hint = "it is `https://` and a host, such as https://login.microsoftonline.com";
    let parse = |text: &str| {
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.host_str().is_some());
        url.filter(|url| url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/"))
    };
    if let Some((text, place)) = table.string("authority").zip(table.place("authority")) {
        let url = parse(text);
        if url.is_none() {
            problems.add_with_hint(place, "`authority` is no address of Entra ID".to_owned(), hint);
        }
        return url;
    }
    if environment.is_unreadable("AZURE_AUTHORITY_HOST") {
        missing.push(Complaint::new("`AZURE_AUTHORITY_HOST` is not UTF-8").hint("set it to text, or unset it"));
        return None;
    }
    if let Some(text) = environment.variable("AZURE_AUTHORITY_HOST") {
        // Microsoft's tools also accept a host alone.
        let url = if text.contains("://") { parse(text) } else { parse(&format!("https://{text}")) };
        if url.is_none() {
            missing.push(Complaint::new("`AZURE_AUTHORITY_HOST` is no address of Entra ID").hint(hint));
        }
        return url;
    }
    if cloud.authority.is_none() {
        let domain = excerpt(&cloud.suffix);
        missing.push(
            Complaint::new(NO_AUTHORITY)
                .hint(format!("set `authority`, or AZURE_AUTHORITY_HOST, for the private cloud `{domain}`")),
        );
    }
    cloud.authority.and_then(parse)
}
