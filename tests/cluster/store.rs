//! A real Vault on this machine, which the pods reach, and which asks the API server about their service accounts.

use std::fs;
use std::sync::OnceLock;

use handfast_testservers::{Authority, Vault};
use serde_json::json;

use crate::node::{Node, state};

/// This machine and the API server, as the node's network has them.
const MACHINE: &str = "10.245.0.1";
const API_SERVER: &str = "https://10.245.0.2:6443";

/// What Vault needs to ask the API server: its own service account, which may review tokens.
const REVIEWER: &str = r"
apiVersion: v1
kind: ServiceAccount
metadata: { name: vault, namespace: default }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: vault }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator }
subjects: [{ kind: ServiceAccount, name: vault, namespace: default }]
";

/// The Vault of this process, with KV 2 at `kv`, and the Kubernetes method, whose role `web` is for the service account `web` of any
/// namespace, and for tokens with the audience `vault`.
pub fn vault(node: &Node) -> Option<&'static Vault> {
    static VAULT: OnceLock<Option<Vault>> = OnceLock::new();
    VAULT.get_or_init(|| own_vault(node)).as_ref()
}

/// Another one like it, for a test that seals it.
pub fn own_vault(node: &Node) -> Option<Vault> {
    let authority = Authority::new();
    let mut vault = Vault::with_file_storage_at(MACHINE, &authority, &authority.server_for(&[MACHINE], (2020, 2099)))?;
    vault.initialise();
    vault.unseal();
    vault.record();
    vault.enable_kv("kv", 2);
    vault.policy("web", "path \"kv/data/web/*\" { capabilities = [\"read\"] }");
    // Two at once would both create it.
    static REVIEWS: OnceLock<()> = OnceLock::new();
    REVIEWS.get_or_init(|| drop(node.must(&["apply", "-f", "-"], REVIEWER)));
    let token = node.must(&["create", "token", "vault", "--namespace", "default", "--duration", "2h"], "");
    let ca = fs::read_to_string(state().join("pki/ca.crt")).expect("the node has one");
    vault.must("POST", "sys/auth/kubernetes", json!({ "type": "kubernetes" }));
    let configuration =
        json!({ "kubernetes_host": API_SERVER, "kubernetes_ca_cert": ca, "token_reviewer_jwt": token.trim() });
    vault.must("POST", "auth/kubernetes/config", configuration);
    let role = json!({
        "bound_service_account_names": ["web"], "bound_service_account_namespaces": ["*"],
        "audience": "vault", "token_policies": ["web"], "token_ttl": "10m",
    });
    vault.must("POST", "auth/kubernetes/role/web", role);
    Some(vault)
}
