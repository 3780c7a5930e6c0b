//! How a sidecar ends: after the app when its pod is deleted.

use serde_json::{Value, json};

use crate::manifests::pod;
use crate::node::node;
use crate::sidecar::Scene;
use crate::store::vault;

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
