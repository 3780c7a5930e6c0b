//! The tests' own blocking HTTP client, which sets servers up. It shares no code with the product's client.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::authority::{Identity, certificates};

/// A client that trusts one authority. It opens a connection for each request.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

/// An answer of a server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in order, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Creates a client that trusts certificates of these authorities (PEM).
    pub fn trusting(pem: &str) -> Self {
        Self::new(pem, None)
    }

    /// Creates a client with its own certificate.
    pub fn with_identity(pem: &str, identity: &Identity) -> Self {
        Self::new(pem, Some(identity))
    }

    fn new(pem: &str, identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem) {
            roots.add(certificate).expect("it is a certificate");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots);
        Self(Arc::new(match identity.map(Identity::parsed) {
            Some((certificates, key)) => {
                builder.with_client_auth_cert(certificates, key).expect("the key is the certificate's")
            }
            None => builder.with_no_client_auth(),
        }))
    }

    /// Sends a request to `http://HOST:PORT/PATH` or `https://…`, and reads the whole answer.
    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let (scheme, rest) = url.split_once("://").ok_or(io::ErrorKind::InvalidInput)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // With HTTP/1.0, the body ends with the connection, and nothing is chunked.
        let mut request = format!("{method} {} HTTP/1.0\r\n", if path.is_empty() { "/" } else { path });
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("host: {authority}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n", body.len());
        let request = [request.as_bytes(), body].concat();
        if scheme == "http" {
            return exchange(&mut TcpStream::connect(authority)?, &request);
        }
        exchange(&mut self.connect(authority)?, &request)
    }

    /// Opens a TLS connection to `HOST:PORT`, for tests that need less than a whole exchange.
    pub fn connect(&self, authority: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connection = ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        // Many servers end the connection without a TLS close. The length tells whether the answer is complete.
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Err(error);
        }
    }
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole HTTP answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    let answer = Answer { status, headers, body };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    (length.is_none_or(|length: usize| length == answer.body.len())).then_some(answer)
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` if it is empty or not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
