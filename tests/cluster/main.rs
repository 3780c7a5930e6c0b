//! handfast on a real Kubernetes of one node: kubelet, containerd, admission, service account tokens, and a real Vault that asks
//! the API server about them.
//!
//! `tests/cluster/test` prepares and runs these tests. `tests/cluster/images HANDFAST && tests/cluster/node up` starts the node, `cargo test
//! --test cluster` tests it, `tests/cluster/node down` ends it.

#[path = "../support/mod.rs"]
mod support;

#[path = "../documentation/pages.rs"]
mod markdown;

mod failures;
mod init;
mod inject;
mod leaks;
mod manifests;
mod node;
mod reinvocation;
mod sidecar;
mod sidecar_end;
mod store;
mod wrapped;
