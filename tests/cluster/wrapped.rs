//! `handfast run` in front of the app's command.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::node;
use crate::store::vault;
use crate::support::canary;

#[test]
fn a_wrapped_app_of_an_unchanged_image_has_its_secret_as_a_descriptor() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let password = canary();
    vault.must("POST", "kv/data/web/wrapped", json!({ "data": { "password": password } }));
    let mut documents = example(node, "wrapped.yaml", vault);
    reconfigure(&mut documents, "kv/web/db#", "kv/web/wrapped#");
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    let pod = pod_of(&namespace, "app=web");
    namespace.wait_until_ready(&pod);
    assert_eq!(namespace.log(&pod, "web").trim(), password.len().to_string());
    assert_eq!(namespace.shell(&pod, "web", "cat /proc/1/fd/3"), password, "the same user may look");
    let environment = namespace.shell(&pod, "web", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "DB_PASSWORD_FILE=/dev/fd/3"), "{environment}");
    assert!(!environment.contains(&password), "{environment}");
    let status = namespace.shell(&pod, "web", "cat /proc/1/status");
    for line in ["Uid:\t10001\t10001\t10001\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    assert_eq!(namespace.shell(&pod, "web", "cat /proc/1/comm"), "sleep", "it became the app");
}

#[test]
fn a_wrapped_app_can_have_files_in_a_volume_of_its_own() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let password = canary();
    vault.must("POST", "kv/data/web/filed", json!({ "data": { "password": password } }));
    let mut documents = example(node, "wrapped.yaml", vault);
    reconfigure(&mut documents, "kv/web/db#", "kv/web/filed#");
    let spec = pod(&mut documents);
    let volumes = spec["volumes"].as_array_mut().expect("a list");
    volumes.push(json!({ "name": "secrets", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
    let container = &mut spec["containers"][0];
    container["env"] = json!([{ "name": "HANDFAST_DIR", "value": "/run/handfast" }]);
    let mounts = container["volumeMounts"].as_array_mut().expect("a list");
    mounts.push(json!({ "name": "secrets", "mountPath": "/run/handfast" }));
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    let pod = pod_of(&namespace, "app=web");
    namespace.wait_until_ready(&pod);
    let environment = namespace.shell(&pod, "web", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "DB_PASSWORD_FILE=/run/handfast/db-password"), "{environment}");
    assert_eq!(namespace.shell(&pod, "web", "cat /run/handfast/db-password"), password);
    assert_eq!(namespace.shell(&pod, "web", "stat -L -c '%u %g %a' /run/handfast/db-password"), "10001 10001 400");
}

#[test]
fn a_supervised_app_ends_by_term_though_it_handles_none() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let password = canary();
    vault.must("POST", "kv/data/web/supervised", json!({ "data": { "password": password } }));
    let mut documents = example(node, "wrapped.yaml", vault);
    reconfigure(&mut documents, "kv/web/db#", "kv/web/supervised#");
    let container = &mut pod(&mut documents)["containers"][0];
    let command = container["command"].as_array_mut().expect("a list");
    command.insert(2, json!("--supervise"));
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    let pod = pod_of(&namespace, "app=web");
    namespace.wait_until_ready(&pod);
    assert_eq!(namespace.log(&pod, "web").trim(), password.len().to_string());
    assert_eq!(namespace.shell(&pod, "web", "cat /proc/1/comm"), "handfast");
    // Without a supervisor, `sleep` as process 1 would ignore TERM for the 30 s of grace.
    let started = Instant::now();
    namespace.must(&["delete", "deployment", "web", "--cascade=foreground"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
