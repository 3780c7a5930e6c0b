//! `handfast run` in front of the app's command.

use std::time::{Duration, Instant};

use handfast_testservers::random;
use serde_json::{Value, json};

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, node};
use crate::store::vault;
use crate::support::canary;

/// The pod of the example, changed in this way, once it is ready; its namespace, its name, and its password, which only this test has.
fn start(change: impl FnOnce(&mut Value)) -> Option<(Namespace, String, String)> {
    let node = node()?;
    let vault = vault(node)?;
    let (secret, password) = (random("wrapped-"), canary());
    vault.must("POST", &format!("kv/data/web/{secret}"), json!({ "data": { "password": password } }));
    let mut documents = example(node, "wrapped.yaml", vault);
    reconfigure(&mut documents, "kv/web/db#", &format!("kv/web/{secret}#"));
    change(pod(&mut documents));
    let namespace = node.namespace("restricted");
    namespace.create(&documents);
    let pod = pod_of(&namespace, "app=web");
    namespace.wait_until_ready(&pod);
    Some((namespace, pod, password))
}

#[test]
fn a_wrapped_app_of_an_unchanged_image_has_its_secret_as_a_descriptor() {
    let Some((namespace, pod, password)) = start(|_| {}) else { return };
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

/// The limits of the examples: 16 MiB for `install` as for `init` and `watch`. docs/kubernetes.md says that 8 MiB are enough for `install`.
#[test]
fn install_and_a_wrapped_start_keep_within_the_memory_of_the_examples() {
    let limited = |spec: &mut Value| {
        assert_eq!(spec["initContainers"][0]["resources"]["limits"]["memory"], "16Mi");
        spec["initContainers"][0]["resources"] = json!({ "limits": { "memory": "8Mi" } });
    };
    let Some((namespace, pod, _)) = start(limited) else { return };
    assert_eq!(namespace.restarts(&pod, "handfast"), 0);
    // `install` has ended, and its control group with it: the pod's has the peak of both, with the pages of the copied file.
    let (start, both) = (namespace.peak(&pod, Some("web")), namespace.peak(&pod, None));
    assert!(start > 0 && start <= 8 << 20, "{start}");
    assert!(both >= start && both <= 16 << 20, "{both}");
}

#[test]
fn a_wrapped_app_can_have_files_in_a_volume_of_its_own() {
    let with_files = |spec: &mut Value| {
        let volumes = spec["volumes"].as_array_mut().expect("a list");
        volumes.push(json!({ "name": "secrets", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }));
        let container = &mut spec["containers"][0];
        container["env"] = json!([{ "name": "HANDFAST_DIR", "value": "/run/handfast" }]);
        let mounts = container["volumeMounts"].as_array_mut().expect("a list");
        mounts.push(json!({ "name": "secrets", "mountPath": "/run/handfast" }));
    };
    let Some((namespace, pod, password)) = start(with_files) else { return };
    let environment = namespace.shell(&pod, "web", "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.lines().any(|line| line == "DB_PASSWORD_FILE=/run/handfast/db-password"), "{environment}");
    assert_eq!(namespace.shell(&pod, "web", "cat /run/handfast/db-password"), password);
    assert_eq!(namespace.shell(&pod, "web", "stat -L -c '%u %g %a' /run/handfast/db-password"), "10001 10001 400");
}

#[test]
fn a_supervised_app_ends_by_term_though_it_handles_none() {
    let supervised = |spec: &mut Value| {
        let command = spec["containers"][0]["command"].as_array_mut().expect("a list");
        command.insert(2, json!("--supervise"));
    };
    let Some((namespace, pod, password)) = start(supervised) else { return };
    assert_eq!(namespace.log(&pod, "web").trim(), password.len().to_string());
    assert_eq!(namespace.shell(&pod, "web", "cat /proc/1/comm"), "handfast");
    // Without a supervisor, `sleep` as process 1 would ignore TERM for the 30 s of grace.
    let started = Instant::now();
    namespace.must(&["delete", "deployment", "web", "--cascade=foreground"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
