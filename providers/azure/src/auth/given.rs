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

/// What `auth` and the environment say.
struct Given<'a> {
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

/// What a way lacks: the settings that do not say it.
type Lacks = String;

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
    for variable in
        ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH"]
    {
        if environment.is_unreadable(variable) {
            missing.push(Complaint::new(format!("`{variable}` is not UTF-8")).hint("set it to text, or unset it"));
        }
    }
    let Some(auth) = auth else { return given.first_that_is_there(missing) };
    let Some(name) = written(auth, problems) else { return nothing("no login method is named".to_owned()) };
    let method = match name {
        "client-secret" => given.secret(),
        "client-certificate" => given.certificate(missing),
        "workload-identity" => given.workload(),
        "managed-identity" => match given.app_service(missing) {
            Ok(method) => Ok(method),
            Err(_) => given.machine(None, missing),
        },
        _ => given.text("token_file", "").map(|file| Method::TokenFile(Credential::File(file.into()))),
    };
    check_tenant(auth, environment, problems, missing);
    method.unwrap_or_else(|lacks| match name {
        "workload-identity" => Method::Nothing(Complaint::new(format!("cannot get a token by `{name}`: {lacks}")).hint(
            "the pod needs the label `azure.workload.identity/use: \"true\"` and a service account with the annotation `azure.workload.identity/client-id`",
        )),
        _ => nothing(format!("cannot get a token by `{name}`: {lacks}")),
    })
}

fn nothing(message: String) -> Method {
    Method::Nothing(
        Complaint::new(message)
            .hint("each is a key of `auth` in [providers.azure], or a variable that Microsoft's tools read too"),
    )
}

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

/// A tenant stands in the token endpoint's path.
fn check_tenant(auth: &Table, environment: &dyn Environment, problems: &mut Problems, missing: &mut Missing) {
    let hint = "it is the id of a directory, or one of its domains";
    match (auth.string("tenant_id"), auth.place("tenant_id")) {
        (Some(tenant), Some(place)) if !is_tenant(tenant) => {
            problems.add_with_hint(place, format!("`tenant_id` is \"{}\", which is no tenant", excerpt(tenant)), hint);
        }
        (None, _) => missing.extend(wrong_tenant(environment)),
        _ => {}
    }
}

fn wrong_tenant(environment: &dyn Environment) -> Option<Complaint> {
    let tenant = environment.variable("AZURE_TENANT_ID").filter(|tenant| !is_tenant(tenant))?;
    let hint = "it is the id of a directory, or one of its domains";
    Some(Complaint::new(format!("`AZURE_TENANT_ID` is \"{}\", which is no tenant", excerpt(tenant))).hint(hint))
}

fn is_tenant(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

impl Given<'_> {
    /// The first way for which the environment has everything, else the machine's own identity, if it has one. What is wrong with
    /// those behind the first is nobody's business.
    fn first_that_is_there(&self, missing: &mut Missing) -> Method {
        let ways: [(&str, Way<'_>); 4] = [
            ("client-secret", &|_| self.secret()),
            ("client-certificate", &|missing| self.certificate(missing)),
            ("workload-identity", &|_| self.workload()),
            ("managed-identity", &|missing| self.app_service(missing)),
        ];
        let mut passed_over = Vec::new();
        for (name, way) in ways {
            match way(missing) {
                Ok(method) => {
                    if !matches!(method, Method::AppService(..)) {
                        missing.extend(wrong_tenant(self.environment));
                    }
                    return method;
                }
                Err(lacks) => passed_over.push(format!("{name}: {lacks}")),
            }
        }
        self.machine(Some(passed_over), missing).unwrap_or_else(nothing)
    }

    fn secret(&self) -> Result<Method, Lacks> {
        let written = |key: &str| self.auth.and_then(|auth| auth.string(key));
        let secret = match (written("client_secret_file"), written("client_secret_env")) {
            (Some(file), _) => Credential::File(file.into()),
            (None, Some(variable)) => Credential::Variable(variable.to_owned()),
            (None, None) if self.environment.credential("AZURE_CLIENT_SECRET").is_none() => {
                return Err("AZURE_CLIENT_SECRET is not set".to_owned());
            }
            (None, None) => Credential::Variable("AZURE_CLIENT_SECRET".to_owned()),
        };
        Ok(Method::Secret(self.application()?, secret))
    }

    fn certificate(&self, missing: &mut Missing) -> Result<Method, Lacks> {
        let file = self.text("cert_file", "AZURE_CLIENT_CERTIFICATE_PATH")?;
        let key = self.auth.and_then(|auth| auth.string("key_file"));
        let application = self.application()?;
        if self.auth.is_none_or(|auth| auth.item("cert_file").is_none()) && certificate::is_pfx(Path::new(&file)) {
            let place = format!("`AZURE_CLIENT_CERTIFICATE_PATH` is \"{}\"", excerpt(&file));
            missing.push(certificate::no_pfx().context(place));
        } else if self.environment.credential("AZURE_CLIENT_CERTIFICATE_PASSWORD").is_some() {
            missing.push(certificate::no_password());
        }
        let key = key.unwrap_or(&file).into();
        Ok(Method::Certificate(application, certificate::Files { certificate: file.into(), key }))
    }

    fn workload(&self) -> Result<Method, Lacks> {
        let file = self.text("token_file", "AZURE_FEDERATED_TOKEN_FILE")?;
        Ok(Method::Workload(self.application()?, Credential::File(file.into())))
    }

    fn app_service(&self, missing: &mut Missing) -> Result<Method, Lacks> {
        let endpoint = self.environment.variable("IDENTITY_ENDPOINT").ok_or("IDENTITY_ENDPOINT is not set")?;
        if self.environment.credential("IDENTITY_HEADER").is_none() {
            // Azure Arc has it so.
            return Err("IDENTITY_ENDPOINT is set, and IDENTITY_HEADER is not".to_owned());
        }
        if self.environment.variable("IDENTITY_SERVER_THUMBPRINT").is_some() {
            return Err(
                "IDENTITY_SERVER_THUMBPRINT is set: Service Fabric's identities are not in this version".to_owned()
            );
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
            Ok(_) => Err(format!("{variable} is a Unix socket")),
            Err(complaint) => {
                let complaint = complaint.context(format!("`{variable}`"));
                missing.push(complaint.hint("unset it, or look at who has set it"));
                Err(format!("{variable} is no address of a metadata service"))
            }
        }
    }

    fn application(&self) -> Result<Application, Lacks> {
        let (tenant, client) = (self.text("tenant_id", "AZURE_TENANT_ID"), self.text("client_id", "AZURE_CLIENT_ID"));
        match (tenant, client) {
            (Ok(tenant), Ok(client)) => Ok(Application { tenant, client }),
            (Err(tenant), Err(client)) => Err(format!("{tenant}, and {client}")),
            (tenant, client) => Err(tenant.err().or(client.err()).unwrap_or_default()),
        }
    }

    /// A text of `auth`, or where there is none of a variable.
    fn text(&self, key: &str, variable: &str) -> Result<String, Lacks> {
        let written = self.auth.and_then(|auth| auth.string(key)).filter(|text| !text.is_empty());
        match (written.or_else(|| self.environment.variable(variable)), self.auth) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(_)) => Err(format!("`auth` has no `{key}`, and {variable} is not set")),
            (None, None) => Err(format!("{variable} is not set")),
        }
    }
}
