//! The manifests of the examples, with this machine's Vault in them.

use std::fs;
use std::path::Path;

use handfast_testservers::Vault;
use serde_json::{Value, json};

use crate::markdown;
use crate::node::{Namespace, Node};

/// The documents of an example. `vault.internal` becomes the Vault of the tests.
pub fn example(node: &Node, name: &str, vault: &Vault) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes").join(name);
    let mut documents = node.documents(&fs::read_to_string(path).expect("it is there"));
    for document in documents.iter_mut().filter(|document| document["kind"] == "ConfigMap") {
        let text = document["data"]["handfast.toml"].as_str().expect("it has the configuration");
        assert!(text.contains("https://vault.internal:8200"), "{text}");
        let text = text.replace("https://vault.internal:8200", vault.address());
        document["data"] = json!({
            "handfast.toml": text, "ca.pem": fs::read_to_string(vault.ca_file()).expect("it is there"),
        });
    }
    documents
}

/// Changes the configuration in an example's ConfigMap.
#[track_caller]
pub fn reconfigure(documents: &mut [Value], from: &str, to: &str) {
    let configuration = &mut documents[1]["data"]["handfast.toml"];
    let text = configuration.as_str().expect("an example's second document is its ConfigMap");
    assert!(text.contains(from), "no {from} in {text}");
    *configuration = json!(text.replace(from, to));
}

/// The spec of the pod, or of the pods, in these documents.
pub fn pod(documents: &mut [Value]) -> &mut Value {
    let found = documents.iter_mut().find(|document| ["Pod", "Deployment", "Job"].contains(&text(&document["kind"])));
    let found = found.expect("there is one");
    if found["kind"] == "Pod" { &mut found["spec"] } else { &mut found["spec"]["template"]["spec"] }
}

/// The name of the only pod with these labels.
#[track_caller]
pub fn pod_of(namespace: &Namespace, labels: &str) -> String {
    namespace.wait_for(&format!("one pod with {labels}"), |namespace| {
        let found = namespace.must(&["get", "pods", "-l", labels, "-o", "name"]);
        let mut names = found.lines();
        let name = names.next()?.strip_prefix("pod/")?.to_owned();
        names.next().is_none().then_some(name)
    })
}

/// The text of a value.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every manifest of the repository, as its reader applies it: the API server would take it.
#[test]
fn the_api_server_takes_each_manifest_as_it_is() {
    let Some(node) = crate::node::node() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let listed = fs::read_dir(root.join("kubernetes")).expect("it is there");
    let listed = listed.map(|entry| entry.expect("it can be listed").path());
    let manifests = listed.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let files: Vec<_> = manifests.chain([root.join("aws/eks.yaml"), root.join("azure/aks.yaml")]).collect();
    assert!(files.len() >= 4, "{files:?}");
    // A dry run creates nothing, and the API server takes a pod only where its namespace and its service account are.
    let there = json!([
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "web", "namespace": "shop" } },
    ]);
    node.must(&["apply", "-f", "-"], &json!({ "apiVersion": "v1", "kind": "List", "items": there }).to_string());
    for file in files {
        let path = file.to_str().expect("it is ours");
        node.must(&["apply", "--dry-run=server", "--namespace", "shop", "-f", path], "");
    }
    let inject = root.join("kubernetes/inject");
    node.must(&["apply", "--dry-run=server", "-k", inject.to_str().expect("it is ours")], "");
}

/// Every manifest of a page, completed where it is a fragment: the API server would take it, with an image volume as well.
#[test]
fn the_api_server_takes_each_manifest_of_the_pages() {
    let Some(node) = crate::node::node() else { return };
    let namespace = node.namespace("privileged");
    let mut count = 0;
    for page in markdown::docs() {
        for block in page.blocks().into_iter().filter(|block| block.language == "yaml") {
            for document in node.documents(&block.text()) {
                let Some(pod) = completed(document) else { continue };
                let refused = namespace.try_dry_run(&pod).err();
                assert_eq!(refused, None, "{}:{}", page.name, block.line);
                count += 1;
            }
        }
    }
    assert!(count >= 6, "only {count} manifests");
}

/// The pod of which this is a part, or `None` for what is no part of a pod, such as a Compose file.
fn completed(part: Value) -> Option<Value> {
    let mut spec = if part["spec"].is_object() { part["spec"].clone() } else { part };
    if !["initContainers", "containers", "volumes"].iter().any(|key| spec[key].is_array()) {
        return None;
    }
    if spec["containers"].is_null() {
        spec["containers"] = json!([{ "name": "app" }]);
    }
    let mut named: Vec<Value> = spec["volumes"].as_array().cloned().unwrap_or_default();
    for kind in ["initContainers", "containers"] {
        for container in spec[kind].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = json!("registry.internal/web:1");
            }
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                if !named.iter().any(|volume| volume["name"] == mount["name"]) {
                    named.push(json!({ "name": mount["name"], "emptyDir": {} }));
                }
            }
        }
    }
    spec["volumes"] = json!(named);
    spec.as_object_mut()?.remove("serviceAccountName");
    Some(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "part" }, "spec": spec }))
}
