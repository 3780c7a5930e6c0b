//! The settings: `[providers.vault]`, otherwise the environment variables of Vault's own tools
//! (developer.hashicorp.com/vault/docs/commands#environment-variables).

use std::rc::Rc;
use std::time::Duration;

use handfast_core::{
    Complaint, Configured, Context, Environment, Item, Locator, Problems, Provider, ProviderError, Settings, Sockets,
    Table, Value, excerpt,
};
use handfast_http::{Address, Options, Plaintext};

use crate::api::Api;
use crate::auth::{self, Chosen, Target};
use crate::locator;
use crate::mounts::{KINDS, Kind, Mount, Mounts};
use crate::policy;
use crate::session::Session;
use crate::store::Store;
use crate::tls;

/// An instance with its settings.
struct Vault {
    address: Option<Address>,
    namespace: Option<String>,
    login: Chosen,
    mounts: Vec<Mount>,
    options: Options,
    max_retries: Option<u32>,
    skips_verification: bool,
    /// Whether a keeper that ends revokes the credentials that were issued.
    revoke_on_exit: bool,
    /// Whether requests leave this machine unencrypted.
    is_unencrypted: bool,
    missing: Vec<Complaint>,
}

/// Reads the settings.
pub fn configure(settings: Settings<'_>, problems: &mut Problems) -> Box<dyn Configured> {
    let Settings { table, fetch, environment, .. } = settings;
    let mut missing: Vec<_> = unreadable(environment).chain(with_control_character(environment)).collect();
    let mut options = Options::read_with_ca(&[fetch, &table], tls::authorities(environment), problems);
    let plaintext = match table.boolean("danger_plaintext") {
        Some(true) => Plaintext::Anywhere,
        _ => Plaintext::Local,
    };
    let (address, is_agent) = address(&table, environment, plaintext, problems, &mut missing);
    options.plaintext = plaintext;
    options.unix_socket = address.as_ref().and_then(|address| address.unix_socket.clone());
    tls::read(&table, environment, address.as_ref(), &mut options, &mut missing);
    missing.extend(options.unusable(environment));
    missing.extend(address.as_ref().and_then(|address| match address.unix_socket {
        Some(_) => None,
        None => options.unreachable(&address.url, environment),
    }));
    if let Some(timeout) = client_timeout(environment, &mut missing) {
        options.total_timeout = timeout;
        options.idle_timeout = options.idle_timeout.min(timeout);
    }
    let target = Target {
        // A wrong address has been reported.
        is_local: address.as_ref().is_none_or(Address::is_local),
        is_agent: is_agent || options.unix_socket.is_some(),
    };
    let login = auth::read(table.table("auth"), environment, target, problems, &mut missing);
    if let Some(certificate) = login.method.client_certificate() {
        options.client_certificate = Some(certificate);
    }
    if let (Some(name), Some(place)) = (table.string("namespace"), table.place("namespace"))
        && name.contains(char::is_control)
    {
        problems.add_with_hint(place, format!("`namespace` {CONTROL_CHARACTER}"), ONE_LINE);
    }
    Box::new(Vault {
        namespace: text(&table, "namespace", environment, "VAULT_NAMESPACE")
            .map(|name| name.trim_matches('/').to_owned())
            .filter(|name| !name.is_empty()),
        login,
        mounts: mounts(&table, problems),
        is_unencrypted: address.as_ref().is_some_and(|address| address.url.scheme() == "http" && !address.is_local()),
        address,
        revoke_on_exit: table.boolean("revoke_on_exit").unwrap_or(false),
        skips_verification: options.danger_skip_verification,
        options,
        max_retries: number(environment, "VAULT_MAX_RETRIES", &mut missing),
        missing,
    })
}

impl Vault {
    /// Whether the locator's mount may be of this kind. A mount that is not in `mounts` may be of any kind.
    fn may_be(&self, kind: Kind, locator: &Locator) -> bool {
        Mounts::new(self.mounts.clone()).find(locator::request_path(locator)).is_none_or(|mount| mount.kind == kind)
    }
}

