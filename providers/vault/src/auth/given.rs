//! What a user has said of the login: `auth` in the configuration, else the environment.

use handfast_core::{Complaint, Credential, Environment, Problems, Table, excerpt, nearest};

use super::{Agent, Definition, METHODS, Method, Need, Nothing};

/// What is said of a login.
pub struct Given<'a> {
    definition: &'static Definition,
    /// `auth`; none where the environment says how to log in.
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

/// The method that is asked for: by `auth`, else by a token in the environment, else by VAULT_AUTH_METHOD. What is wrong in
/// the environment comes in `missing`.
pub fn read(
    auth: Option<&Table>,
    environment: &dyn Environment,
    behind_socket: bool,
    problems: &mut Problems,
    missing: &mut Vec<Complaint>,
) -> Box<dyn Method> {
    if let Some(auth) = auth {
        return match written(auth, problems) {
            Some(definition) => (definition.read)(&Given { definition, auth: Some(auth), environment }),
            None => Box::new(Nothing),
        };
    }
    let wanted = match environment.variable("VAULT_AUTH_METHOD") {
        _ if environment.credential("VAULT_TOKEN").is_some() => "token",
        Some(method) => method,
        None if behind_socket => return Box::new(Agent),
        None => return Box::new(Nothing),
    };
    match METHODS.iter().find(|definition| definition.name == wanted) {
        Some(definition) => {
            missing.extend(unsaid(definition, environment));
            (definition.read)(&Given { definition, auth: None, environment })
        }
        None => {
            missing.push(unknown("`VAULT_AUTH_METHOD`", wanted));
            Box::new(Nothing)
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
        if super::KEYS.iter().any(|known| known.name == key) && !definition.keys.contains(&key) {
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
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the login methods are: {}", names()),
    };
    Complaint::new(format!("{place} is \"{}\", which is no login method", excerpt(name))).hint(hint)
}

fn names() -> String {
    METHODS.iter().map(|definition| definition.name).collect::<Vec<_>>().join(", ")
}

impl Given<'_> {
    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.definition.name
    }

    /// Where the method is mounted, below `auth/`.
    pub fn mount(&self) -> String {
        let mount = self.text("mount", "VAULT_PATH").unwrap_or_else(|| self.definition.name.to_owned());
        // Vault's own tools show it with and without.
        let mount = mount.trim_matches('/');
        mount.strip_prefix("auth/").unwrap_or(mount).to_owned()
    }

    /// The environment.
    pub fn environment(&self) -> &dyn Environment {
        self.environment
    }

    /// A text of `auth`.
    pub fn written(&self, key: &str) -> Option<&str> {
        self.auth?.string(key)
    }

    /// A text that is no credential: from `auth`, or where there is none from a variable.
    pub fn text(&self, key: &str, variable: &str) -> Option<String> {
        match self.auth {
            Some(auth) => auth.string(key).map(str::to_owned),
            None => self.environment.variable(variable).map(str::to_owned),
        }
    }

    /// A switch of `auth`.
    pub fn is_on(&self, key: &str) -> bool {
        self.auth.and_then(|auth| auth.boolean(key)).unwrap_or(false)
    }

    /// A credential: from `<name>_file` or `<name>_env`, else from a variable that is known for it.
    pub fn credential(&self, name: &str, variable: &str) -> Credential {
        let text = |suffix: &str| self.auth.and_then(|auth| auth.string(&format!("{name}{suffix}")));
        match (text("_file"), text("_env")) {
            (Some(path), _) => Credential::File(path.into()),
            (None, Some(variable)) => Credential::Variable(variable.to_owned()),
            (None, None) => match text("") {
                Some(written) => Credential::Written(written.to_owned()),
                None => Credential::Variable(variable.to_owned()),
            },
        }
    }
}
