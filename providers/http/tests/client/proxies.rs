//! Proxies: used for remote hosts, never for this machine. A proxy cannot read the requests.

use std::sync::{Arc, Mutex};

use handfast_core::ErrorKind::{Denied, Unavailable};
use handfast_core::{Context, ProviderError};
use handfast_http::{Client, Options, Proxy, ProxyUrl, Response, ServerName, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

const ESTABLISHED: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// A proxy with a fixed response to CONNECT. After a success it connects to one server, whatever host the client has named.
struct Tunnel {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    async fn start(answer: &'static str, server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tunnel = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = tunnel.seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                seen.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer == ESTABLISHED {
                    let mut onward = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::spawn(async move { copy_bidirectional(&mut stream, &mut onward).await });
                }
            }
        });
        tunnel
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn options(&self) -> Options {
        let url = format!("http://user:{CANARY}@127.0.0.1:{}", self.port);
        Options { proxy: Proxy::Url(ProxyUrl::parse(&url).unwrap()), ..options() }
    }
}

async fn ask(options: Options, context: &Context, url: &str) -> Result<Response, ProviderError> {
    Client::new(options, context)?.send(get(Url::parse(url).unwrap())).await
}

#[tokio::test]
async fn a_remote_host_is_requested_through_a_tunnel() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["store.example"])), |_| ok("far")).await;
    let tunnel = Tunnel::start(ESTABLISHED, server.address.port()).await;
    let context = World::trusting(&authority).context();
    let response = ask(tunnel.options(), &context, "https://store.example:8200/v1/x").await.unwrap();
    assert_eq!(text(&response), "far");
    let seen = tunnel.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("CONNECT store.example:8200 HTTP/1.1\r\n"), "{seen:?}");
    // user:pa55w0rd
    assert!(seen[0].to_lowercase().contains("proxy-authorization: basic dxnlcjpwytu1dzbyza==\r\n"), "{seen:?}");
    assert!(!seen[0].contains(CANARY) && !seen[0].contains("/v1/x"), "{seen:?}");
    assert!(!server.requests()[0].to_lowercase().contains("proxy-"), "{:?}", server.requests());
}

