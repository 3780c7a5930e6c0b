//! `agent`: no login. Vault Agent or Vault Proxy on this machine adds its own token to each request without a token
//! (developer.hashicorp.com/vault/docs/agent-and-proxy/proxy/apiproxy).

use handfast_core::{BoxFuture, Context, ProviderError};

use super::method::{Definition, Login, Method, Origin};
use super::settings::AuthSettings;
use crate::api::Api;

/// Its name.
pub const NAME: &str = "agent";

pub const DEFINITION: Definition = Definition { name: NAME, keys: &[], needs: &[], read };

/// An agent on another machine is refused, because anybody on the network path could use its token.
pub const ELSEWHERE: &str =
    "the login method `agent` takes the token of an agent on this machine, and the address is another's";
pub const EXPECTED: &str =
    "`address`, VAULT_AGENT_ADDR or VAULT_ADDR is the agent's own: `http://127.0.0.1:8100` or `unix:///path/of/socket`";

struct Agent;

fn read(_: &AuthSettings<'_>) -> Box<dyn Method> {
    Box::new(Agent)
}

impl Method for Agent {
    fn login<'a>(&'a self, _: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async { Ok(Login { token: None, origin: Origin::Agent, duration: None, renewable: false }) })
    }
}
