//! Which way to log in is meant: by `auth` in the configuration, else by the environment.

use handfast_core::{
    BoxFuture, Complaint, Context, Environment, ErrorKind, Problems, ProviderError, Table, did_you_mean, excerpt,
};

use super::given::Given;
use super::keys::KEYS;
use super::method::{Definition, Login, Method, Need};
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

/// What is at Vault's address.
pub struct Behind {
    /// It is on this machine.
    pub is_local: bool,
    /// It is an agent or a proxy: its address is a Unix socket, or that of VAULT_AGENT_ADDR.
    pub is_agent: bool,
}

/// A way to log in, by its name.
pub struct Chosen {
    /// The name of the method.
    pub name: &'static str,
    /// The method.
    pub method: Box<dyn Method>,
}

/// The method that is asked for: by `auth`, else by a token in the environment, else by VAULT_AUTH_METHOD; else an agent lends its
/// token. What is wrong in the environment comes in `missing`.
pub fn read(
    auth: Option<&Table>,
    environment: &dyn Environment,
    behind: Behind,
    problems: &mut Problems,
    missing: &mut Vec<Complaint>,
) -> Chosen {
    let nothing = || Chosen { name: "nothing", method: Box::new(Nothing { is_local: behind.is_local }) };
    let chosen = |definition: &Definition, auth| {
        let method = (definition.read)(&Given::new(definition.name, auth, environment));
        Chosen { name: definition.name, method }
    };
    if let Some(auth) = auth {
        let Some(definition) = written(auth, problems) else { return nothing() };
        if let Some(place) = auth.place("method").filter(|_| definition.name == agent::NAME && !behind.is_local) {
            problems.add_with_hint(place, agent::ELSEWHERE, agent::EXPECTED);
        }
        return chosen(definition, Some(auth));
    }
    let wanted = match environment.variable("VAULT_AUTH_METHOD") {
        _ if environment.credential("VAULT_TOKEN").is_some() => "token",
        Some(method) => method,
        None if behind.is_agent => agent::NAME,
        None => return nothing(),
    };
    match METHODS.iter().find(|definition| definition.name == wanted) {
        Some(definition) => {
            missing.extend(unsaid(definition, environment));
            if definition.name == agent::NAME && !behind.is_local {
                missing.push(Complaint::new(agent::ELSEWHERE).hint(agent::EXPECTED));
            }
            chosen(definition, None)
        }
        None => {
            missing.push(unknown("`VAULT_AUTH_METHOD`", wanted));
            nothing()
        }
    }
}

/// The method that `auth` names, and whether its other keys are that method's.
fn written(auth: &Table, problems: &mut Problems) -> Option<&'static Definition> {
    let Some(item) = auth.item("method") else {
        // Where it is none of a string, that has been reported.
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
    for same in SAME {
        let mut said = same.iter().copied().filter(taken);
        if let Some(first) = said.next() {
            for second in said {
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
        // Of a URL's path these would change the meaning.
        if text.trim_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
            problems.add(place, format!("`{key}` is \"{}\", which has an empty part, `.` or `..`", excerpt(text)));
        }
    }
    // It is signed, and signatures see spaces at the ends, or several in a row, as one or none.
    if let Some((text, place)) = auth.string("header_value").zip(auth.place("header_value"))
        && (text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let message = format!("`header_value` is \"{}\", expected visible ASCII characters", excerpt(text));
        problems.add(place, message);
    }
    Some(definition)
}

/// Keys that say the same: `auth` has one of them.
const SAME: &[&[&str]] = &[
    &["token_file", "token_env", "jwt_file", "jwt_env"],
    &["role_id", "role_id_file", "role_id_env"],
    &["secret_id_file", "secret_id_env"],
    &["password_file", "password_env"],
];

/// What a method needs that no variable says, where VAULT_AUTH_METHOD has named it.
fn unsaid(definition: &Definition, environment: &dyn Environment) -> Vec<Complaint> {
    let name = definition.name;
    let unsaid = definition.needs.iter().filter_map(|Need { keys, variable }| match variable {
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
    unsaid.collect()
}

fn unknown(place: &str, name: &str) -> Complaint {
    let known = METHODS.iter().map(|definition| definition.name);
    let hint = did_you_mean(name, known).unwrap_or_else(|| format!("the login methods are: {}", names()));
    Complaint::new(format!("{place} is \"{}\", which is no login method", excerpt(name))).hint(hint)
}

fn names() -> String {
    METHODS.iter().map(|definition| definition.name).collect::<Vec<_>>().join(", ")
}

/// Nothing to log in with.
struct Nothing {
    /// What is at Vault's address may be an agent.
    is_local: bool,
}

impl Method for Nothing {
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
