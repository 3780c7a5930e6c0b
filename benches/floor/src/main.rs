//! Fetches secrets of a KV 2 mount over TLS, hands each over in a memfd, and becomes the command: by hand on hyper and rustls,
//! with no worker, no privilege drop, no configuration, no check and no message. It bounds from below what handfast can take.
//!
//! `floor HOST:PORT CA_FILE TOKEN PATH... -- COMMAND`
#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

/// As many connections as handfast makes.
const CONNECTIONS: usize = 32;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

struct Vault {
    address: String,
    token: String,
    tls: TlsConnector,
    paths: std::cell::RefCell<Vec<String>>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(token)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: floor HOST:PORT CA_FILE TOKEN PATH... -- COMMAND".into());
    };
    let paths: Vec<String> = arguments.by_ref().take_while(|word| word != "--").collect();
    let command: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connections = paths.len().min(CONNECTIONS);
    let vault = Rc::new(Vault { address, token, tls: TlsConnector::from(Arc::new(tls)), paths: paths.into() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut running = JoinSet::new();
        for _ in 0..connections {
            let vault = vault.clone();
            running.spawn_local(async move { vault.fetch_some().await });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    match nix::unistd::execv(&command[0], &command)? {}
}

impl Vault {
    /// One connection's share of the paths.
    async fn fetch_some(&self) -> Result<()> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let stream = self.tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        loop {
            let Some(path) = self.paths.borrow_mut().pop() else { return Ok(()) };
            let request = Request::get(format!("/v1/{path}"))
                .header("host", &self.address)
                .header("x-vault-token", &self.token)
                .body(Empty::<Bytes>::new())?;
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            if !answer.status().is_success() {
                return Err(format!("{path}: {}", answer.status()).into());
            }
            let body = answer.into_body().collect().await?.to_bytes();
            let answer: serde_json::Value = serde_json::from_slice(&body)?;
            let value = answer["data"]["data"]["value"].as_str().ok_or("no value")?;
            let memfd = memfd_create(c"secret", MFdFlags::empty())?;
            let mut file = std::fs::File::from(memfd.as_fd().try_clone_to_owned()?);
            file.write_all(value.as_bytes())?;
            // The app's from now on.
            let _number = memfd.into_raw_fd();
        }
    }
}
