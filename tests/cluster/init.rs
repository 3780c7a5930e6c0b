//! `handfast init` as an init container.

use std::sync::OnceLock;

use handfast_testservers::Vault;
use serde_json::{Value, json};

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, Node, node};
use crate::store::vault;
use crate::support::canary;

/// The secrets of the example in Vault.
struct Secrets {
    password: String,
    key: String,
}

fn secrets(vault: &Vault) -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let secrets = Secrets { password: canary(), key: canary() };
        vault.must("POST", "kv/data/web/db", json!({ "data": { "password": secrets.password } }));
        vault.must("POST", "kv/data/web/session", json!({ "data": { "key": secrets.key } }));
        secrets
    })
}

/// The node, its Vault with the example's secrets, the example, and a namespace that allows only restricted pods.
fn start() -> Option<(&'static Node, &'static Secrets, Vec<Value>, Namespace)> {
    let node = node()?;
    let vault = vault(node)?;
    Some((node, secrets(vault), example(node, "init-container.yaml", vault), node.namespace("restricted")))
}

#[test]
fn two_apps_of_different_users_each_read_the_files_that_are_theirs() {
    let Some((_, secrets, documents, namespace)) = start() else { return };
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    let handfast = namespace.end_of("web", "handfast");
    assert_eq!((&handfast["exitCode"], &handfast["message"]), (&json!(0), &Value::Null), "{handfast}");
    assert_eq!(namespace.log("web", "handfast"), "");
    let (password, key) = ("cat /run/handfast/db-password", "cat /run/handfast/session-key");
    assert_eq!(namespace.shell("web", "web", password), secrets.password);
    assert_eq!(namespace.shell("web", "web", key), secrets.key);
    assert_eq!(namespace.shell("web", "worker", password), secrets.password);
    let denied = namespace.ask(&["exec", "web", "-c", "worker", "--", "sh", "-c", key]);
    assert!(String::from_utf8_lossy(&denied.stderr).contains("Permission denied"), "{denied:?}");
    let status = "stat -L -c '%u %g %a' /run/handfast/db-password /run/handfast/session-key";
    assert_eq!(namespace.shell("web", "web", status), "10001 2000 440\n10001 2000 400");
    // For neither can it be written, not even for the owner of the files.
    for app in ["web", "worker"] {
        let removal = namespace.ask(&["exec", "web", "-c", app, "--", "rm", "/run/handfast/db-password"]);
        assert!(String::from_utf8_lossy(&removal.stderr).contains("Read-only file system"), "{removal:?}");
    }
    let mount = namespace.shell("web", "web", "grep ' /run/handfast ' /proc/mounts");
    assert!(mount.starts_with("tmpfs /run/handfast tmpfs ro,") && mount.contains("size=1024k"), "{mount}");
    // Its paths are all that the app's environment has.
    let environment = namespace.shell("web", "web", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.contains("DB_PASSWORD_FILE=/run/handfast/db-password"), "{environment}");
    assert!(!environment.contains(&secrets.password) && !environment.contains("VAULT"), "{environment}");
}

#[test]
fn one_login_one_read_of_each_secret_and_the_token_back_are_all_that_the_store_is_asked() {
    let Some((node, _, documents, namespace)) = start() else { return };
    let vault = vault(node).expect("it is there by now");
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    let answers = vault.recorded().into_iter();
    let ours = answers.filter(|it| it["auth"]["metadata"]["service_account_namespace"] == namespace.name());
    let mut paths: Vec<String> = ours.map(|it| it["request"]["path"].as_str().expect("a text").to_owned()).collect();
    paths.sort();
    assert_eq!(paths, ["auth/kubernetes/login", "auth/token/revoke-self", "kv/data/web/db", "kv/data/web/session"]);
}

/// As docs/kubernetes.md has it for a reader that is not the init container's user: it gives the files to the readers by CHOWN.
#[test]
fn two_apps_of_different_users_each_read_nothing_but_their_own_file() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let secrets = secrets(vault);
    let mut documents = example(node, "init-container.yaml", vault);
    reconfigure(&mut documents, "mode = \"0440\"\n", "mode = \"0400\"\nowner = \"10002:10002\"\n");
    reconfigure(&mut documents, "[files]\n", "[app]\nuser = \"10001:10001\"\n[files]\n");
    let spec = pod(&mut documents);
    spec["securityContext"].as_object_mut().expect("a table").remove("runAsNonRoot");
    spec["initContainers"][0]["securityContext"] = json!({
        "runAsUser": 0, "capabilities": { "drop": ["ALL"], "add": ["CHOWN"] }, "allowPrivilegeEscalation": false,
    });
    for app in 0..2 {
        spec["containers"][app]["command"] = json!(["sleep", "infinity"]);
    }
    let namespace = node.namespace("baseline");
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    let (password, key) = ("/run/handfast/db-password", "/run/handfast/session-key");
    for (app, own, value, other) in [("web", key, &secrets.key, password), ("worker", password, &secrets.password, key)]
    {
        assert_eq!(&namespace.shell("web", app, &format!("cat {own}")), value);
        let denied = namespace.ask(&["exec", "web", "-c", app, "--", "cat", other]);
        assert!(String::from_utf8_lossy(&denied.stderr).contains("Permission denied"), "{app}: {denied:?}");
    }
    let status = namespace.shell("web", "web", &format!("stat -L -c '%u %g %a' {password} {key}"));
    assert_eq!(status, "10002 10002 400\n10001 2000 400");
    assert_eq!(namespace.log("web", "handfast"), "");
}

