//! Where a delivered value is found on the node: nowhere. The same search finds a Kubernetes Secret that becomes a variable.

use std::process::Command;

use base64::prelude::*;
use serde_json::json;

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, Node, node, state};
use crate::store::vault;
use crate::support::canary;

/// Places of the node that a value could be in, and the files with it. Mounts in memory are where it belongs, so no other file
/// system than the node's disk is searched.
fn found(node: &Node, namespace: &Namespace, value: &str) -> Vec<&'static str> {
    let mut places = Vec::new();
    let search = |directory: &str| {
        let grep = ["-r", "--binary-files=text", "--quiet", "--devices=skip", value];
        let directory = state().join(directory);
        Command::new("grep").args(grep).arg(&directory).status().expect("grep is there").success()
    };
    for (place, directory) in [
        ("etcd", "etcd"),
        ("containerd", "containerd"),
        ("the kubelet's files", "own/var/lib/kubelet"),
        ("the logs of pods", "own/var/log"),
        ("the logs of the node", "logs"),
    ] {
        if search(directory) {
            places.push(place);
        }
    }
    let arguments = ["get", "pods,secrets,configmaps,events", "-o", "yaml", "--namespace", namespace.name()];
    let objects = node.must(&arguments, "");
    // The API prints the data of a Secret as base64.
    if objects.contains(value) || objects.contains(&BASE64_STANDARD.encode(value)) {
        places.push("the API's objects");
    }
    // In the node's process namespace: every process of every pod.
    if node.shell("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true").contains(value) {
        places.push("the environment of a process");
    }
    places
}

#[test]
fn a_delivered_value_is_nowhere_on_the_node() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let password = canary();
    vault.must("POST", "kv/data/web/leaks", json!({ "data": { "password": password, "key": password } }));
    let change = |name: &str| {
        let mut documents = example(node, name, vault);
        let text = documents[1]["data"]["handfast.toml"].as_str().expect("a text");
        let text = text.replace("kv/web/db#", "kv/web/leaks#").replace("kv/web/session#", "kv/web/leaks#");
        documents[1]["data"]["handfast.toml"] = json!(text);
        documents
    };
    let namespace = node.namespace("restricted");
    namespace.create(&change("init-container.yaml"));
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "web", "cat /run/handfast/session-key | wc -c"), password.len().to_string());
    assert_eq!(found(node, &namespace, &password), [""; 0]);

    let sidecar = node.namespace("restricted");
    sidecar.create(&change("sidecar.yaml"));
    sidecar.wait_until_ready("web");
    assert_eq!(found(node, &sidecar, &password), [""; 0]);

    let wrapped = node.namespace("restricted");
    wrapped.create(&change("wrapped.yaml"));
    wrapped.wait_until_ready(&pod_of(&wrapped, "app=web"));
    assert_eq!(found(node, &wrapped, &password), [""; 0]);
}

/// EnvFiles: the kubelet makes a variable of a file in a volume, here of one that handfast has delivered.
#[test]
fn a_variable_that_the_kubelet_reads_from_a_file_is_found_by_the_same_search() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let password = canary();
    let line = format!("DB_PASSWORD='{password}'\n");
    vault.must("POST", "kv/data/web/variables", json!({ "data": { "password": line } }));
    let mut documents = example(node, "init-container.yaml", vault);
    reconfigure(&mut documents, "kv/web/db#password", "kv/web/variables#password");
    reconfigure(&mut documents, "kv/web/session#key", "kv/web/variables#password");
    let app = &mut pod(&mut documents)["containers"][0];
    let file = json!({ "volumeName": "secrets", "path": "db-password", "key": "DB_PASSWORD" });
    app["env"] = json!([{ "name": "DB_PASSWORD", "valueFrom": { "fileKeyRef": file } }]);
    app["command"] = json!(["sleep", "infinity"]);
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    assert_eq!(found(node, &namespace, &password), ["containerd", "the environment of a process"]);
}

/// The usual ways that need nothing but Kubernetes, and where they leave the value: the table in docs/security.md.
#[test]
fn a_kubernetes_secret_is_found_by_the_same_search() {
    let Some(node) = node() else { return };
    let variable =
        json!({ "name": "DB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } });
    let volume = json!({ "name": "db", "secret": { "secretName": "db" } });
    let mount = json!({ "name": "db", "mountPath": "/run/db", "readOnly": true });
    for (way, container, volumes, expected) in [
        (
            "a variable",
            json!({ "env": [variable] }),
            json!([]),
            vec!["etcd", "containerd", "the API's objects", "the environment of a process"],
        ),
        ("a volume", json!({ "volumeMounts": [mount] }), json!([volume]), vec!["etcd", "the API's objects"]),
    ] {
        let password = canary();
        let namespace = node.namespace("privileged");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db" }, "stringData": { "password": password },
        });
        let mut app = container;
        app["name"] = json!("app");
        app["image"] = json!("docker.io/library/busybox:stable");
        app["command"] = json!(["sleep", "infinity"]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "app" },
            "spec": { "containers": [app], "volumes": volumes, "terminationGracePeriodSeconds": 0 },
        });
        namespace.create(&[secret, pod]);
        namespace.wait_until_ready("app");
        assert_eq!(found(node, &namespace, &password), expected, "as {way}");
    }
}
