//! `ldap`: a user of a directory, and a password.

use handfast_core::{BoxFuture, Context, ProviderError};

use super::credential::Credential;
use super::given::Given;
use super::{Definition, Login, Method, PASSWORD, USERNAME, exchange};
use crate::api::{Api, endpoints};

pub const DEFINITION: Definition = Definition {
    name: "ldap",
    keys: &["mount", "username", "password_file", "password_env"],
    needs: &[USERNAME, PASSWORD],
    read,
};

struct Ldap {
    mount: String,
    username: String,
    password: Credential,
}

fn read(given: &Given<'_>) -> Box<dyn Method> {
    Box::new(Ldap {
        mount: given.mount(),
        username: given.written("username").unwrap_or_default().to_owned(),
        password: given.credential("password", ""),
    })
}

impl Method for Ldap {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let password = self.password.password(context)?;
            let login = endpoints::LdapLogin { mount: &self.mount, username: &self.username, password: &password };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}
