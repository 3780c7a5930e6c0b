//! The metadata service of a cloud's machines: who a machine is, asked of an address that only the machine itself reaches.

use std::time::Duration;

use handfast_core::{Context, ErrorKind, ProviderError};
use handfast_http::{Client, Options, Plaintext, Request, Response, Url};

/// A metadata service.
pub struct Metadata {
    client: Client,
    /// Where it is: `http://169.254.169.254`.
    origin: String,
    header: (&'static str, &'static str),
}

impl Metadata {
    /// The service at `host`, which answers whoever sends this header: a page of a browser, or a server that was talked
    /// into a request, does not.
    pub fn new(host: &str, header: (&'static str, &'static str), context: &Context) -> Result<Self, ProviderError> {
        let options = Options {
            // None speaks anything else, and the link to it does not leave the machine's host.
            plaintext: Plaintext::Anywhere,
            // Where there is none, nobody refuses the connection.
            connect_timeout: Duration::from_secs(2),
            ..Options::default()
        };
        Ok(Self { client: Client::new(options, context)?, origin: format!("http://{host}"), header })
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
            // Also a machine that is given an identity a moment from now: Azure answers 404, then 200.
            410 | 429 | 500.. => Err(ProviderError { kind: ErrorKind::Unavailable, ..response.failure(attempted) }),
            _ => Err(ProviderError { kind: ErrorKind::Denied, ..response.failure(attempted) }
                .hint("give this machine an identity of its own, or name a token's file in `jwt_file`")),
        }
    }
}
