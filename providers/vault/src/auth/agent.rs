//! `agent`: no login at all. Vault Agent or Vault Proxy, on this machine, puts its own token into each request that has none
//! (developer.hashicorp.com/vault/docs/agent-and-proxy/proxy/apiproxy).

use handfast_core::{BoxFuture, Context, ProviderError};

use super::given::Given;
use super::method::{Definition, Login, Method, Origin};
use crate::api::Api;

/// Its name.
pub const NAME: &str = "agent";

pub const DEFINITION: Definition = Definition { name: NAME, keys: &[], needs: &[], read };

/// Another machine's token is nobody's to lend: whoever is on the way would have it.
pub const ELSEWHERE: &str =
    "the login method `agent` takes the token of an agent on this machine, and the address is another's";
pub const EXPECTED: &str =
    "`address`, VAULT_AGENT_ADDR or VAULT_ADDR is the agent's own: `http://127.0.0.1:8100` or `unix:///path/of/socket`";

struct Agent;

fn read(_: &Given<'_>) -> Box<dyn Method> {
    Box::new(Agent)
}

impl Method for Agent {
    fn login<'a>(&'a self, _: &'a Api, _: &'a Context) -> BoxFuture<'a, Result<Login, ProviderError>> {
        Box::pin(async { Ok(Login { token: None, origin: Origin::Lent, duration: None, renewable: false }) })
    }
}
