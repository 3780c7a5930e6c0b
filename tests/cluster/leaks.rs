//! Where a delivered value is found on the node: nowhere. The same search finds a Kubernetes Secret that becomes a variable.

use std::process::Command;

use base64::prelude::*;
use serde_json::json;

use crate::inject;
use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, Node, node, state};
use crate::sidecar::{FRESH, Scene};
use crate::store::vault;
use crate::support::canary;

/// Whose files these directories have.
const PLACES: [(&str, &str); 7] = [
    ("etcd/", "etcd"),
    ("containerd/root/", "containerd"),
    ("containerd/state/", "containerd's state"),
    ("own/run/", "runc's state"),
    ("own/var/lib/kubelet/", "the kubelet's files"),
    ("own/var/log/", "the logs of pods"),
    ("logs/", "the logs of the node"),
];

/// The places of the node with a value: any file on its disk, the API, and the environment and the arguments of any process. Mounts in
/// memory are where a value belongs, so no other file system than the node's disk is searched.
fn found(node: &Node, namespace: &Namespace, value: &str) -> Vec<String> {
    let grep = ["-r", "--binary-files=text", "--files-with-matches", "--no-messages", "--devices=skip", value, "."];
    let files = Command::new("grep").args(grep).current_dir(state()).output().expect("grep is there").stdout;
    let files = String::from_utf8(files).expect("names of files are texts here");
    let is_known = |file: &str| PLACES.iter().any(|(directory, _)| file.starts_with(directory));
    let files: Vec<&str> = files.lines().map(|file| file.trim_start_matches("./")).collect();
    let known = PLACES.iter().filter(|(directory, _)| files.iter().any(|file| file.starts_with(directory)));
    let mut places: Vec<String> = known.map(|(_, place)| (*place).to_owned()).collect();
    places.extend(files.iter().filter(|file| !is_known(file)).map(|file| (*file).to_owned()));
    let arguments = ["get", "pods,secrets,configmaps,events", "-o", "yaml", "--namespace", namespace.name()];
    let objects = node.must(&arguments, "");
    // The API prints the data of a Secret as base64.
    if objects.contains(value) || objects.contains(&BASE64_STANDARD.encode(value)) {
        places.push("the API's objects".to_owned());
    }
    // In the node's process namespace: every process of every pod.
    if node.shell("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true").contains(value) {
        places.push("the environment of a process".to_owned());
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

#[test]
fn neither_the_old_nor_the_new_value_of_a_changed_secret_is_anywhere_on_the_node() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let scene = Scene::new(node, vault, "");
    let (old, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.read("web"), old);
    let (new, stored) = scene.store();
    scene.becomes(&new, stored, FRESH);
    for value in [old, new] {
        assert_eq!(found(node, &scene.namespace, &value), [""; 0]);
    }
}

#[test]
fn a_value_of_an_injected_pod_is_nowhere_on_the_node() {
    let Some((node, vault)) = inject::start() else { return };
    for mode in ["init", "sidecar", "wrap"] {
        let (namespace, password) = inject::namespace(node, vault, "path_env = \"DB_PASSWORD_FILE\"\n");
        let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": mode });
        let file = if mode == "wrap" { "$DB_PASSWORD_FILE" } else { "$CREDENTIALS_DIRECTORY/db-password" };
        let app = json!({ "command": ["sh", "-c", format!("wc -c <{file}; exec sleep infinity")] });
        namespace.create(&[inject::pod("web", annotations, app)]);
        namespace.wait_until_ready("web");
        // A moment after its start, containerd may not have the line in the log yet.
        namespace.wait_for("the app's line", |namespace| {
            (namespace.log("web", "app").trim() == password.len().to_string()).then_some(())
        });
        assert_eq!(found(node, &namespace, &password), [""; 0], "{mode}");
    }
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
    assert_eq!(
        found(node, &namespace, &password),
        ["containerd", "containerd's state", "the environment of a process"]
    );
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
            vec!["etcd", "containerd", "containerd's state", "the API's objects", "the environment of a process"],
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
