//! What a user has said of who we are: `auth` in the configuration, else the environment, in the order of the parts of
//! Microsoft's DefaultAzureCredential that are for production
//! (learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains#defaultazurecredential-overview).

use std::path::Path;

use handfast_core::{Complaint, Credential, Environment, Problems, Table, excerpt};
use handfast_http::{Address, Plaintext, Url};

use super::certificate;
use super::keys::{KEYS, METHODS, SAME, taken_by};
use super::managed::{Identity, Machine};
use super::method::{Application, Method};
use super::selected;

/// What `auth` and the environment say.
struct Given<'a> {
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

/// Why a way cannot be taken.
enum Lacks {
    /// Nothing of it is set: this setting is missing.
    All(String),
    /// A part of it is set: to go on would give another identity than the one that is meant.
    Part(String),
    /// It is set, and not in this version.
    Unbuilt(Complaint),
}

/// What is wrong in the environment.
type Missing = Vec<Complaint>;

/// A way, which looks at the environment when it is called.
type Way<'w> = &'w dyn Fn(&mut Missing) -> Result<Method, Lacks>;

/// The way that is asked for. What is wrong in the environment comes in `missing`.
pub fn read(
    auth: Option<&Table>,
    environment: &dyn Environment,
    problems: &mut Problems,
    missing: &mut Missing,
) -> Method {
    let given = Given { auth, environment };
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
    let Some(auth) = auth else { return given.first_that_is_there(missing) };
    let Some(name) = written(auth, problems) else {
        return Method::Nothing(Complaint::new("no login method is named").hint(SETTINGS));
    };
    let method = match name {
        "client-secret" => given.secret(),
        "client-certificate" => given.certificate(missing),
        "workload-identity" => given.workload(),
        "managed-identity" => match given.app_service(missing) {
            Err(Lacks::All(_)) => given.machine(None, missing),
            found => found,
        },
        _ => given.text("token_file", "").map(|file| Method::TokenFile(Credential::File(file.into()))),
    };
    check_tenant(auth, environment, problems, missing);
    method.unwrap_or_else(|lacks| impossible(name, lacks, missing))
}

/// A way that is meant, and cannot be taken.
fn impossible(name: &str, lacks: Lacks, missing: &mut Missing) -> Method {
    let hint = match name {
        "workload-identity" => {
            "the pod needs the label `azure.workload.identity/use: \"true\"` and a service account with the annotation `azure.workload.identity/client-id`"
        }
        _ => SETTINGS,
    };
    let why = match lacks {
        Lacks::All(why) | Lacks::Part(why) => why,
        Lacks::Unbuilt(complaint) => {
            let why = complaint.message.clone();
            missing.push(complaint);
            why
        }
    };
    Method::Nothing(Complaint::new(format!("cannot get a token by `{name}`: {why}")).hint(hint))
}

const SETTINGS: &str = "each is a key of `auth` in [providers.azure], or a variable that Microsoft's tools read too";

