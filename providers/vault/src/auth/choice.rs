//! Selects the login method: by `auth` in the configuration, otherwise by the environment.

use handfast_core::{
    BoxFuture, Complaint, Context, Environment, ErrorKind, Problems, ProviderError, Table, did_you_mean, excerpt,
};

use super::keys::KEYS;
use super::method::{Definition, Login, Method, Need};
use super::settings::AuthSettings;
use super::{agent, approle, aws, azure, cert, gcp, jwt, kubernetes, password, token};
use crate::api::Api;

/// The methods.
const METHODS: &[&Definition] = &[
    &token::DEFINITION,
    &approle::DEFINITION,
    &kubernetes::DEFINITION,
    &jwt::DEFINITION,
    &cert::DEFINITION,
    &password::USERPASS,
    &password::LDAP,
    &aws::DEFINITION,
    &azure::DEFINITION,
    &gcp::DEFINITION,
    &agent::DEFINITION,
];

/// The kind of server at Vault's address.
pub struct Target {
    /// Whether it is on this machine.
    pub is_local: bool,
    /// Whether it is Vault Agent or Vault Proxy: its address is a Unix socket, or comes from VAULT_AGENT_ADDR.
    pub is_agent: bool,
}

/// The selected login method.
pub struct Chosen {
    /// The name of the method.
    pub name: &'static str,
    /// The method.
    pub method: Box<dyn Method>,
}

/// Selects the method: by `auth`, otherwise by a token in the environment, otherwise by VAULT_AUTH_METHOD, otherwise the token of
/// an agent. Adds problems with the environment to `missing`.
pub fn read(
    auth: Option<&Table>,
    environment: &dyn Environment,
    target: Target,
    problems: &mut Problems,
    missing: &mut Vec<Complaint>,
) -> Chosen {
    let nothing = || Chosen { name: "nothing", method: Box::new(NoMethod { is_local: target.is_local }) };
    let chosen = |definition: &Definition, auth| {
        let method = (definition.read)(&AuthSettings::new(definition.name, auth, environment));
        Chosen { name: definition.name, method }
    };
    if let Some(auth) = auth {
        let Some(definition) = from_table(auth, problems) else { return nothing() };
        if let Some(place) = auth.place("method").filter(|_| definition.name == agent::NAME && !target.is_local) {
            problems.add_with_hint(place, agent::ELSEWHERE, agent::EXPECTED);
        }
        return chosen(definition, Some(auth));
    }
    let name = match environment.variable("VAULT_AUTH_METHOD") {
        _ if environment.credential("VAULT_TOKEN").is_some() => "token",
        Some(method) => method,
        None if target.is_agent => agent::NAME,
        None => return nothing(),
    };
    match METHODS.iter().find(|definition| definition.name == name) {
        Some(definition) => {
            missing.extend(missing_variables(definition, environment));
            if definition.name == agent::NAME && !target.is_local {
                missing.push(Complaint::new(agent::ELSEWHERE).hint(agent::EXPECTED));
            }
            chosen(definition, None)
        }
        None => {
            missing.push(unknown("`VAULT_AUTH_METHOD`", name));
            nothing()
        }
    }
}

