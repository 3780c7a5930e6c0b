//! `userpass` and `ldap`: the name and password of a user in Vault or in a directory. Both methods have the same request.

use handfast_core::{BoxFuture, Context, Credential, ProviderError};
use vaultrs::api::auth::userpass::requests::LoginRequest;

use super::exchange::exchange;
use super::method::{Definition, Login, Method, PASSWORD, USERNAME};
use super::refusals::Refusals;
use super::settings::AuthSettings;
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

fn read(settings: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Password {
        method: settings.method(),
        mount: settings.mount(),
        username: settings.string("username").unwrap_or_default().to_owned(),
        password: settings.credential("password", ""),
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
