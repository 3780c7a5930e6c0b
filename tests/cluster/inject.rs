//! handfast injected into annotated pods by admission policies, without a server.

use std::sync::OnceLock;
use std::time::Duration;

use handfast_testservers::Vault;
use serde_json::{Value, json};

use crate::manifests::example;
use crate::node::{Namespace, Node, node};
use crate::store::vault;
use crate::support::canary;

/// The node with the policies, and its Vault.
pub fn start() -> Option<(&'static Node, &'static Vault)> {
    static APPLIED: OnceLock<()> = OnceLock::new();
    let node = node()?;
    let vault = vault(node)?;
    APPLIED.get_or_init(|| {
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kubernetes/inject");
        node.must(&["apply", "-k", base], "");
        // The API server reads its policies anew every few seconds.
        let namespace = node.namespace("privileged");
        let annotated = |annotations: Value| {
            let mut pod = pod("probe", annotations, json!({}));
            pod["spec"]["serviceAccountName"] = json!("default");
            pod
        };
        let refused = annotated(json!({ "handfast.dev/mode": "none" }));
        let injected = annotated(json!({ "handfast.dev/config": "web" }));
        for _ in 0..100 {
            let is_refused = namespace.try_create(std::slice::from_ref(&refused)).is_err();
            namespace.ask(&["delete", "pod", "probe", "--ignore-not-found", "--grace-period=0", "--force"]);
            if is_refused && namespace.dry_run(&injected)["spec"]["initContainers"].is_array() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("the policies take no effect");
    });
    Some((node, vault))
}

/// A pod of one container, which meets the standard "restricted".
pub fn pod(name: &str, annotations: Value, app: Value) -> Value {
    let mut container = json!({
        "name": "app", "image": "docker.io/library/busybox:stable",
        "command": ["sh", "-c", "echo started; exec sleep infinity"],
        "securityContext": {
            "runAsUser": 10001, "runAsGroup": 10003, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    });
    for (key, value) in app.as_object().expect("a table") {
        container[key] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "serviceAccountName": "web", "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "fsGroup": 2000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [container],
        },
    })
}

/// A restricted namespace with the service account and the ConfigMap that the annotations name; the password in the store.
pub fn namespace(node: &'static Node, vault: &Vault, configuration: &str) -> (Namespace, String) {
    let password = canary();
    let secret = handfast_testservers::random("injected-");
    vault.must("POST", &format!("kv/data/web/{secret}"), json!({ "data": { "password": password } }));
    let mut documents = example(node, "init-container.yaml", vault);
    documents.truncate(2);
    let address = vault.address();
    documents[1]["data"]["handfast.toml"] = json!(format!(
        "[providers.vault]\naddress = \"{address}\"\nca_file = \"/etc/handfast/ca.pem\"\n\
         auth = {{ method = \"kubernetes\", role = \"web\", token_file = \"/var/run/secrets/handfast/token\" }}\n\
         [secrets.db-password]\nfrom = \"vault:kv/web/{secret}#password\"\n{configuration}"
    ));
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    (namespace, password)
}

#[test]
fn an_annotated_pod_gets_an_init_container() {
    let Some((node, vault)) = start() else { return };
    let (namespace, password) = namespace(node, vault, "");
    let mut web =
        pod("web", json!({ "handfast.dev/config": "web", "handfast.dev/containers": "app, third" }), json!({}));
    let containers = web["spec"]["containers"].as_array_mut().expect("a list");
    for name in ["second", "third"] {
        let mut more = containers[0].clone();
        more["name"] = json!(name);
        containers.push(more);
    }
    // It comes before the pod's own init containers, which can use the secrets as well where they mount them.
    let mut first = containers[0].clone();
    first["name"] = json!("first");
    first["command"] = json!(["true"]);
    web["spec"]["initContainers"] = json!([first]);
    namespace.create(&[web]);
    namespace.wait_until_ready("web");
    let injected = namespace.object("pod", "web");
    let names: Vec<&Value> =
        injected["spec"]["initContainers"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["handfast", "first"]);
    for container in ["app", "third"] {
        assert_eq!(namespace.shell("web", container, "cat $CREDENTIALS_DIRECTORY/db-password"), password);
    }
    assert_eq!(
        namespace.shell("web", "second", "ls /run/handfast 2>&1; echo $CREDENTIALS_DIRECTORY"),
        "ls: /run/handfast: No such file or directory"
    );
    assert_eq!(namespace.shell("web", "app", "stat -L -c '%u %a' /run/handfast/db-password"), "10001 400");
    // For no app can it be written, not even for the owner of the files.
    let removal = namespace.ask(&["exec", "web", "-c", "app", "--", "rm", "/run/handfast/db-password"]);
    assert!(String::from_utf8_lossy(&removal.stderr).contains("Read-only file system"), "{removal:?}");
    let volumes = injected["spec"]["volumes"].as_array().expect("a list");
    let volume = volumes.iter().find(|volume| volume["name"] == "handfast").expect("it is there");
    assert_eq!(volume["emptyDir"]["medium"], "Memory");
    let context = &injected["spec"]["initContainers"][0]["securityContext"];
    assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(10001), &json!(10003)));
}

