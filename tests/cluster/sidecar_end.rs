//! How a sidecar ends: after the app when its pod is deleted, and because of a secret that is stale.

use handfast_testservers::Postgres;
use serde_json::{Value, json};

use crate::manifests::{pod, reconfigure};
use crate::node::{Namespace, node};
use crate::sidecar::Scene;
use crate::store::{own_vault, vault};

#[test]
fn a_deleted_pod_ends_the_app_before_the_sidecar() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let mut scene = Scene::new(node, vault, "");
    let (value, _) = scene.store();
    // It needs some seconds to end. Its message is the length of the password at its last moment.
    let command = "trap 'sleep 4; wc -c <$DB_PASSWORD_FILE >/dev/termination-log; exit 0' TERM; sleep 600 & wait";
    let spec = pod(&mut scene.documents);
    spec["containers"][0]["command"] = json!(["sh", "-c", command]);
    spec["terminationGracePeriodSeconds"] = json!(60);
    // The API server keeps the pod, so that it can be asked how the containers have ended.
    scene.documents[2]["metadata"]["finalizers"] = json!(["handfast.dev/asked"]);
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    scene.namespace.must(&["delete", "pod", "web", "--wait=false"]);
    let end = |container: &str| {
        scene.namespace.wait_for(&format!("the end of {container}"), |namespace| {
            let ended = namespace.status("web", container)?["state"]["terminated"].clone();
            ended.is_object().then_some(ended)
        })
    };
    let (app, sidecar) = (end("web"), end("handfast"));
    scene.namespace.must(&["patch", "pod", "web", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    assert_eq!((&app["exitCode"], &sidecar["exitCode"]), (&json!(0), &json!(0)), "{app} {sidecar}");
    let length = app["message"].as_str().map(str::trim);
    assert_eq!(length, Some(value.len().to_string().as_str()), "the files stay while the app ends");
    // By its own TERM the sidecar would have ended 4 s before the app.
    let finished = |end: &Value| end["finishedAt"].as_str().expect("a time").to_owned();
    assert!(finished(&sidecar) >= finished(&app), "{app} {sidecar}");
}

/// The sidecar's end by 69, and what a person sees of it.
#[track_caller]
fn ends_as_stale(namespace: &Namespace) {
    let end = namespace.end_of("web", "handfast");
    assert_eq!(end["exitCode"], 69, "{end}");
    let message = "`db-password` is stale, and `on_stale` is \"exit\" (unavailable, exit 69)";
    assert_eq!(end["message"].as_str().map(str::trim_end), Some(format!("handfast: error: {message}").as_str()));
    let described = namespace.must(&["describe", "pod", "web"]);
    assert!(described.contains("Exit Code:    69") && described.contains(message), "{described}");
}

#[test]
fn a_sidecar_that_is_to_exit_says_which_secret_is_stale() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let mut scene = Scene::new(node, &vault, "");
    reconfigure(&mut scene.documents, "[watch]\n", "[watch]\nmax_stale = \"5s\"\non_stale = \"exit\"\n");
    let (value, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    vault.seal();
    ends_as_stale(&scene.namespace);
    scene.namespace.wait_for_condition("web", "Ready", "False");
    assert_eq!(scene.read("web"), value, "the last good value stays");
    vault.unseal();
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.restarts().0, 0, "the app runs on");
}

#[test]
fn a_sidecar_whose_lease_has_ended_exits_when_the_store_is_gone() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let Some(postgres) = Postgres::start() else { return };
    vault.enable_database("database", &postgres, "10s");
    vault.policy("web", "path \"database/creds/web\" { capabilities = [\"read\"] }");
    let mut scene = Scene::new(node, &vault, "");
    reconfigure(&mut scene.documents, &format!("kv/web/{}#password", scene.secret), "database/creds/web");
    reconfigure(&mut scene.documents, "mounts = { kv = \"kv-v2\" }", "mounts = { database = \"other\" }");
    reconfigure(&mut scene.documents, "[watch]\n", "[watch]\non_stale = \"exit\"\n");
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let Scene { namespace, .. } = scene;
    drop(vault);
    ends_as_stale(&namespace);
}