impl Configured for Vault {
    fn missing(&self) -> Vec<Complaint> {
        self.missing.clone()
    }

    fn check(&self, locator: &Locator) -> Result<(), Complaint> {
        locator::check(locator)
    }

    fn sockets(&self) -> Sockets {
        let unix = self.options.unix_socket.is_some();
        Sockets { unix, internet: !unix || self.login.method.uses_other_servers() }
    }

    fn identity_of(&self) -> Option<&'static str> {
        self.login.method.identity_of()
    }

    fn is_list(&self, locator: &Locator) -> bool {
        locator::is_list(locator)
    }

    fn may_issue(&self, locator: &Locator) -> bool {
        !locator::is_list(locator) && self.may_be(Kind::Other, locator)
    }

    fn may_end(&self, locator: &Locator) -> bool {
        self.may_be(Kind::Kv2, locator)
    }

    fn revokes_on_exit(&self) -> bool {
        self.revoke_on_exit
    }

    fn max_retries(&self) -> Option<u32> {
        self.max_retries
    }

    fn warning(&self) -> Option<String> {
        let why = match () {
            () if self.skips_verification => "`danger_skip_tls_verify`: any server is taken for Vault",
            () if self.is_unencrypted => "`danger_plaintext`: Vault is asked in clear text",
            () => return None,
        };
        Some(format!("{why}, and whoever is on the way reads every secret"))
    }

    fn policy(&self, locators: &[&Locator]) -> Option<String> {
        Some(policy::hcl(&Mounts::new(self.mounts.clone()), self.namespace.as_deref(), locators))
    }

    fn connect(self: Box<Self>, context: Context) -> Result<Rc<dyn Provider>, ProviderError> {
        let Some(address) = self.address else {
            // `missing` has reported it before.
            return Err(ProviderError::new(handfast_core::ErrorKind::Unavailable, NO_ADDRESS));
        };
        // With HTTP/2, many secrets need one handshake, and not one for each request at the same time. For a single secret,
        // HTTP/1.1 is faster (benches/README.md).
        let options = Options { http2: context.several, ..self.options };
        let api = Api::new(options, context.clone(), address.url, self.namespace)?;
        Ok(Rc::new(Store::new(Session::new(api, self.login, context, self.revoke_on_exit), Mounts::new(self.mounts))))
    }
}

/// The variables that are read here and in `auth`, without the credentials.
const VARIABLES: &[&str] = &[
    "VAULT_ADDR",
    "VAULT_AGENT_ADDR",
    "VAULT_NAMESPACE",
    "VAULT_CACERT",
    "VAULT_CACERT_BYTES",
    "VAULT_CAPATH",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "VAULT_TLS_SERVER_NAME",
    "VAULT_SKIP_VERIFY",
    "VAULT_CLIENT_TIMEOUT",
    "VAULT_MAX_RETRIES",
    "VAULT_AUTH_METHOD",
    "VAULT_ROLE",
    "VAULT_PATH",
    "VAULT_ROLE_ID",
];

/// The variables that are not UTF-8. They must not count as unset: without VAULT_CAPATH, for example, handfast would trust other
/// authorities than the user has named.
fn unreadable(environment: &dyn Environment) -> impl Iterator<Item = Complaint> {
    let unreadable = VARIABLES.iter().filter(|name| environment.is_unreadable(name));
    unreadable.map(|name| Complaint::new(format!("`{name}` is not UTF-8")).hint("set it to text, or unset it"))
}

/// The variables that contain a control character, which none of them may. White space around a value has been removed before.
fn with_control_character(environment: &dyn Environment) -> impl Iterator<Item = Complaint> {
    let is_broken = |name: &&&str| {
        **name != "VAULT_CACERT_BYTES" && environment.variable(name).is_some_and(|text| text.contains(char::is_control))
    };
    VARIABLES
        .iter()
        .filter(is_broken)
        .map(|name| Complaint::new(format!("`{name}` {CONTROL_CHARACTER}")).hint(ONE_LINE))
}