/// The method that `auth` names, and whether its other keys are that method's.
fn written<'a>(auth: &'a Table, problems: &mut Problems) -> Option<&'a str> {
    let Some(item) = auth.item("method") else {
        // Where it is none of a string, that has been reported.
        if let Some((_, place)) = auth.keys().next() {
            let hint = format!("`method` is one of: {}", METHODS.join(", "));
            problems.add_with_hint(place, "`auth` has no `method`", hint);
        }
        return None;
    };
    let name = auth.string("method").filter(|name| METHODS.contains(name))?;
    let taken = taken_by(name);
    for (key, place) in auth.keys().filter(|(key, _)| *key != "method") {
        if KEYS.iter().any(|known| known.name == key) && !taken.contains(&key) {
            let hint = format!("`{name}` takes: {}", taken.join(", "));
            problems.add_with_hint(place, format!("the login method `{name}` takes no `{key}`"), hint);
        }
    }
    for same in SAME {
        let mut said = same.iter().copied().filter(|key| taken.contains(key) && auth.item(key).is_some());
        if let Some(first) = said.next() {
            for second in said {
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

/// Where Azure Arc's agent listens.
const HIMDS_PORT: u16 = 40342;

/// A tenant stands in the token endpoint's path.
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

impl Given<'_> {
    /// The first way of which the environment has anything, else the machine's own identity, if it has one. Settings of the ways
    /// behind the first are not looked at.
    fn first_that_is_there(&self, missing: &mut Missing) -> Method {
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
        let mut passed_over = Vec::new();
        for (name, way) in ways.into_iter().filter(|(name, _)| selected.allows(name)) {
            match way(missing) {
                Ok(method) => {
                    if !matches!(method, Method::AppService(..)) {
                        missing.extend(wrong_tenant(self.environment));
                    }
                    return method;
                }
                Err(Lacks::All(why)) => passed_over.push(format!("{name}: {why}")),
                Err(lacks) => return impossible(name, lacks, missing),
            }
        }
        if !selected.allows("managed-identity") {
            return Method::Nothing(selected.exhausted(&passed_over));
        }
        // Where it is selected, nobody has to guess.
        let passed_over = selected.is_any().then_some(passed_over);
        self.machine(passed_over, missing).unwrap_or_else(|lacks| impossible("managed-identity", lacks, missing))
    }

    fn secret(&self) -> Result<Method, Lacks> {
        let written = |key: &str| self.auth.and_then(|auth| auth.string(key));
        let secret = match (written("client_secret_file"), written("client_secret_env")) {
            (Some(file), _) => Credential::File(file.into()),
            (None, Some(variable)) => Credential::Variable(variable.to_owned()),
            (None, None) if self.environment.credential("AZURE_CLIENT_SECRET").is_none() => {
                return Err(Lacks::All("AZURE_CLIENT_SECRET is not set".to_owned()));
            }
            (None, None) => Credential::Variable("AZURE_CLIENT_SECRET".to_owned()),
        };
        Ok(Method::Secret(self.application("AZURE_CLIENT_SECRET")?, secret))
    }

    fn certificate(&self, missing: &mut Missing) -> Result<Method, Lacks> {
        const PATH: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
        const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
        let has_password = self.environment.credential(PASSWORD).is_some();
        let file = self.text("cert_file", PATH).map_err(|lacks| match self.auth {
            None if has_password => Lacks::Part(format!("{PASSWORD} is set, and {PATH} is not")),
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

    fn workload(&self) -> Result<Method, Lacks> {
        const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
        let file = self.text("token_file", FILE)?;
        Ok(Method::Workload(self.application(FILE)?, Credential::File(file.into())))
    }

    fn app_service(&self, missing: &mut Missing) -> Result<Method, Lacks> {
        let is_set = |name: &str| self.environment.variable(name).is_some();
        let has_header = self.environment.credential("IDENTITY_HEADER").is_some();
        let unbuilt = |variable: &str, what: &str| {
            let hint = "`auth` in [providers.azure] names another way, such as `client-secret` or `token-file`";
            Lacks::Unbuilt(Complaint::new(format!("`{variable}` is set: {what} are not in this version")).hint(hint))
        };
        let Some(endpoint) = self.environment.variable("IDENTITY_ENDPOINT") else {
            return Err(match () {
                () if has_header => Lacks::Part("IDENTITY_HEADER is set, and IDENTITY_ENDPOINT is not".to_owned()),
                () if is_set("IMDS_ENDPOINT") => unbuilt("IMDS_ENDPOINT", ARC),
                () if is_set("MSI_ENDPOINT") => {
                    unbuilt("MSI_ENDPOINT", "managed identities of Cloud Shell and Azure Machine Learning")
                }
                () => Lacks::All("IDENTITY_ENDPOINT is not set".to_owned()),
            });
        };
        if is_set("IDENTITY_SERVER_THUMBPRINT") {
            return Err(unbuilt("IDENTITY_SERVER_THUMBPRINT", "managed identities of Service Fabric"));
        }
        if !has_header {
            // Arc's agent gives no header: it writes the key for each request into a file.
            let is_arc =
                is_set("IMDS_ENDPOINT") || Url::parse(endpoint).is_ok_and(|url| url.port() == Some(HIMDS_PORT));
            return Err(match is_arc {
                true => unbuilt("IDENTITY_ENDPOINT", ARC),
                false => Lacks::Part("IDENTITY_ENDPOINT is set, and IDENTITY_HEADER is not".to_owned()),
            });
        }
        Ok(Method::AppService(self.metadata_url("IDENTITY_ENDPOINT", endpoint, missing)?, self.identity()))
    }

    fn machine(&self, passed_over: Option<Vec<String>>, missing: &mut Missing) -> Result<Method, Lacks> {
        // The variable of Microsoft's clients for where else the service is.
        let machine = match self.environment.variable("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            Some(host) => Machine::At(self.metadata_url("AZURE_POD_IDENTITY_AUTHORITY_HOST", host, missing)?),
            None => Machine::Usual,
        };
        Ok(Method::Machine(machine, self.identity(), passed_over))
    }

    /// Whose token a managed identity's is: what `auth` says, else AZURE_CLIENT_ID, else the machine's own.
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

    fn metadata_url(&self, variable: &str, text: &str, missing: &mut Missing) -> Result<Url, Lacks> {
        match Address::parse(text, Plaintext::Metadata) {
            Ok(address) if address.unix_socket.is_none() => Ok(address.url),
            Ok(_) => Err(Lacks::Part(format!("{variable} is a Unix socket"))),
            Err(complaint) => {
                let complaint = complaint.context(format!("`{variable}`"));
                missing.push(complaint.hint("unset it, or look at who has set it"));
                Err(Lacks::Part(format!("{variable} is no address of a metadata service")))
            }
        }
    }

    /// The application whose credential is in `credential`, or in `auth`: half of its name is a mistake, not another way.
    fn application(&self, credential: &str) -> Result<Application, Lacks> {
        let found = (self.text("tenant_id", "AZURE_TENANT_ID"), self.text("client_id", "AZURE_CLIENT_ID"));
        let lacks = match found {
            (Ok(tenant), Ok(client)) => return Ok(Application { tenant, client }),
            (tenant, client) => [tenant.err(), client.err()],
        };
        let why = |lacks| match lacks {
            Lacks::All(why) | Lacks::Part(why) => why,
            Lacks::Unbuilt(complaint) => complaint.message,
        };
        let lacks = lacks.into_iter().flatten().map(why).collect::<Vec<_>>().join(", and ");
        Err(Lacks::Part(match self.auth {
            Some(_) => lacks,
            None => format!("{credential} is set, and {lacks}"),
        }))
    }

    /// A text of `auth`, or where there is none of a variable.
    fn text(&self, key: &str, variable: &str) -> Result<String, Lacks> {
        let written = self.auth.and_then(|auth| auth.string(key)).filter(|text| !text.is_empty());
        match (written.or_else(|| self.environment.variable(variable)), self.auth) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(_)) => Err(Lacks::All(format!("`auth` has no `{key}`, and {variable} is not set"))),
            (None, None) => Err(Lacks::All(format!("{variable} is not set"))),
        }
    }
}
