//! A fake of the services that give AWS keys to machines and containers, which moto does not have: EC2's metadata service in
//! version 2, and the agents of ECS and of EKS Pod Identity.

use std::net::TcpListener;

use serde_json::json;

use crate::http::{Request, Server, write_answer};
use crate::random;

/// The role of the machine.
const ROLE: &str = "web-role";

/// The services, over plain HTTP, all with the same identity.
pub struct AwsMetadata {
    server: Server,
    authorization: String,
}

impl AwsMetadata {
    /// Starts the services on a free port. They return these keys.
    pub fn start(id: &str, secret: &str) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").expect("there is a free port"), id, secret)
    }

    /// Starts the services on a listener of the caller: 169.254.169.254:80 in the test's own network
    /// ([`crate::in_own_network`]).
    pub fn serve(listener: TcpListener, id: &str, secret: &str) -> Self {
        let (authorization, session) = (random("pod-identity-"), random("session-"));
        let keys = json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": id, "SecretAccessKey": secret, "Token": "",
            "Expiration": "2099-01-01T00:00:00Z",
        });
        let expected = authorization.clone();
        let server = Server::serve(listener, None, move |request, stream| {
            let (status, body) = answer(request, &session, &expected, &keys.to_string());
            write_answer(stream, status, &[], body.as_bytes())
        });
        Self { server, authorization }
    }

    /// `http://127.0.0.1:PORT`: for AWS_EC2_METADATA_SERVICE_ENDPOINT.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// The address at which containers get keys: for AWS_CONTAINER_CREDENTIALS_FULL_URI. ECS tasks use `/v2/credentials/task`.
    pub fn container(&self) -> String {
        format!("{}/v1/credentials", self.server.address())
    }

    /// The token that a container must send.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// The requests so far, as `METHOD PATH`.
    pub fn lines(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

fn answer(request: &Request, session: &str, authorization: &str, keys: &str) -> (u16, String) {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    match (&*request.method, &*request.path) {
        ("GET", "/v1/credentials") if request.header("authorization") != Some(authorization) => (401, String::new()),
        ("GET", "/v1/credentials") => (200, keys.to_owned()),
        // The agent of ECS identifies the task by this path and needs nothing else.
        ("GET", "/v2/credentials/task") => (200, keys.to_owned()),
        ("GET", path) if path.starts_with("/v2/credentials/") => (404, String::new()),
        ("PUT", "/latest/api/token") if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_none() => {
            (400, String::new())
        }
        ("PUT", "/latest/api/token") => (200, session.to_owned()),
        // Version 1, which needs no token, is switched off.
        _ if request.header("x-aws-ec2-metadata-token") != Some(session) => (401, String::new()),
        ("GET", ROLES) => (200, ROLE.to_owned()),
        ("GET", path) if path == format!("{ROLES}{ROLE}") => (200, keys.to_owned()),
        ("GET", "/latest/meta-data/placement/region") => (200, "us-east-1".to_owned()),
        _ => (404, String::new()),
    }
}
