//! Servers that follow a script, certificates of any kind, and a context made of values.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use handfast_core::{BoxFuture, Clock, Context, Environment, ErrorKind, Files, ProviderError, SecretValue};
use handfast_http::{CaSource, Client, Options, Request, Response, Roots, Url};
use handfast_testkit::{Outside, assert_listed};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A part of every credential, query and body of these tests. No error may contain it.
pub const CANARY: &str = "pa55w0rd";
pub const CA_FILE: &str = "/etc/ssl/corp.pem";

/// A step of a server's response.
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends the same bytes again and again.
    Flood(&'static [u8]),
    /// Ends the connection as TLS and TCP require.
    Close,
    /// Ends it without the end of TLS, but as TCP requires.
    Cut,
    /// Ends it with a reset.
    Reset,
}

pub fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

pub fn ok(body: &str) -> Vec<Step> {
    vec![send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))]
}

pub struct Server {
    pub address: SocketAddr,
    /// The head and body of each request, in order of arrival.
    pub requests: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<Mutex<usize>>,
    /// How many bytes the server could send.
    pub sent: Arc<Mutex<usize>>,
}

pub trait Script: Fn(&str) -> Vec<Step> + Send + Sync + 'static {}
impl<F: Fn(&str) -> Vec<Step> + Send + Sync + 'static> Script for F {}

impl Server {
    /// A server that responds to each request as the script says. Without a TLS configuration it uses plain HTTP.
    pub async fn start(tls: Option<ServerConfig>, script: impl Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, requests: Arc::default(), connections: Arc::default(), sent: Arc::default() };
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (requests, connections, sent) = (server.requests.clone(), server.connections.clone(), server.sent.clone());
        let script = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (requests, sent, script) = (requests.clone(), sent.clone(), script.clone());
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => {
                            let mut stream = stream;
                            if converse(&mut stream, &requests, &sent, &*script).await {
                                let _ = stream.set_zero_linger();
                            }
                        }
                        Some(acceptor) => {
                            let Ok(mut stream) = acceptor.accept(stream).await else { return };
                            if converse(&mut stream, &requests, &sent, &*script).await {
                                let _ = stream.into_inner().0.set_zero_linger();
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub fn url(&self, scheme: &str, path: &str) -> Url {
        Url::parse(&format!("{scheme}://127.0.0.1:{}{path}", self.address.port())).unwrap()
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// Responds to requests until the script ends the connection; `true` means with a reset.
async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    requests: &Mutex<Vec<String>>,
    sent: &Mutex<usize>,
    script: &(impl Script + ?Sized),
) -> bool {
    while let Some(request) = read_request(stream).await {
        requests.lock().unwrap().push(request.clone());
        for step in script(&request) {
            let result = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await,
                Step::Wait(duration) => {
                    tokio::time::sleep(duration).await;
                    Ok(())
                }
                Step::Flood(bytes) => loop {
                    if let Err(error) = stream.write_all(bytes).await {
                        break Err(error);
                    }
                    *sent.lock().unwrap() += bytes.len();
                },
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return false;
                }
                Step::Cut => return false,
                Step::Reset => return true,
            };
            if result.is_err() || stream.flush().await.is_err() {
                return false;
            }
        }
    }
    false
}

/// A request's head, and its body if it has a length.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut end, mut length) = (usize::MAX, 0);
    while bytes.len() < end.saturating_add(length) {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(at) = text.find("\r\n\r\n") {
            end = at + 4;
            let announced = text[..at].lines().find_map(|line| line.strip_prefix("content-length: "));
            length = announced.map_or(0, |length| length.trim().parse().unwrap());
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server of neither TLS nor HTTP: it sends some bytes on each connection, and then waits or closes it.
pub async fn raw_server(bytes: &'static [u8], stay: bool) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections: Arc<Mutex<usize>> = Arc::default();
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *count.lock().unwrap() += 1;
            tokio::spawn(async move {
                // Reads the client's first bytes, so that the connection closes normally and not with a reset.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes).await;
                if stay {
                    let _ = stream.read(&mut [0; 4096]).await;
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            });
        }
    });
    (address, connections)
}

/// A certificate authority of the test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        Self::named("handfast test authority")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server with a good certificate for these names.
    pub fn server(&self, names: &[&str]) -> ServerConfig {
        self.server_valid(names, (2020, 2099))
    }