#[test]
fn an_app_that_restarts_and_a_kubelet_that_restarts_find_the_same_files() {
    let Some((node, secrets, documents, namespace)) = start() else { return };
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    let inode = "stat -L -c %i /run/handfast/db-password";
    let before = namespace.shell("web", "web", inode);
    // Of the containers `web` and `worker`.
    namespace.kill("web", "sleep infinity");
    namespace.wait_for("the app's restart", |it| (it.restarts("web", "web") == 1).then_some(()));
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "web", "cat /run/handfast/db-password"), secrets.password);
    node.kill_kubelet();
    namespace.wait_for_kubelet("web", "web");
    assert_eq!(namespace.shell("web", "web", inode), before);
    assert_eq!((namespace.restarts("web", "handfast"), namespace.restarts("web", "web")), (0, 1));
}

/// As after a restart of the machine or of its runtime: the kubelet starts all containers of the pod anew, in the same volume.
#[test]
fn a_pod_that_restarts_gets_the_changed_secret() {
    let Some((node, _, mut documents, namespace)) = start() else { return };
    let vault = vault(node).expect("it is there by now");
    let secret = handfast_testservers::random("restarted-");
    let store = || {
        let value = canary();
        vault.must("POST", &format!("kv/data/web/{secret}"), json!({ "data": { "password": value } }));
        value
    };
    reconfigure(&mut documents, "kv/web/db#", &format!("kv/web/{secret}#"));
    pod(&mut documents)["terminationGracePeriodSeconds"] = json!(1);
    let old = store();
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    let read = || namespace.shell("web", "worker", "cat /run/handfast/db-password");
    assert_eq!(read(), old);
    let new = store();
    namespace.kill("web", "/pause");
    namespace.wait_for("the restart of each container", |it| {
        ["handfast", "web", "worker"].iter().all(|container| it.restarts("web", container) > 0).then_some(())
    });
    namespace.wait_until_ready("web");
    assert_eq!(read(), new);
    let sets = namespace.shell("web", "web", "ls -a /run/handfast | grep -c '^..handfast_'");
    assert_eq!(sets, "1", "nothing stays of the set before");
}

#[test]
fn an_image_whose_var_run_is_a_link_keeps_its_service_account_token() {
    let Some((_, secrets, mut documents, namespace)) = start() else { return };
    let spec = pod(&mut documents);
    spec["automountServiceAccountToken"] = json!(true);
    spec["containers"][0]["image"] = json!("registry.internal/linked:1");
    namespace.create(&documents);
    namespace.wait_until_ready("web");
    assert_eq!(namespace.shell("web", "web", "cat /run/handfast/db-password"), secrets.password);
    let token = namespace.shell("web", "web", "wc -c </var/run/secrets/kubernetes.io/serviceaccount/token");
    assert!(token.trim().parse::<u32>().is_ok_and(|length| length > 100), "{token}");
}

#[test]
fn a_job_runs_to_its_end() {
    let Some((_, secrets, mut documents, namespace)) = start() else { return };
    let mut spec = pod(&mut documents).take();
    spec["restartPolicy"] = json!("Never");
    let mut app = spec["containers"][0].take();
    app["command"] = json!(["sh", "-c", "cat $DB_PASSWORD_FILE | wc -c"]);
    spec["containers"] = json!([app]);
    let last = documents.len() - 1;
    documents[last] = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "report" },
        "spec": { "backoffLimit": 0, "template": { "spec": spec } },
    });
    namespace.create(&documents);
    namespace.must(&["wait", "--for=condition=Complete", "job/report", "--timeout=90s"]);
    let pod = pod_of(&namespace, "job-name=report");
    assert_eq!(namespace.log(&pod, "web").trim(), secrets.password.len().to_string());
}

#[test]
fn a_rollout_brings_the_changed_secret() {
    let Some((node, _, mut documents, namespace)) = start() else { return };
    let vault = vault(node).expect("it is there by now");
    // A secret of its own, which no other test sees change.
    let (old, new) = (canary(), canary());
    let store = |value: &str| vault.must("POST", "kv/data/web/rollout", json!({ "data": { "password": value } }));
    store(&old);
    reconfigure(&mut documents, "kv/web/db#", "kv/web/rollout#");
    let spec = pod(&mut documents).take();
    let last = documents.len() - 1;
    documents[last] = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec },
        },
    });
    documents[last]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    namespace.create(&documents);
    let reads = |value: &str| {
        namespace.must(&["rollout", "status", "deployment/web", "--timeout=100s"]);
        let pods = namespace.must(&["get", "pods", "-l", "app=web", "-o", "json"]);
        let pods: Value = serde_json::from_str(&pods).expect("it is JSON");
        let pods = pods["items"].as_array().expect("a list").iter();
        let pods: Vec<&str> = pods
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| pod["metadata"]["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(pods.len(), 2);
        for pod in pods {
            assert_eq!(namespace.shell(pod, "worker", "cat /run/handfast/db-password"), value);
        }
    };
    reads(&old);
    store(&new);
    reads(&old);
    namespace.must(&["rollout", "restart", "deployment/web"]);
    reads(&new);
}
