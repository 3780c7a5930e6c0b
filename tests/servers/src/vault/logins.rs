//! Login methods. One call sets up a method. Tests share a server, so each test chooses its own mount.

use serde_json::{Value, json};

use super::Vault;
use crate::authority::{Authority, Identity};
use crate::fakes::{Issuer, Kubernetes};
use crate::ldap::Ldap;
use crate::moto::Moto;
use crate::random;

/// The credentials of an AppRole login.
pub struct AppRole {
    /// The role id, which is not secret.
    pub role_id: String,
    /// A secret id that can be used any number of times.
    pub secret_id: String,
}

/// The name of the role in each of these methods.
pub const ROLE: &str = "web";

impl Vault {
    /// Writes a policy.
    pub fn policy(&self, name: &str, hcl: &str) {
        self.must("PUT", &format!("sys/policies/acl/{name}"), json!({ "policy": hcl }));
    }

    /// A token with these policies, valid for an hour.
    pub fn token(&self, policies: &[&str]) -> String {
        self.token_with(json!({ "policies": policies, "ttl": "1h" }))
    }

    /// A token with parameters of `auth/token/create` (`num_uses`, `ttl`, `no_default_policy`, …).
    pub fn token_with(&self, parameters: Value) -> String {
        text(&self.must("POST", "auth/token/create", parameters)["auth"]["client_token"])
    }

    /// Wraps the answer to a request. Returns the wrapping token.
    pub fn wrapped(&self, method: &str, path: &str, body: Value) -> String {
        let headers = [("x-vault-token", self.root_token()), ("x-vault-wrap-ttl", "300")];
        let (status, answer) = self.api_with(&self.client, &headers, method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        text(&answer["wrap_info"]["token"])
    }

    /// Enables `approle` at this mount.
    pub fn enable_approle(&self, mount: &str, policies: &[&str]) -> AppRole {
        self.enable(mount, "approle");
        let role = format!("auth/{mount}/role/{ROLE}");
        self.must("POST", &role, json!({ "token_policies": policies }));
        let role_id = text(&self.must("GET", &format!("{role}/role-id"), Value::Null)["data"]["role_id"]);
        AppRole { role_id, secret_id: self.secret_id(mount, json!({})) }
    }

    /// Another secret id of the role of [`enable_approle`](Self::enable_approle), with its own parameters (`num_uses`, `ttl`).
    /// For a wrapped secret id, use `wrapped("POST", "auth/MOUNT/role/web/secret-id", json!({}))`.
    pub fn secret_id(&self, mount: &str, parameters: Value) -> String {
        text(&self.must("POST", &format!("auth/{mount}/role/{ROLE}/secret-id"), parameters)["data"]["secret_id"])
    }

    /// Enables `userpass` at this mount with this user. Returns the password.
    pub fn enable_userpass(&self, mount: &str, user: &str, policies: &[&str]) -> String {
        self.enable(mount, "userpass");
        let password = random("");
        let parameters = json!({ "password": password, "token_policies": policies });
        self.must("POST", &format!("auth/{mount}/users/{user}"), parameters);
        password
    }

    /// Enables `cert` at this mount for clients with a certificate of this authority. Returns such a client.
    pub fn enable_cert(&self, mount: &str, authority: &Authority, policies: &[&str]) -> Identity {
        self.enable(mount, "cert");
        let parameters = json!({ "certificate": authority.pem(), "token_policies": policies });
        self.must("POST", &format!("auth/{mount}/certs/{ROLE}"), parameters);
        authority.client("web.example.org")
    }

    /// Enables `jwt` at this mount for tokens of this issuer: `issuer.token("any", "vault")`.
    pub fn enable_jwt(&self, mount: &str, issuer: &Issuer, policies: &[&str]) {
        self.enable(mount, "jwt");
        let parameters = json!({
            "jwt_validation_pubkeys": [issuer.public_key()], "jwt_supported_algs": ["ES256"],
            "bound_issuer": issuer.name(),
        });
        self.must("POST", &format!("auth/{mount}/config"), parameters);
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": policies,
        });
        self.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    }

    /// Enables `kubernetes` at this mount for the service account `web` of the namespace `shop`. Its tokens must have the
    /// audience `vault`: `kubernetes.token("shop", "web", Some("vault"))`.
    pub fn enable_kubernetes(&self, mount: &str, kubernetes: &Kubernetes, policies: &[&str]) {
        self.enable(mount, "kubernetes");
        let parameters = json!({
            "kubernetes_host": kubernetes.address(), "kubernetes_ca_cert": kubernetes.ca(),
            "token_reviewer_jwt": kubernetes.token("vault", "vault", None),
        });
        self.must("POST", &format!("auth/{mount}/config"), parameters);
        let role = json!({
            "bound_service_account_names": ["web"], "bound_service_account_namespaces": ["shop"],
            "audience": "vault", "token_policies": policies,
        });
        self.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    }

    /// Enables `ldap` at this mount for the users of this directory.
    pub fn enable_ldap(&self, mount: &str, ldap: &Ldap, policies: &[&str]) {
        self.enable(mount, "ldap");
        let parameters = json!({
            "url": ldap.url(), "userdn": ldap.user_dn(), "userattr": "uid", "token_policies": policies,
        });
        self.must("POST", &format!("auth/{mount}/config"), parameters);
    }

    /// Enables `aws` at this mount for moto's user. The signed request must name this server: `X-Vault-AWS-IAM-Server-ID:
    /// vault.example.org`. The request is one for `https://sts.amazonaws.com/`.
    pub fn enable_aws(&self, mount: &str, moto: &Moto, policies: &[&str]) {
        self.enable(mount, "aws");
        let parameters = json!({
            "sts_endpoint": moto.address(), "sts_region": "us-east-1", "endpoint": moto.address(),
            "iam_endpoint": moto.address(), "iam_server_id_header_value": "vault.example.org", "max_retries": 0,
        });
        self.must("POST", &format!("auth/{mount}/config/client"), parameters);
        // Otherwise Vault would ask IAM for the user's internal id, with credentials of its own.
        let role = json!({
            "auth_type": "iam", "bound_iam_principal_arn": [moto.user_arn()], "resolve_aws_unique_ids": false,
            "token_policies": policies,
        });
        self.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    }

    /// Enables `gcp` at this mount for the instance of [`google`](Self::google). The audience must be `vault/web`.
    pub fn enable_gcp(&self, mount: &str, policies: &[&str]) {
        self.enable(mount, "gcp");
        let google = self.google();
        let endpoint = google.address();
        let parameters = json!({ "custom_endpoint": { "api": endpoint, "iam": endpoint, "compute": endpoint } });
        self.must("POST", &format!("auth/{mount}/config"), parameters);
        let role = json!({
            "type": "gce", "bound_projects": [google.project()], "bound_service_accounts": [google.account()],
            "token_policies": policies,
        });
        self.must("POST", &format!("auth/{mount}/role/{ROLE}"), role);
    }

    fn enable(&self, mount: &str, kind: &str) {
        self.must("POST", &format!("sys/auth/{mount}"), json!({ "type": kind }));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text where it is documented: {value}")).to_owned()
}
