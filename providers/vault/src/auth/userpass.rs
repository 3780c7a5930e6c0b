//! `userpass`: a user of Vault's own, and a password.

use handfast_core::{BoxFuture, Context, ProviderError};
use vaultrs::api::auth::userpass::requests::LoginRequest;

use super::credential::Credential;
use super::given::Given;
use super::{Definition, Login, Method, PASSWORD, USERNAME, exchange};
use crate::api::Api;

pub const DEFINITION: Definition = Definition {
    name: "userpass",
    keys: &["mount", "username", "password_file", "password_env"],
    needs: &[USERNAME, PASSWORD],
    read,
};

struct UserPass {
    mount: String,
    username: String,
    password: Credential,
}

fn read(given: &Given<'_>) -> Box<dyn Method> {
    Box::new(UserPass {
        mount: given.mount(),
        username: given.written("username").unwrap_or_default().to_owned(),
        password: given.credential("password", ""),
    })
}

impl Method for UserPass {
    fn login<'a>(&'a self, api: &'a Api, context: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async move {
            let password = self.password.password(context)?;
            let (mount, username) = (self.mount.clone(), self.username.clone());
            let login = LoginRequest { mount, username, password: password.to_string() };
            exchange(api, &login, DEFINITION.name, &self.mount).await
        })
    }
}