#[test]
fn an_annotated_pod_gets_its_command_wrapped() {
    let Some((node, vault)) = start() else { return };
    let (namespace, password) = namespace(node, vault, "path_env = \"DB_PASSWORD_FILE\"\n");
    let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": "wrap" });
    let app = json!({ "command": ["sh", "-c"], "args": ["wc -c <$DB_PASSWORD_FILE; exec sleep infinity"] });
    namespace.create(&[pod("web", annotations, app)]);
    namespace.wait_until_ready("web");
    assert_eq!(namespace.log("web", "app").trim(), password.len().to_string());
    let environment = namespace.shell("web", "app", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "DB_PASSWORD_FILE=/dev/fd/3"), "{environment}");
    for mounted in ["/handfast-bin", "/etc/handfast", "/var/run/secrets/handfast"] {
        let made = namespace.ask(&["exec", "web", "-c", "app", "--", "touch", &format!("{mounted}/x")]);
        assert!(String::from_utf8_lossy(&made.stderr).contains("Read-only file system"), "{mounted}: {made:?}");
    }
}

#[test]
fn an_annotated_pod_gets_a_sidecar() {
    let Some((node, vault)) = start() else { return };
    let (namespace, password) = namespace(node, vault, "");
    let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": "sidecar" });
    namespace.create(&[pod("web", annotations, json!({}))]);
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "app", "cat $CREDENTIALS_DIRECTORY/db-password"), password);
    let status = &namespace.object("pod", "web")["status"]["initContainerStatuses"][0];
    assert!(status["state"]["running"].is_object() && status["started"] == true, "{status}");
}

#[test]
fn the_references_know_the_pods_namespace_and_service_account() {
    let Some((node, vault)) = start() else { return };
    let more = "[providers.mock]\nvalues = { web = \"by its account\" }\n\
        [secrets.whose]\nfrom = \"mock:${SERVICE_ACCOUNT}\"\n\
        [secrets.where]\nfrom = \"mock:${POD_NAMESPACE}\"\noptional = true\n";
    let (namespace, _) = namespace(node, vault, more);
    namespace.create(&[pod("web", json!({ "handfast.dev/config": "web" }), json!({}))]);
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "app", "cat /run/handfast/whose"), "by its account");
}

#[test]
fn a_pod_without_annotations_stays_as_it_is() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    let plain = pod("plain", json!({ "example.org/config": "web" }), json!({}));
    let created = namespace.dry_run(&plain);
    assert!(created["spec"]["initContainers"].is_null(), "{created}");
    assert_eq!(created["spec"]["containers"][0]["command"], plain["spec"]["containers"][0]["command"]);
}

#[test]
fn an_injected_pod_is_not_injected_again() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    for mode in ["init", "sidecar", "wrap"] {
        let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": mode });
        let once = namespace.dry_run(&pod("web", annotations, json!({})));
        assert_eq!(once["spec"]["initContainers"].as_array().map(Vec::len), Some(1), "{mode}: {once}");
        let mut again = once.clone();
        again["metadata"] = json!({ "name": "web", "annotations": once["metadata"]["annotations"] });
        assert_eq!(namespace.dry_run(&again)["spec"], once["spec"], "{mode}");
    }
}

#[test]
fn wrong_annotations_are_refused_with_a_sentence() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    let config = ("handfast.dev/config", "web");
    for (annotations, message) in [
        (vec![("handfast.dev/config", "")], "no configuration: set the annotation handfast.dev/config to the name"),
        (
            vec![("handfast.dev/config", " web")],
            "handfast.dev/config is ` web`, which cannot be the name of a ConfigMap",
        ),
        (vec![("Handfast.dev/config", "web")], "unknown annotation Handfast.dev/config: "),
        (vec![("handfast.dev/mode", "init")], "no configuration: set the annotation handfast.dev/config to the name"),
        (vec![config, ("handfast.dev/mode", "inti")], "handfast.dev/mode is `inti`: set it to init, sidecar or wrap"),
        (vec![config, ("handfast.dev/container", "app")], "unknown annotation handfast.dev/container: "),
        (
            vec![config, ("handfast.dev/containers", "app,web")],
            "names `web`, which is not one of the pod's `containers`",
        ),
        (vec![config, ("handfast.dev/audience", "")], "handfast.dev/audience is empty"),
    ] {
        let annotations: serde_json::Map<String, Value> =
            annotations.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let refusal = namespace.try_create(&[pod("web", Value::Object(annotations), json!({}))]).expect_err(message);
        assert!(refusal.contains(message), "no {message} in {refusal}");
    }
    let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": "wrap" });
    let refusal = namespace.try_create(&[pod("web", annotations, json!({ "command": null }))]).expect_err("no command");
    assert!(
        refusal.contains("the container `app` has no `command`, so handfast cannot be put in front of it"),
        "{refusal}"
    );
}

