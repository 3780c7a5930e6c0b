//! Selects the login method: by `auth` in the configuration, otherwise by the environment, in the order of those parts of
//! Microsoft's DefaultAzureCredential that are meant for production
//! (learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains#defaultazurecredential-overview).

use std::path::Path;

use handfast_core::{Complaint, Credential, Environment, Problems, Table, excerpt};
use handfast_http::{Address, Plaintext, Url};

use super::certificate;
use super::keys::{EXCLUSIVE, KEYS, METHODS, keys_of};
use super::managed::{Identity, Machine};
use super::method::{Application, Method};
use super::selected;

/// The settings: `auth` and the environment.
struct AuthSettings<'a> {
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

/// Why a method cannot be used.
enum Unusable {
    /// It is not set up: this setting is missing.
    NotSetUp(String),
    /// It is set up in part. The next method is not tried, because it could have another identity.
    Incomplete(String),
    /// It is set up, but this version does not support it.
    Unsupported(Complaint),
}

/// Problems with the environment.
type Missing = Vec<Complaint>;

/// A function that reads the settings of a method.
type Way<'w> = &'w dyn Fn(&mut Missing) -> Result<Method, Unusable>;

/// Selects the method. Adds problems with the environment to `missing`.
pub fn read(
    auth: Option<&Table>,
    environment: &dyn Environment,
    problems: &mut Problems,
    missing: &mut Missing,
) -> Method {
    let settings = AuthSettings { auth, environment };
    for variable in [
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        selected::VARIABLE,
    ] {
        if environment.is_unreadable(variable) {
            missing.push(Complaint::new(format!("`{variable}` is not UTF-8")).hint("set it to text, or unset it"));
        }
        if environment.variable(variable).is_some_and(|text| text.contains(char::is_control)) {
            let message = format!("`{variable}` has a line break or another control character in it");
            missing.push(Complaint::new(message).hint("write it as one line of text"));
        }
    }
    let Some(auth) = auth else { return settings.first_that_is_set_up(missing) };
    let Some(name) = from_table(auth, problems) else {
        return Method::Nothing(Complaint::new("no login method is named").hint(SETTINGS));
    };
    let method = match name {
        "client-secret" => settings.secret(),
        "client-certificate" => settings.certificate(missing),
        "workload-identity" => settings.workload(),
        "managed-identity" => match settings.app_service(missing) {
            Err(Unusable::NotSetUp(_)) => settings.machine(None, missing),
            found => found,
        },
        _ => settings.text("token_file", "").map(|file| Method::TokenFile(Credential::File(file.into()))),
    };
    check_tenant(auth, environment, problems, missing);
    method.unwrap_or_else(|why| unusable(name, why, missing))
}

/// A method that is selected, and cannot be used.
fn unusable(name: &str, unusable: Unusable, missing: &mut Missing) -> Method {
    let hint = match name {
        "workload-identity" => {
            "the pod needs the label `azure.workload.identity/use: \"true\"` and a service account with the annotation `azure.workload.identity/client-id`"
        }
        _ => SETTINGS,
    };
    let why = match unusable {
        Unusable::NotSetUp(why) | Unusable::Incomplete(why) => why,
        Unusable::Unsupported(complaint) => {
            let why = complaint.message.clone();
            missing.push(complaint);
            why
        }
    };
    Method::Nothing(Complaint::new(format!("cannot get a token by `{name}`: {why}")).hint(hint))
}

const SETTINGS: &str = "each is a key of `auth` in [providers.azure], or a variable that Microsoft's tools read too";

/// The method that `auth` names. Checks that the other keys belong to that method.
fn from_table<'a>(auth: &'a Table, problems: &mut Problems) -> Option<&'a str> {
    let Some(item) = auth.item("method") else {
        // If `method` is there and not a string, that has been reported.
        if let Some((_, place)) = auth.keys().next() {
            let hint = format!("`method` is one of: {}", METHODS.join(", "));
            problems.add_with_hint(place, "`auth` has no `method`", hint);
        }
        return None;
    };
    let name = auth.string("method").filter(|name| METHODS.contains(name))?;
    let accepted = keys_of(name);
    for (key, place) in auth.keys().filter(|(key, _)| *key != "method") {
        if KEYS.iter().any(|known| known.name == key) && !accepted.contains(&key) {
            let hint = format!("`{name}` takes: {}", accepted.join(", "));
            problems.add_with_hint(place, format!("the login method `{name}` takes no `{key}`"), hint);
        }
    }
    for keys in EXCLUSIVE {
        let mut present = keys.iter().copied().filter(|key| accepted.contains(key) && auth.item(key).is_some());
        if let Some(first) = present.next() {
            for second in present {
                let place = auth.place(second).unwrap_or(&item.place);
                problems.add(place, format!("`auth` has both `{first}` and `{second}`"));
            }
        }
    }
    if let (Some(place), Some(file)) = (auth.place("cert_file"), auth.string("cert_file"))
        && certificate::is_pfx(Path::new(file))
    {
        problems.add(place, certificate::no_pfx().context(format!("`cert_file` is \"{}\"", excerpt(file))));
    }
    if name == "token-file" && auth.item("token_file").is_none() {
        problems.add(&item.place, "the login method `token-file` needs `token_file`");
    }
    Some(name)
}

