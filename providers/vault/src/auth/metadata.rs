//! The metadata service of a cloud's machines: who a machine is, asked of an address that only the machine itself reaches.

use std::time::Duration;

use handfast_core::{Context, ErrorKind, ProviderError};
use handfast_http::metadata::{self, Patience};
use handfast_http::{Client, Plaintext, Request, Response, Url};

/// A metadata service at one address.
pub struct Service {
    client: Client,
    /// Where it is: `http://169.254.169.254`.
    origin: String,
    header: (&'static str, &'static str),
}

impl Service {
    /// The service at `host`, which answers whoever sends this header: a page of a browser, or a server that was talked
    /// into a request, does not.
    pub fn new(host: &str, header: (&'static str, &'static str), context: &Context) -> Result<Self, ProviderError> {
        // A user may name any host for it.
        let client = metadata::client(Patience::connecting(Duration::from_secs(2)), Plaintext::Anywhere, context)?;
        Ok(Self { client, origin: format!("http://{host}"), header })
    }

    /// What it answers at a path. `attempted` is what it is asked for: "cannot get an identity token".
    pub async fn ask(&self, path: &str, query: &[(&str, &str)], attempted: &str) -> Result<Response, ProviderError> {
        let place = format!("{}{path}", self.origin);
        let url = Url::parse_with_params(&place, query).map_err(|_| {
            ProviderError::new(ErrorKind::Denied, format!("{attempted}: `{}` is no host", self.origin.escape_debug()))
        })?;
        let (name, value) = self.header;
        let request = Request::get(url).header(name, value)?;
        let response = self.client.send(request).await.map_err(|error| error.context(attempted))?;
        match response.status() {
            200 => Ok(response),
            _ => {
                let error = metadata::refusal(&response, attempted);
                Err(match error.kind {
                    ErrorKind::Denied => {
                        error.hint("give this machine an identity of its own, or name a token's file in `jwt_file`")
                    }
                    _ => error,
                })
            }
        }
    }
}