#[test]
fn the_token_has_the_annotated_audience_and_a_directory_of_the_apps_own_stays() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    let environment = |pod: &Value| pod["spec"]["containers"][0]["env"].clone();
    let own = json!([{ "name": "CREDENTIALS_DIRECTORY", "value": "/own" }]);
    for (annotations, audience) in [
        (json!({ "handfast.dev/config": "web" }), "vault"),
        (json!({ "handfast.dev/config": "web", "handfast.dev/audience": "openbao" }), "openbao"),
    ] {
        let injected = namespace.dry_run(&pod("web", annotations.clone(), json!({})));
        let volumes = injected["spec"]["volumes"].as_array().expect("a list");
        let token = volumes.iter().find(|volume| volume["name"] == "handfast-token").expect("it is there");
        assert_eq!(token["projected"]["sources"][0]["serviceAccountToken"]["audience"], audience);
        assert_eq!(environment(&injected), json!([{ "name": "CREDENTIALS_DIRECTORY", "value": "/run/handfast" }]));
        let injected = namespace.dry_run(&pod("web", annotations, json!({ "env": own })));
        assert_eq!(environment(&injected), own);
    }
}

#[test]
fn a_pod_that_uses_a_name_of_handfasts_is_refused() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    for mode in ["init", "sidecar", "wrap"] {
        let annotations = json!({ "handfast.dev/config": "web", "handfast.dev/mode": mode });
        let refused = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut web = pod("web", annotations.clone(), json!({}));
            change(&mut web["spec"]);
            let refusal = namespace.try_dry_run(&web).expect_err(what);
            assert!(
                refusal.contains("handfast is not injected: a container `handfast`, or a volume"),
                "{what}: {refusal}"
            );
        };
        // Its pod would start without the secrets.
        refused("an init container", &|spec| {
            let mut own = spec["containers"][0].clone();
            own["name"] = json!("handfast");
            spec["initContainers"] = json!([own]);
        });
        refused("a container", &|spec| spec["containers"][0]["name"] = json!("handfast"));
        for name in ["handfast", "handfast-config", "handfast-token"] {
            refused(name, &|spec| spec["volumes"] = json!([{ "name": name, "emptyDir": {} }]));
        }
        // The spec of an injected pod, with the annotations of another one.
        refused("another configuration", &|spec| {
            *spec = namespace.dry_run(&pod("web", annotations.clone(), json!({})))["spec"].clone();
            let volumes = spec["volumes"].as_array_mut().expect("a list");
            let volume = volumes.iter_mut().find(|volume| volume["name"] == "handfast-config").expect("it is there");
            volume["configMap"]["name"] = json!("other");
        });
    }
}

#[test]
fn the_files_belong_to_the_first_container_that_the_annotation_names() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    for (names, user) in
        [("app,second", (10001, 10003)), (" second , app", (20001, 20003)), ("third,app", (30001, 30003))]
    {
        let mut web = pod("web", json!({ "handfast.dev/config": "web", "handfast.dev/containers": names }), json!({}));
        web["spec"]["securityContext"]["runAsUser"] = json!(30001);
        web["spec"]["securityContext"]["runAsGroup"] = json!(30003);
        let containers = web["spec"]["containers"].as_array_mut().expect("a list");
        let mut second = containers[0].clone();
        second["name"] = json!("second");
        second["securityContext"]["runAsUser"] = json!(20001);
        second["securityContext"]["runAsGroup"] = json!(20003);
        let mut third = containers[0].clone();
        third["name"] = json!("third");
        for key in ["runAsUser", "runAsGroup"] {
            third["securityContext"].as_object_mut().expect("a table").remove(key);
        }
        containers.extend([second, third]);
        let context = &namespace.dry_run(&web)["spec"]["initContainers"][0]["securityContext"];
        assert_eq!((&context["runAsUser"], &context["runAsGroup"]), (&json!(user.0), &json!(user.1)), "{names}");
    }
}

/// A restricted pod often leaves the user to its image.
#[test]
fn a_pod_that_leaves_the_user_to_its_image_can_be_wrapped_only() {
    let Some((node, vault)) = start() else { return };
    let (namespace, _) = namespace(node, vault, "");
    let userless = |mode: &str, for_all: bool| {
        let mut web = pod("web", json!({ "handfast.dev/config": "web", "handfast.dev/mode": mode }), json!({}));
        let own = web["spec"]["containers"][0]["securityContext"].as_object_mut().expect("a table");
        own.remove("runAsUser");
        if !for_all {
            own.insert("runAsNonRoot".to_owned(), json!(true));
            web["spec"]["securityContext"].as_object_mut().expect("a table").remove("runAsNonRoot");
        }
        web
    };
    for for_all in [true, false] {
        for mode in ["init", "sidecar"] {
            let refusal = namespace.try_dry_run(&userless(mode, for_all)).expect_err(mode);
            assert!(refusal.contains("no user for the files: set `runAsUser` in the securityContext"), "{refusal}");
        }
    }
    // The image of the tests has no user: kubelet refuses the app, but not the container that copies handfast.
    namespace.create(&[userless("wrap", true)]);
    let copied = namespace.end_of("web", "handfast");
    assert_eq!(copied["exitCode"], 0, "{copied}");
}