const ARC: &str = "managed identities of Azure Arc";

/// The port of Azure Arc's agent.
const HIMDS_PORT: u16 = 40342;

/// Checks the tenant, which becomes part of the token endpoint's path.
fn check_tenant(auth: &Table, environment: &dyn Environment, problems: &mut Problems, missing: &mut Missing) {
    match (auth.string("tenant_id"), auth.place("tenant_id")) {
        (Some(tenant), Some(place)) if !is_tenant(tenant) => problems.add(place, no_tenant("tenant_id", tenant)),
        (None, _) => missing.extend(wrong_tenant(environment)),
        _ => {}
    }
}

fn wrong_tenant(environment: &dyn Environment) -> Option<Complaint> {
    let tenant = environment.variable("AZURE_TENANT_ID").filter(|tenant| !is_tenant(tenant))?;
    Some(no_tenant("AZURE_TENANT_ID", tenant))
}

fn no_tenant(name: &str, tenant: &str) -> Complaint {
    Complaint::new(format!("`{name}` is \"{}\", which is no tenant", excerpt(tenant)))
        .hint("it is the id of a directory, or one of its domains")
}

fn is_tenant(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

impl AuthSettings<'_> {
    /// The first method that the environment sets up, at least in part, otherwise the machine's own identity, if it has one. The
    /// settings of the methods after the first are not read.
    fn first_that_is_set_up(&self, missing: &mut Missing) -> Method {
        let ways: [(&str, Way<'_>); 4] = [
            ("client-secret", &|_| self.secret()),
            ("client-certificate", &|missing| self.certificate(missing)),
            ("workload-identity", &|_| self.workload()),
            ("managed-identity", &|missing| self.app_service(missing)),
        ];
        let selected = match selected::read(self.environment) {
            Ok(selected) => selected,
            Err(complaint) => {
                missing.push(complaint.clone());
                return Method::Nothing(complaint);
            }
        };
        let mut skipped = Vec::new();
        for (name, way) in ways.into_iter().filter(|(name, _)| selected.allows(name)) {
            match way(missing) {
                Ok(method) => {
                    if !matches!(method, Method::AppService(..)) {
                        missing.extend(wrong_tenant(self.environment));
                    }
                    return method;
                }
                Err(Unusable::NotSetUp(why)) => skipped.push(format!("{name}: {why}")),
                Err(why) => return unusable(name, why, missing),
            }
        }
        if !selected.allows("managed-identity") {
            return Method::Nothing(selected.nothing_set_up(&skipped));
        }
        // If a variable selects this method, the machine is expected to have an identity.
        let skipped = selected.is_any().then_some(skipped);
        self.machine(skipped, missing).unwrap_or_else(|why| unusable("managed-identity", why, missing))
    }

    fn secret(&self) -> Result<Method, Unusable> {
        let written = |key: &str| self.auth.and_then(|auth| auth.string(key));
        let secret = match (written("client_secret_file"), written("client_secret_env")) {
            (Some(file), _) => Credential::File(file.into()),
            (None, Some(variable)) => Credential::Variable(variable.to_owned()),
            (None, None) if self.environment.credential("AZURE_CLIENT_SECRET").is_none() => {
                return Err(Unusable::NotSetUp("AZURE_CLIENT_SECRET is not set".to_owned()));
            }
            (None, None) => Credential::Variable("AZURE_CLIENT_SECRET".to_owned()),
        };
        Ok(Method::Secret(self.application("AZURE_CLIENT_SECRET")?, secret))
    }

    fn certificate(&self, missing: &mut Missing) -> Result<Method, Unusable> {
        const PATH: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
        const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
        let has_password = self.environment.credential(PASSWORD).is_some();
        let file = self.text("cert_file", PATH).map_err(|lacks| match self.auth {
            None if has_password => Unusable::Incomplete(format!("{PASSWORD} is set, and {PATH} is not")),
            _ => lacks,
        })?;
        let key = self.auth.and_then(|auth| auth.string("key_file"));
        let application = self.application(PATH)?;
        if self.auth.is_none_or(|auth| auth.item("cert_file").is_none()) && certificate::is_pfx(Path::new(&file)) {
            let place = format!("`AZURE_CLIENT_CERTIFICATE_PATH` is \"{}\"", excerpt(&file));
            missing.push(certificate::no_pfx().context(place));
        } else if has_password {
            missing.push(certificate::no_password());
        }
        let key = key.unwrap_or(&file).into();
        Ok(Method::Certificate(application, certificate::Files { certificate: file.into(), key }))
    }

    fn workload(&self) -> Result<Method, Unusable> {
        const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
        let file = self.text("token_file", FILE)?;
        Ok(Method::Workload(self.application(FILE)?, Credential::File(file.into())))
    }

    fn app_service(&self, missing: &mut Missing) -> Result<Method, Unusable> {
        let is_set = |name: &str| self.environment.variable(name).is_some();
        let has_header = self.environment.credential("IDENTITY_HEADER").is_some();
        let unsupported = |variable: &str, what: &str| {
            let hint = "`auth` in [providers.azure] names another way, such as `client-secret` or `token-file`";
            Unusable::Unsupported(
                Complaint::new(format!("`{variable}` is set: {what} are not in this version")).hint(hint),
            )
        };
        let Some(endpoint) = self.environment.variable("IDENTITY_ENDPOINT") else {
            return Err(match () {
                () if has_header => {
                    Unusable::Incomplete("IDENTITY_HEADER is set, and IDENTITY_ENDPOINT is not".to_owned())
                }
                () if is_set("IMDS_ENDPOINT") => unsupported("IMDS_ENDPOINT", ARC),
                () if is_set("MSI_ENDPOINT") => {
                    unsupported("MSI_ENDPOINT", "managed identities of Cloud Shell and Azure Machine Learning")
                }
                () => Unusable::NotSetUp("IDENTITY_ENDPOINT is not set".to_owned()),
            });
        };
        if is_set("IDENTITY_SERVER_THUMBPRINT") {
            return Err(unsupported("IDENTITY_SERVER_THUMBPRINT", "managed identities of Service Fabric"));
        }
        if !has_header {
            // Arc's agent has no header: it writes the key for each request into a file.
            let is_arc =
                is_set("IMDS_ENDPOINT") || Url::parse(endpoint).is_ok_and(|url| url.port() == Some(HIMDS_PORT));
            return Err(match is_arc {
                true => unsupported("IDENTITY_ENDPOINT", ARC),
                false => Unusable::Incomplete("IDENTITY_ENDPOINT is set, and IDENTITY_HEADER is not".to_owned()),
            });
        }
        Ok(Method::AppService(self.metadata_url("IDENTITY_ENDPOINT", endpoint, missing)?, self.identity()))
    }

    fn machine(&self, skipped: Option<Vec<String>>, missing: &mut Missing) -> Result<Method, Unusable> {
        // Microsoft's clients read another address of the service from this variable.
        let machine = match self.environment.variable("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            Some(host) => Machine::At(self.metadata_url("AZURE_POD_IDENTITY_AUTHORITY_HOST", host, missing)?),
            None => Machine::Default,
        };
        Ok(Method::Machine(machine, self.identity(), skipped))
    }

    /// The managed identity: from `auth`, otherwise AZURE_CLIENT_ID, otherwise the machine's own.
    fn identity(&self) -> Identity {
        let written = |key: &str| self.auth.and_then(|auth| auth.string(key)).map(str::to_owned);
        if let Some(id) = written("resource_id") {
            Identity::Resource(id)
        } else if let Some(id) = written("object_id") {
            Identity::Object(id)
        } else if let Ok(id) = self.text("client_id", "AZURE_CLIENT_ID") {
            Identity::Client(id)
        } else {
            Identity::Own
        }
    }

    fn metadata_url(&self, variable: &str, text: &str, missing: &mut Missing) -> Result<Url, Unusable> {
        match Address::parse(text, Plaintext::Metadata) {
            Ok(address) if address.unix_socket.is_none() => Ok(address.url),
            Ok(_) => Err(Unusable::Incomplete(format!("{variable} is a Unix socket"))),
            Err(complaint) => {
                let complaint = complaint.context(format!("`{variable}`"));
                missing.push(complaint.hint("unset it, or look at who has set it"));
                Err(Unusable::Incomplete(format!("{variable} is no address of a metadata service")))
            }
        }
    }

    /// The application whose credential is in the variable `credential` or in `auth`. If its tenant or id is missing, that is an
    /// error, and the next method is not tried.
    fn application(&self, credential: &str) -> Result<Application, Unusable> {
        let found = (self.text("tenant_id", "AZURE_TENANT_ID"), self.text("client_id", "AZURE_CLIENT_ID"));
        let lacks = match found {
            (Ok(tenant), Ok(client)) => return Ok(Application { tenant, client }),
            (tenant, client) => [tenant.err(), client.err()],
        };
        let why = |lacks| match lacks {
            Unusable::NotSetUp(why) | Unusable::Incomplete(why) => why,
            Unusable::Unsupported(complaint) => complaint.message,
        };
        let lacks = lacks.into_iter().flatten().map(why).collect::<Vec<_>>().join(", and ");
        Err(Unusable::Incomplete(match self.auth {
            Some(_) => lacks,
            None => format!("{credential} is set, and {lacks}"),
        }))
    }

    /// A string in `auth`, otherwise in a variable.
    fn text(&self, key: &str, variable: &str) -> Result<String, Unusable> {
        let written = self.auth.and_then(|auth| auth.string(key)).filter(|text| !text.is_empty());
        match (written.or_else(|| self.environment.variable(variable)), self.auth) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(_)) => Err(Unusable::NotSetUp(format!("`auth` has no `{key}`, and {variable} is not set"))),
            (None, None) => Err(Unusable::NotSetUp(format!("{variable} is not set"))),
        }
    }
}
