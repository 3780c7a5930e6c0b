//! The settings of the login: `auth` in the configuration, otherwise the environment.

use handfast_core::{Credential, Environment, Table};

/// The settings of a login method.
pub struct AuthSettings<'a> {
    method: &'static str,
    /// `auth`; `None` if the environment has the settings.
    auth: Option<&'a Table>,
    environment: &'a dyn Environment,
}

impl<'a> AuthSettings<'a> {
    /// The settings of this method, in `auth` or, without `auth`, in the environment.
    pub fn new(method: &'static str, auth: Option<&'a Table>, environment: &'a dyn Environment) -> Self {
        Self { method, auth, environment }
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The method's mount, below `auth/`.
    pub fn mount(&self) -> String {
        let mount = self.text("mount", "VAULT_PATH").unwrap_or_else(|| self.method.to_owned());
        // Vault's own tools show the mount both with and without `auth/`.
        let mount = mount.trim_matches('/');
        mount.strip_prefix("auth/").unwrap_or(mount).to_owned()
    }

    /// The environment.
    pub fn environment(&self) -> &dyn Environment {
        self.environment
    }

    /// A string in `auth`.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.auth?.string(key)
    }

    /// A string that is not a credential: from `auth` or, without `auth`, from a variable.
    pub fn text(&self, key: &str, variable: &str) -> Option<String> {
        match self.auth {
            Some(auth) => auth.string(key).map(str::to_owned),
            None => self.environment.variable(variable).map(str::to_owned),
        }
    }

    /// A boolean in `auth`.
    pub fn is_on(&self, key: &str) -> bool {
        self.auth.and_then(|auth| auth.boolean(key)).unwrap_or(false)
    }

    /// A credential: from `<name>_file` or `<name>_env`, otherwise from its usual variable.
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
