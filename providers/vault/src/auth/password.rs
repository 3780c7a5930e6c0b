//! `userpass` and `ldap`: a name and a password, of Vault's own users or of a directory's. Vault takes both in one form.

use handfast_core::{BoxFuture, Context, Credential, ProviderError};
use vaultrs::api::auth::userpass::requests::LoginRequest;

use super::exchange::exchange;
use super::given::Given;
use super::method::{Definition, Login, Method, PASSWORD, USERNAME};
use super::refusals::Refusals;
use crate::api::Api;

pub const USERPASS: Definition = Definition { name: "userpass", keys: KEYS, needs: &[USERNAME, PASSWORD], read };
pub const LDAP: Definition = Definition { name: "ldap", ..USERPASS };

const KEYS: &[&str] = &["mount", "username", "password_file", "password_env"];

struct Password {
    method: &'static str,
    mount: String,
    username: String,
    password: Credential,
    refusals: Refusals,
}

fn read(given: &Given<'_>) -> Box<dyn Method> {
    Box::new(Password {
        method: given.method(),
        mount: given.mount(),
        username: given.written("username").unwrap_or_default().to_owned(),
        password: given.credential("password", ""),
        refusals: Refusals::default(),
    })
}

impl Method for Password {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let password = self.password.password(context)?;
            let (mount, username) = (self.mount.clone(), self.username.clone());
            let login = LoginRequest { mount, username, password: password.to_string() };
            let exchange = exchange(api, &login, self.method, &self.mount);
            self.refusals.unless_refused(&[password.as_str()], &*context.clock, exchange).await
        })
    }
}