    /// A certificate for a key that is valid from the first to the second year.
    pub fn issue(&self, names: &[&str], (from, to): (i32, i32), key: &KeyPair) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        params.signed_by(key, &self.0).unwrap()
    }

    /// A server with a certificate that is valid from the first to the second year.
    pub fn server_valid(&self, names: &[&str], years: (i32, i32)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = self.issue(names, years, &key);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// Files and variables made of values.
#[derive(Default)]
pub struct World {
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub variables: Vec<(&'static str, String)>,
}

impl World {
    pub fn trusting(authority: &Authority) -> Self {
        Self { files: vec![(CA_FILE, authority.pem().into_bytes())], variables: Vec::new() }
    }

    pub fn context(self) -> Context {
        let world = Rc::new(self);
        Context {
            environment: world.clone(),
            files: world.clone(),
            clock: Arc::new(RealClock),
            ..Outside::default().context()
        }
    }
}

impl Files for World {
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ProviderError> {
        let below = self.files.iter().map(|(name, _)| PathBuf::from(name)).filter(|path| path.starts_with(directory));
        Ok(below.collect())
    }

    fn read(&self, path: &Path, _: Option<&Path>, _: usize) -> Result<SecretValue, ProviderError> {
        let found = self.files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| SecretValue::from(bytes.clone())).ok_or_else(|| {
            let message = format!("cannot read `{}`: no such file", path.display());
            ProviderError::new(ErrorKind::NotFound, message)
        })
    }
}

impl Environment for World {
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    fn credential(&self, _: &str) -> Option<&SecretValue> {
        None
    }
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Options that trust the authority of `CA_FILE` alone.
pub fn options() -> Options {
    Options { ca: vec![CaSource::File(CA_FILE.into())], roots: Roots::None, ..Options::default() }
}

/// As [`options`], with short time limits, for servers that do not respond.
pub fn impatient() -> Options {
    Options {
        connect_timeout: Duration::from_millis(1500),
        idle_timeout: Duration::from_millis(700),
        total_timeout: Duration::from_millis(2000),
        ..options()
    }
}

/// A `GET` with a credential in its header and its query.
pub fn get(mut url: Url) -> Request {
    url.set_query(Some(&format!("q={CANARY}")));
    Request::get(url).secret_header("x-vault-token", SecretValue::from(CANARY.as_bytes().to_vec())).unwrap()
}

pub fn post(mut url: Url) -> Request {
    url.set_query(Some(&format!("q={CANARY}")));
    Request::post(url, "text/plain", SecretValue::from(CANARY.as_bytes().to_vec()))
}

/// The result of a request with these options.
pub async fn fetch(authority: &Authority, options: Options, request: Request) -> Result<Response, ProviderError> {
    Client::new(options, &World::trusting(authority).context())?.send(request).await
}

/// The error of a result, which must contain no canary and be a line of `errors.txt`.
#[track_caller]
pub fn failed<T>(result: Result<T, ProviderError>, kind: ErrorKind, part: &str) -> ProviderError {
    let error = result.err().expect("this should have failed");
    assert!(!format!("{error:?} {error}").contains(CANARY), "{error:?}");
    assert_eq!(error.kind, kind, "{error:?}");
    assert!(error.message.contains(part), "{error:?}");
    assert_listed(&error, include_str!("errors.txt"));
    error
}

/// A body as text.
pub fn text(response: &Response) -> String {
    String::from_utf8(response.body().expose().to_vec()).unwrap()
}
