//! A fake of the part of a Kubernetes API server that Vault's kubernetes method uses, the token review. It knows the service
//! accounts for which it has issued tokens.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::issuer::Issuer;
use crate::authority::Authority;
use crate::http::{Request, Server};

/// The default audience of kubelet's tokens.
const DEFAULT_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// A token reviewer over TLS.
pub struct Kubernetes {
    issuer: Arc<Issuer>,
    authority: Authority,
    server: Server,
    deleted: Arc<Mutex<Vec<String>>>,
}

impl Kubernetes {
    /// Starts a reviewer with its own authority.
    pub fn start() -> Self {
        let (issuer, deleted) = (Arc::new(Issuer::new(DEFAULT_AUDIENCE)), Arc::<Mutex<Vec<String>>>::default());
        let authority = Authority::named("handfast test cluster");
        let (knows, gone) = (issuer.clone(), deleted.clone());
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let server = Server::json(listener, Some(&authority.server()), move |request| review(request, &knows, &gone));
        Self { issuer, authority, server, deleted }
    }

    /// `https://127.0.0.1:PORT`, Vault's `kubernetes_host`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// The certificate of the reviewer's authority, Vault's `kubernetes_ca_cert`.
    pub fn ca(&self) -> String {
        self.authority.pem()
    }

    /// A token as kubelet projects it into a pod. `None` stands for the audience of the API server itself.
    pub fn token(&self, namespace: &str, account: &str, audience: Option<&str>) -> String {
        self.token_with(namespace, account, audience, json!({}))
    }

    /// A token with other claims, such as an `exp` in the past.
    pub fn token_with(&self, namespace: &str, account: &str, audience: Option<&str>, claims: Value) -> String {
        let own = json!({ "kubernetes.io": {
            "namespace": namespace,
            "pod": { "name": "web-0", "uid": uid("pod", namespace, account) },
            "serviceaccount": { "name": account, "uid": uid("account", namespace, account) },
        } });
        let mut all = own;
        for (name, value) in claims.as_object().expect("claims are an object") {
            all[name] = value.clone();
        }
        self.issuer.token_with(&subject(namespace, account), audience.unwrap_or(DEFAULT_AUDIENCE), all)
    }

    /// Deletes a service account: its tokens become invalid.
    pub fn delete(&self, namespace: &str, account: &str) {
        self.deleted.lock().expect("nobody panics with it").push(subject(namespace, account));
    }

    /// The number of reviews so far.
    pub fn reviews(&self) -> usize {
        self.server.requests().len()
    }
}

fn subject(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

/// A stable value in the form of a uid.
fn uid(kind: &str, namespace: &str, account: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{kind}/{namespace}/{account}").as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn is_for(claims: &Value, audience: &str) -> bool {
    claims["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == audience))
}

fn review(request: &Request, issuer: &Issuer, deleted: &Mutex<Vec<String>>) -> (u16, Value) {
    let failure = |code: u16, reason: &str| {
        (code, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code }))
    };
    if (request.method.as_str(), request.path.as_str()) != ("POST", "/apis/authentication.k8s.io/v1/tokenreviews") {
        return failure(404, "NotFound");
    }
    let good = |token: &str| {
        let claims = issuer.verify(token)?;
        let subject = claims["sub"].as_str()?.to_owned();
        (!deleted.lock().expect("nobody panics with it").contains(&subject)).then_some(claims)
    };
    // As in a real server, the caller must have a token for the API server itself. A pod's token for Vault does not suffice.
    let bearer = request.header("authorization").and_then(|header| header.strip_prefix("Bearer ")).and_then(good);
    if !bearer.is_some_and(|claims| is_for(&claims, DEFAULT_AUDIENCE)) {
        return failure(401, "Unauthorized");
    }
    let spec = &request.json()["spec"];
    let wanted: Vec<&str> = match spec["audiences"].as_array() {
        Some(audiences) => audiences.iter().filter_map(Value::as_str).collect(),
        None => vec![DEFAULT_AUDIENCE],
    };
    let claims = spec["token"].as_str().and_then(good);
    let status = claims.and_then(|claims| {
        let audiences: Vec<&str> = wanted.iter().copied().filter(|audience| is_for(&claims, audience)).collect();
        let user = json!({
            "username": claims["sub"],
            "uid": claims["kubernetes.io"]["serviceaccount"]["uid"],
            "groups": ["system:serviceaccounts", "system:authenticated"],
        });
        (!audiences.is_empty()).then(|| json!({ "authenticated": true, "user": user, "audiences": audiences }))
    });
    let status = status.unwrap_or_else(|| json!({ "error": "[invalid bearer token, token audiences are not for it]" }));
    (201, json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": spec, "status": status }))
}
