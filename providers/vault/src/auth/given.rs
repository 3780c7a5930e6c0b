//! What a user has said of the login: `auth` in the configuration, else the environment.

use handfast_core::{Credential, Environment, Table};

/// What is said of a login.
pub struct Given<'a> {
    method: &'static str,
    /// `auth`; none where the environment says how to log in.
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

impl<'a> Given<'a> {
    /// What `auth` says of a login by this method; without it, what the environment says.
    pub fn new(method: &'static str, auth: Option<&'a Table>, environment: &'a dyn Environment) -> Self {
        Self { method, auth, environment }
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Where the method is mounted, below `auth/`.
    pub fn mount(&self) -> String {
        let mount = self.text("mount", "VAULT_PATH").unwrap_or_else(|| self.method.to_owned());
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