#[tokio::test]
async fn this_machine_is_requested_directly() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["127.0.0.1", "localhost"])), |_| ok("near")).await;
    let tunnel = Tunnel::start(ESTABLISHED, server.address.port()).await;
    let context = World::trusting(&authority).context();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{}/", server.address.port());
        assert_eq!(text(&ask(tunnel.options(), &context, &url).await.unwrap()), "near");
    }
    assert_eq!(tunnel.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxy_gets_the_host_if_the_certificate_is_for_another_name() {
    let authority = Authority::new();
    let context = World::trusting(&authority).context();
    let named = |host: &str, tunnel: &Tunnel| {
        let server_name = Some(ServerName { host: host.into(), name: "vault.internal".into() });
        Options { server_name, ..tunnel.options() }
    };
    let right = Server::start(Some(authority.server(&["vault.internal"])), |_| ok("far")).await;
    let tunnel = Tunnel::start(ESTABLISHED, right.address.port()).await;
    let url = "https://store.example:8200/";
    assert_eq!(text(&ask(named("store.example", &tunnel), &context, url).await.unwrap()), "far");
    assert!(tunnel.seen()[0].starts_with("CONNECT store.example:8200 "), "{:?}", tunnel.seen());
    // This machine is requested directly, with the name.
    let near = format!("https://127.0.0.1:{}/", right.address.port());
    assert_eq!(text(&ask(named("127.0.0.1", &tunnel), &context, &near).await.unwrap()), "far");
    assert_eq!(tunnel.seen().len(), 1);
    let wrong = Server::start(Some(authority.server(&["store.example"])), |_| ok("")).await;
    let tunnel = Tunnel::start(ESTABLISHED, wrong.address.port()).await;
    let result = ask(named("store.example", &tunnel), &context, url).await;
    failed(result, handfast_core::ErrorKind::Untrusted, "its certificate is not for `vault.internal`");
}

#[tokio::test]
async fn the_environment_comes_from_the_context() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["store.example", "near.example"])), |_| ok("far")).await;
    let tunnel = Tunnel::start(ESTABLISHED, server.address.port()).await;
    let mut world = World::trusting(&authority);
    world.variables =
        vec![("HTTPS_PROXY", format!("http://127.0.0.1:{}", tunnel.port)), ("NO_PROXY", "near.example".to_owned())];
    let context = world.context();
    let options = || Options { proxy: Proxy::Environment, ..options() };
    assert_eq!(text(&ask(options(), &context, "https://store.example/").await.unwrap()), "far");
    let directly = Options { proxy: Proxy::Environment, ..impatient() };
    failed(
        ask(directly, &context, "https://near.example:1/").await,
        Unavailable,
        "cannot ask https://near.example:1: ",
    );
    assert_eq!(tunnel.seen().len(), 1);
    // Without the setting, the variables have no effect.
    let without = Options { proxy: Proxy::None, ..impatient() };
    failed(ask(without, &context, "https://192.0.2.1/").await, Unavailable, "cannot ask https://192.0.2.1: ");
    assert_eq!(tunnel.seen().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_does_not_connect() {
    let context = World::trusting(&Authority::new()).context();
    for (answer, kind, part) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", Denied, "asks for a user name"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Unavailable, "did not connect"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Unavailable, "did not connect"),
        ("SSH-2.0-OpenSSH\r\n", Unavailable, "did not connect"),
        ("", Unavailable, "closed the connection"),
    ] {
        let tunnel = Tunnel::start(answer, 0).await;
        let error = failed(ask(tunnel.options(), &context, "https://store.example/").await, kind, part);
        let proxy = format!("through the proxy http://127.0.0.1:{}: ", tunnel.port);
        assert!(error.message.contains(&proxy) && !error.message.contains("user:"), "{error:?}");
        assert_eq!(tunnel.seen().len(), 1);
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let proxy = Proxy::Url(ProxyUrl::parse(&format!("http://user:{CANARY}@127.0.0.1:{closed}")).unwrap());
    let result = ask(Options { proxy, ..options() }, &context, "https://store.example/").await;
    failed(result, Unavailable, "connection refused");
}

#[tokio::test]
async fn a_server_behind_a_proxy_is_not_trusted_more() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.server(&["other.example"])), |_| ok("")).await;
    let tunnel = Tunnel::start(ESTABLISHED, server.address.port()).await;
    let result = ask(tunnel.options(), &World::trusting(&authority).context(), "https://store.example/").await;
    failed(result, handfast_core::ErrorKind::Untrusted, "is for another name");
    assert_eq!(server.requests(), Vec::<String>::new());
}

/// `environment` runs this again, with variables of the process that must have no effect.
#[tokio::test]
async fn without_a_proxy_a_remote_host_is_requested_directly() {
    // An address that no host has (RFC 5737).
    let context = World::trusting(&Authority::new()).context();
    failed(ask(impatient(), &context, "https://192.0.2.1/").await, Unavailable, "cannot ask https://192.0.2.1: ");
}

#[tokio::test]
async fn a_failed_connection_names_a_proxy_that_is_set_and_not_used() {
    let hint = async |options: Options, variables: &[(&'static str, &str)], url: &str| {
        let mut world = World::trusting(&Authority::new());
        world.variables = variables.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let error = ask(options, &world.context(), url).await.err().expect("nobody is there");
        assert_eq!(error.kind, Unavailable, "{error}");
        error.hint.unwrap_or_default()
    };
    let (far, named) = ("https://192.0.2.1/", "https://nowhere.invalid/");
    for set in ["HTTPS_PROXY", "https_proxy"] {
        for url in [far, named] {
            let hint = hint(impatient(), &[(set, "http://127.0.0.1:1")], url).await;
            assert!(hint.contains("`proxy = \"environment\"`"), "{set} {url}: {hint}");
        }
    }
    // No hint if the proxy would not be used, or is in use.
    let set = ("HTTPS_PROXY", "http://127.0.0.1:1");
    assert_eq!(hint(impatient(), &[], far).await, "");
    assert_eq!(hint(impatient(), &[set, ("NO_PROXY", "192.0.2.0/24")], far).await, "");
    assert_eq!(hint(impatient(), &[set], "https://127.0.0.1:1/").await, "");
    assert_eq!(hint(Options { proxy: Proxy::Environment, ..impatient() }, &[set], far).await, "");
}
