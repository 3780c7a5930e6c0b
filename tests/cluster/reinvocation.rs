//! Injection beside another mutating policy. The API server applies policies in no fixed order, and again when another has changed the pod.

use serde_json::{Value, json};

use crate::inject::{namespace, pod, start};
use crate::node::{Namespace, Node};

/// A policy of this namespace alone: it gives a pod with handfast a container `late` before its others, and any pod that
/// names it first.
fn add_a_container(node: &Node, namespace: &Namespace) {
    let name = namespace.name();
    let expression = "
        !object.spec.containers.exists(it, it.name == 'late')
        && (object.spec.?initContainers.orValue([]).exists(it, it.name == 'handfast')
          || object.metadata.?annotations[?'handfast.dev/containers'].orValue('').startsWith('late'))
        ? [JSONPatch{op: 'add', path: '/spec/containers/0', value: Object.spec.containers{
            name: 'late', image: 'docker.io/library/busybox:stable', command: ['sleep', 'infinity'],
            securityContext: Object.spec.containers.securityContext{
              runAsUser: 20001, runAsGroup: 20003, allowPrivilegeEscalation: false,
              capabilities: Object.spec.containers.securityContext.capabilities{drop: ['ALL']}
            }
          }}]
        : []";
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ],
            },
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": name }, "spec": { "policyName": name },
    });
    node.must(&["create", "-f", "-"], &format!("{policy}\n---\n{binding}"));
    let probe = pod("probe", json!({ "handfast.dev/config": "web", "handfast.dev/containers": "app" }), json!({}));
    namespace.wait_for("the other policy", |namespace| {
        (namespace.dry_run(&probe)["spec"]["containers"][0]["name"] == "late").then_some(())
    });
}

/// Ends the policy of `add_a_container`. A failed test leaves it: no other namespace has it.
fn remove_the_policy(node: &Node, namespace: &Namespace) {
    let kinds = "mutatingadmissionpolicies,mutatingadmissionpolicybindings";
    node.must(&["delete", kinds, namespace.name()], "");
}

/// What a container of an injected pod has of handfast: its command, its mounts of handfast's volumes, and its `CREDENTIALS_DIRECTORY`.
fn parts(spec: &Value, container: &str) -> (Value, Vec<String>, Vec<String>) {
    let containers = spec["containers"].as_array().expect("a list");
    let mut named = containers.iter().filter(|it| it["name"] == container);
    let found = named.next().unwrap_or_else(|| panic!("no container {container}: {spec}"));
    assert!(named.next().is_none(), "{spec}");
    let texts = |list: &Value, key: &str, value: &str, prefix: &str| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        let ours = items.filter(|it| it[key].as_str().is_some_and(|text| text.starts_with(prefix)));
        ours.map(|it| it[value].as_str().expect("a text").to_owned()).collect()
    };
    (
        found["command"].clone(),
        texts(&found["volumeMounts"], "name", "mountPath", "handfast"),
        texts(&found["env"], "name", "value", "CREDENTIALS_DIRECTORY"),
    )
}

/// The name of each item.
fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|it| it["name"].as_str().expect("a text")).collect()
}

#[test]
fn a_container_that_another_policy_adds_gets_what_the_annotation_says_once() {
    let Some((node, vault)) = start() else { return };
    let (namespace, password) = namespace(node, vault, "mode = \"0440\"\n");
    add_a_container(node, &namespace);
    let own = json!(["sh", "-c", "echo started; exec sleep infinity"]);
    let nothing = (json!(["sleep", "infinity"]), vec![], vec![]);
    let command = |own: &Value, mode: &str| {
        let wrapped = ["/handfast-bin/handfast", "run", "--config", "/etc/handfast/handfast.toml", "--"];
        let wrapped = wrapped.iter().filter(|_| mode == "wrap").map(|word| json!(word));
        wrapped.chain(own.as_array().expect("a list").iter().cloned()).collect::<Value>()
    };
    for mode in ["init", "sidecar", "wrap"] {
        let (mounts, directory) = match mode {
            "wrap" => (vec!["/handfast-bin", "/etc/handfast", "/var/run/secrets/handfast"], vec![]),
            _ => (vec!["/run/handfast"], vec!["/run/handfast"]),
        };
        let [mounts, directory] =
            [mounts, directory].map(|paths| paths.into_iter().map(str::to_owned).collect::<Vec<_>>());
        for (containers, is_late_named, user) in
            [(None, true, 10001), (Some("app"), false, 10001), (Some("late,app"), true, 20001)]
        {
            let mut annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": mode });
            if let Some(containers) = containers {
                annotations["handfast.dev/containers"] = json!(containers);
            }
            let injected = namespace.dry_run(&pod("web", annotations, json!({})));
            let (spec, case) = (&injected["spec"], format!("{mode}, {containers:?}: {injected}"));
            assert_eq!(names(&spec["initContainers"]), ["handfast"], "{case}");
            assert_eq!(names(&spec["volumes"]), ["handfast", "handfast-config", "handfast-token"], "{case}");
            assert_eq!(spec["initContainers"][0]["securityContext"]["runAsUser"], user, "{case}");
            let app = (command(&own, mode), mounts.clone(), directory.clone());
            assert_eq!(parts(spec, "app"), app, "{case}");
            let late = (command(&nothing.0, mode), mounts.clone(), directory.clone());
            assert_eq!(parts(spec, "late"), if is_late_named { late } else { nothing.clone() }, "{case}");
        }
    }
    // Of another user than the files, it reads them by the pod's group.
    namespace.create(&[pod("web", json!({ "handfast.dev/config": "web" }), json!({}))]);
    namespace.wait_until_ready("web");
    for container in ["app", "late"] {
        assert_eq!(namespace.shell("web", container, "cat $CREDENTIALS_DIRECTORY/db-password"), password);
    }
    remove_the_policy(node, &namespace);
}
