//! The metadata service of a cloud's machines, which has a machine's identity. Only the machine itself can reach it.

use std::time::Duration;

use handfast_core::{Context, ErrorKind, ProviderError};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Client, Plaintext, Request, Response, Url};

/// A metadata service at one address.
pub struct Service {
    client: Client,
    /// Its origin, such as `http://169.254.169.254`.
    origin: String,
    header: (&'static str, &'static str),
}

impl Service {
    /// The service at `host`. It requires this header, which a web page or a server with a request forgery flaw cannot send.
    pub fn new(host: &str, header: (&'static str, &'static str), context: &Context) -> Result<Self, ProviderError> {
        // A variable can name any host.
        let client = metadata::client(TimeLimits::connecting(Duration::from_secs(2)), Plaintext::Anywhere, context)?;
        Ok(Self { client, origin: format!("http://{host}"), header })
    }

    /// Requests a path. `attempted` is the start of an error: "cannot get an identity token".
    pub async fn get(&self, path: &str, query: &[(&str, &str)], attempted: &str) -> Result<Response, ProviderError> {
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