/// The method that `auth` names. Checks that the other keys belong to that method.
fn from_table(auth: &Table, problems: &mut Problems) -> Option<&'static Definition> {
    let Some(item) = auth.item("method") else {
        // If `method` is there and not a string, that has been reported.
        if let Some((_, place)) = auth.keys().next() {
            problems.add_with_hint(place, "`auth` has no `method`", format!("`method` is one of: {}", names()));
        }
        return None;
    };
    let name = auth.string("method")?;
    let Some(definition) = METHODS.iter().find(|definition| definition.name == name) else {
        problems.add(&item.place, unknown("`method`", name));
        return None;
    };
    for (key, place) in auth.keys().filter(|(key, _)| *key != "method") {
        if KEYS.iter().any(|known| known.name == key) && !definition.keys.contains(&key) {
            let hint = format!("`{name}` takes: {}", definition.keys.join(", "));
            problems.add_with_hint(place, format!("the login method `{name}` takes no `{key}`"), hint);
        }
    }
    for Need { keys, .. } in definition.needs {
        if !keys.iter().any(|key| auth.item(key).is_some()) {
            problems.add(&item.place, format!("the login method `{name}` needs `{}`", keys.join("` or `")));
        }
    }
    let taken = |key: &&str| definition.keys.contains(key) && auth.item(key).is_some();
    for keys in EXCLUSIVE {
        let mut present = keys.iter().copied().filter(taken);
        if let Some(first) = present.next() {
            for second in present {
                let place = auth.place(second).unwrap_or(&item.place);
                problems.add(place, format!("`auth` has both `{first}` and `{second}`"));
            }
        }
    }
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if let (Some(place), None) = (auth.place(one).filter(|_| taken(&one)), auth.item(other)) {
            problems.add(place, format!("`auth` has `{one}` and no `{other}`"));
        }
    }
    for key in ["mount", "username"] {
        let (Some(text), Some(place)) = (auth.string(key), auth.place(key)) else { continue };
        // These would change the path of a URL.
        if text.trim_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
            problems.add(place, format!("`{key}` is \"{}\", which has an empty part, `.` or `..`", excerpt(text)));
        }
    }
    // Spaces are refused, because the signature would not cover spaces at the ends, and several spaces would count as one.
    if let Some((text, place)) = auth.string("header_value").zip(auth.place("header_value"))
        && (text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let message = format!("`header_value` is \"{}\", expected visible ASCII characters", excerpt(text));
        problems.add(place, message);
    }
    Some(definition)
}

/// Keys with the same meaning: `auth` may have only one key of each group.
const EXCLUSIVE: &[&[&str]] = &[
    &["token_file", "token_env", "jwt_file", "jwt_env"],
    &["role_id", "role_id_file", "role_id_env"],
    &["secret_id_file", "secret_id_env"],
    &["password_file", "password_env"],
];

/// The problems if VAULT_AUTH_METHOD names a method, and a variable that the method needs is not set.
fn missing_variables(definition: &Definition, environment: &dyn Environment) -> Vec<Complaint> {
    let name = definition.name;
    let complaints = definition.needs.iter().filter_map(|Need { keys, variable }| match variable {
        Some(variable) if environment.variable(variable).is_some() => None,
        Some(variable) => Some(
            Complaint::new(format!("`VAULT_AUTH_METHOD` is \"{name}\", and `{variable}` is not set"))
                .hint(format!("set `{variable}`, or write `auth` in [providers.vault]")),
        ),
        None => {
            let keys = keys.join("` or `");
            let message = format!("`VAULT_AUTH_METHOD` is \"{name}\", and no variable says its `{keys}`");
            let hint = format!("write `auth = {{ method = \"{name}\", … }}` in [providers.vault]");
            Some(Complaint::new(message).hint(hint))
        }
    });
    complaints.collect()
}

fn unknown(place: &str, name: &str) -> Complaint {
    let known = METHODS.iter().map(|definition| definition.name);
    let hint = did_you_mean(name, known).unwrap_or_else(|| format!("the login methods are: {}", names()));
    Complaint::new(format!("{place} is \"{}\", which is no login method", excerpt(name))).hint(hint)
}

fn names() -> String {
    METHODS.iter().map(|definition| definition.name).collect::<Vec<_>>().join(", ")
}

/// No login method: each login fails.
struct NoMethod {
    /// Whether the server is on this machine, and so may be an agent.
    is_local: bool,
}

impl Method for NoMethod {
    fn login<'a>(&'a self, _: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        let error = ProviderError::new(
            ErrorKind::Denied,
            "nothing to log in to Vault with: no `auth` in the configuration, and neither VAULT_TOKEN nor VAULT_AUTH_METHOD is set",
        );
        let hint = match self.is_local {
            true => {
                "`auth = { method = \"agent\" }` in [providers.vault] takes the token of an agent or proxy at this address"
            }
            false => "`auth = { method = \"kubernetes\", role = \"web\" }` in [providers.vault] is a start",
        };
        Box::pin(async move { Err(error.hint(hint)) })
    }
}
