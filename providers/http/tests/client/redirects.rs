//! Redirects: followed within one origin, never to another origin.

use handfast_core::ErrorKind::{Malformed, Unavailable, Untrusted};
use handfast_core::SecretValue;
use handfast_http::{HeaderMap, Method, Request};

use crate::support::*;

fn to(status: u16, location: &str) -> Vec<Step> {
    vec![send(format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"))]
}

#[tokio::test]
async fn another_origin_gets_no_request() {
    let authority = Authority::new();
    let other = Server::start(Some(authority.server(&["127.0.0.1", "localhost"])), |_| ok("")).await;
    let plain = Server::start(None, |_| ok("")).await;
    let (other_port, plain_port) = (other.address.port(), plain.address.port());
    for status in [301, 302, 303, 307, 308] {
        for target in [
            format!("https://127.0.0.1:{other_port}"),
            format!("https://localhost:{other_port}"),
            format!("http://127.0.0.1:{plain_port}"),
        ] {
            let location = format!("{target}/{CANARY}?{CANARY}#{CANARY}");
            let script = move |_: &str| to(status, &location);
            let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
            for request in [get(server.url("https", "/")), post(server.url("https", "/"))] {
                let error = failed(fetch(&authority, options(), request).await, Untrusted, "another origin");
                assert!(error.message.contains(&format!("{target},")), "{error:?}");
            }
        }
    }
    assert_eq!((other.connections(), plain.connections()), (0, 0));
}

#[tokio::test]
async fn a_standbys_redirect_is_temporary_and_its_target_gets_no_request() {
    let authority = Authority::new();
    let active = Server::start(Some(authority.server(&["127.0.0.1"])), |_| ok("")).await;
    let port = active.address.port();
    let answer = async |status, path: &'static str, standbys: bool| {
        let location = format!("https://127.0.0.1:{port}{path}");
        let script = move |_: &str| to(status, &location);
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
        let request = Request::get(server.url("https", "/v1/kv?x=y"))
            .secret_header("x-vault-token", SecretValue::from(CANARY.as_bytes().to_vec()))
            .unwrap();
        fetch(&authority, options(), if standbys { request.with_standbys() } else { request }).await
    };
    failed(answer(307, "/v1/kv?x=y", true).await, Unavailable, "it is a standby, and redirects to https://127.0.0.1:");
    for (status, path, standbys) in
        [(307, "/v1/kv?x=y", false), (302, "/v1/kv?x=y", true), (307, "/v1/kv", true), (307, "/login?x=y", true)]
    {
        failed(answer(status, path, standbys).await, Untrusted, "another origin");
    }
    assert_eq!(active.connections(), 0);
}

#[tokio::test]
async fn the_same_origin_is_followed_with_the_credential() {
    let authority = Authority::new();
    for (status, location) in [
        (301, "/second"),
        (302, "second"),
        (303, "?x=/second"),
        (307, "//{host}/second"),
        (308, "https://{host}/second"),
    ] {
        let script = move |request: &str| {
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            match request.contains("second") {
                true => ok("found"),
                false => to(status, &location.replace("{host}", host)),
            }
        };
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
        let response = fetch(&authority, options(), get(server.url("https", "/"))).await.unwrap();
        assert_eq!(text(&response), "found");
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests[1].contains(&format!("x-vault-token: {CANARY}")), "{}", requests[1]);
    }
}

#[tokio::test]
async fn a_request_of_another_library_keeps_its_method() {
    let authority = Authority::new();
    let script = |request: &str| if request.contains("/kv/?") { to(301, "/kv?list") } else { ok("names") };
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
    let headers = HeaderMap::from_iter([("x-vault-token".parse().unwrap(), CANARY.parse().unwrap())]);
    let list = Method::from_bytes(b"LIST").unwrap();
    let url = server.url("https", "/kv/?x");
    let request = Request::from_parts(list, url, headers, SecretValue::from(Vec::new()));
    let (status, headers, body) = fetch(&authority, options(), request).await.unwrap().into_parts();
    assert_eq!((status.as_u16(), body.expose()), (200, &b"names"[..]));
    assert_eq!(headers["content-length"], "5");
    for (request, start) in server.requests().iter().zip(["LIST /kv/?x HTTP/1.1\r\n", "LIST /kv?list HTTP/1.1\r\n"]) {
        assert!(request.starts_with(start) && request.contains(&format!("x-vault-token: {CANARY}\r\n")), "{request}");
        assert!(!request.contains("content-length"), "{request}");
    }
}

#[tokio::test]
async fn credentials_in_a_location_are_dropped() {
    let authority = Authority::new();
    let script = |request: &str| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        match request.contains("second") {
            true => ok("found"),
            false => to(302, &format!("https://user:word@{host}/second")),
        }
    };
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
    fetch(&authority, options(), get(server.url("https", "/"))).await.unwrap();
    assert!(!server.requests()[1].contains("authorization"), "{}", server.requests()[1]);
}

#[tokio::test]
async fn five_redirects_are_followed_and_not_six() {
    let authority = Authority::new();
    for (hops, arrives) in [(5, true), (6, false)] {
        let script = move |request: &str| {
            let at: u32 = request.split(['/', ' ', '?']).nth(2).and_then(|at| at.parse().ok()).unwrap_or(0);
            if at == hops { ok("found") } else { to(302, &format!("/{}", at + 1)) }
        };
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), script).await;
        let result = fetch(&authority, options(), get(server.url("https", "/0"))).await;
        if arrives {
            assert_eq!(text(&result.unwrap()), "found");
        } else {
            failed(result, Malformed, "more than 5 times");
        }
        assert_eq!(server.requests().len(), 6);
    }
}

#[tokio::test]
async fn an_invalid_redirect_is_malformed() {
    let authority = Authority::new();
    for answer in [
        "HTTP/1.1 302 x\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 x\r\nlocation: \u{e9}\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 x\r\nlocation: https://:x\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ] {
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), move |_| vec![send(&answer)]).await;
        failed(fetch(&authority, options(), get(server.url("https", "/"))).await, Malformed, "to nowhere");
    }
    for location in ["data:,x", "file:///etc/passwd", "javascript:x"] {
        let server = Server::start(Some(authority.server(&["127.0.0.1"])), move |_| to(302, location)).await;
        failed(fetch(&authority, options(), get(server.url("https", "/"))).await, Untrusted, "another origin");
    }
    let server = Server::start(Some(authority.server(&["127.0.0.1"])), |_| to(307, "/again")).await;
    failed(fetch(&authority, options(), post(server.url("https", "/"))).await, Malformed, "redirects a POST");
    assert_eq!(server.requests().len(), 1);
}