const CONTROL_CHARACTER: &str = "has a line break or another control character in it";
const ONE_LINE: &str = "write it as one line of text";

const NO_ADDRESS: &str = "no Vault address: set `address` or VAULT_ADDR";

/// The address, and whether it is an agent's. VAULT_AGENT_ADDR takes precedence over VAULT_ADDR, as in Vault's own client.
fn address(
    table: &Table,
    environment: &dyn Environment,
    plaintext: Plaintext,
    problems: &mut Problems,
    missing: &mut Vec<Complaint>,
) -> (Option<Address>, bool) {
    let parse = |text: &str| match Address::parse(text, plaintext)? {
        address if address.url.path().trim_end_matches('/').ends_with("/v1") => {
            Err(Complaint::new("the address ends with `/v1`").hint("leave `/v1` out: it is put in for each request"))
        }
        address => Ok(address),
    };
    if let Some((text, place)) = table.string("address").zip(table.place("address")) {
        return (parse(text).map_err(|complaint| problems.add(place, complaint.context("`address`"))).ok(), false);
    }
    for (variable, is_agent) in [("VAULT_AGENT_ADDR", true), ("VAULT_ADDR", false)] {
        let Some(text) = environment.variable(variable) else { continue };
        let address = parse(text).map_err(|complaint| missing.push(complaint.context(format!("`{variable}`"))));
        return (address.ok(), is_agent);
    }
    missing.push(Complaint::new(NO_ADDRESS).hint("it is a URL, such as https://vault.internal:8200"));
    (None, false)
}

fn mounts(table: &Table, problems: &mut Problems) -> Vec<Mount> {
    let Some(mounts) = table.table("mounts") else { return Vec::new() };
    let mut configured = Vec::new();
    for (path, Item { place, value }) in mounts.iter() {
        let Value::String(kind) = value else { continue };
        let kind = kind.as_str();
        match KINDS.iter().find(|(name, _)| *name == kind) {
            Some((_, kind)) => configured.push(Mount { path: path.trim_matches('/').to_owned(), kind: *kind }),
            None => {
                let message = format!("`mounts.{}` is \"{}\"", excerpt(path), excerpt(kind));
                let kinds = KINDS.map(|(name, _)| format!("\"{name}\"")).join(" or ");
                problems.add(place, format!("{message}, expected {kinds}"));
            }
        }
    }
    configured
}

fn text(table: &Table, key: &str, environment: &dyn Environment, variable: &str) -> Option<String> {
    table.string(key).or_else(|| environment.variable(variable)).map(str::to_owned)
}

/// VAULT_CLIENT_TIMEOUT: seconds, or a duration in Go's form.
fn client_timeout(environment: &dyn Environment, missing: &mut Vec<Complaint>) -> Option<Duration> {
    let text = environment.variable("VAULT_CLIENT_TIMEOUT")?;
    let seconds = text.parse().map(Duration::from_secs).ok();
    let timeout = seconds.or_else(|| handfast_core::keys::parse_duration(text)).filter(|timeout| !timeout.is_zero());
    if timeout.is_none() {
        let message = format!("`VAULT_CLIENT_TIMEOUT` is \"{}\", expected a time above 0", excerpt(text));
        missing.push(Complaint::new(message).hint("such as \"30\", in seconds, or \"1m30s\""));
    }
    timeout
}

fn number(environment: &dyn Environment, variable: &str, missing: &mut Vec<Complaint>) -> Option<u32> {
    let text = environment.variable(variable)?;
    let number = text.parse().ok();
    if number.is_none() {
        let message = format!("`{variable}` is \"{}\", expected a number", excerpt(text));
        missing.push(Complaint::new(message).hint("such as \"2\""));
    }
    number
}
