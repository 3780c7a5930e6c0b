//! `handfast watch` as a native sidecar.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handfast_testservers::Vault;
use serde_json::{Value, json};

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, Node, node};
use crate::store::{own_vault, vault};
use crate::support::canary;

/// The refresh of these tests, and the longest time until a changed secret is in the files: 1.1 times that, `quiet`, and 1 s.
const REFRESH: &str = "10s";
const FRESH: Duration = Duration::from_secs(11 + 2 + 1);

/// How long a test waits to see it: each look is a kubectl, which takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod with the sidecar, and its secret in Vault.
struct Scene<'a> {
    vault: &'a Vault,
    namespace: Namespace,
    documents: Vec<Value>,
    secret: String,
}

impl<'a> Scene<'a> {
    fn new(node: &'static Node, vault: &'a Vault, more: &str) -> Self {
        let secret = handfast_testservers::random("sidecar-");
        let mut documents = example(node, "sidecar.yaml", vault);
        let text = documents[1]["data"]["handfast.toml"].as_str().expect("a text");
        assert!(text.contains("refresh = \"5m\"") && text.contains("kv/web/db#"), "{text}");
        let text = text.replace("5m", REFRESH).replace("kv/web/db#", &format!("kv/web/{secret}#"));
        documents[1]["data"]["handfast.toml"] = json!(format!("{text}\n{more}"));
        pod(&mut documents)["terminationGracePeriodSeconds"] = json!(5);
        Self { vault, namespace: node.namespace("restricted"), documents, secret }
    }

    /// A new value of the secret.
    fn store(&self) -> (String, SystemTime) {
        let value = canary();
        self.vault.must("POST", &format!("kv/data/web/{}", self.secret), json!({ "data": { "password": value } }));
        (value, SystemTime::now())
    }

    fn read(&self, pod: &str) -> String {
        self.namespace.shell(pod, "web", "cat $DB_PASSWORD_FILE")
    }

    /// Waits until the app reads this value, stored at this time. The file's own time must be within the bound.
    #[track_caller]
    fn becomes(&self, value: &str, stored: SystemTime, within: Duration) {
        let started = Instant::now();
        while self.read("web") != value {
            let log = || self.namespace.log("web", "handfast");
            assert!(started.elapsed() < PATIENCE.max(within), "the file does not change: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        let written = self.namespace.shell("web", "web", "stat -L -c %Y $DB_PASSWORD_FILE").parse().expect("a number");
        let took = (UNIX_EPOCH + Duration::from_secs(written)).duration_since(stored).unwrap_or_default();
        assert!(took <= within, "the file changed after {took:?}");
    }

    /// How often a container of the pod was started again.
    fn restarts(&self, container: &str) -> u64 {
        let status = &self.namespace.object("pod", "web")["status"];
        let all = ["initContainerStatuses", "containerStatuses"].map(|key| status[key].as_array().cloned());
        let found = all.into_iter().flatten().flatten().find(|status| status["name"] == container);
        found.expect("it is there")["restartCount"].as_u64().expect("a number")
    }
}

#[test]
fn the_app_starts_with_its_files_and_sees_a_changed_secret() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let scene = Scene::new(node, vault, "");
    let (first, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.read("web"), first);
    let length = scene.namespace.log("web", "web");
    assert_eq!(length.lines().next().map(str::trim), Some(first.len().to_string().as_str()), "at its first look");
    let (second, stored) = scene.store();
    scene.becomes(&second, stored, FRESH);
    assert_eq!((scene.restarts("web"), scene.restarts("handfast")), (0, 0));
    // The end of the pod ends the sidecar after the app, by TERM: exit 0 and not 137.
    let started = Instant::now();
    scene.namespace.must(&["delete", "pod", "web"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_job_with_the_sidecar_ends() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let mut scene = Scene::new(node, vault, "");
    let (value, _) = scene.store();
    let mut spec = pod(&mut scene.documents).take();
    spec["restartPolicy"] = json!("Never");
    spec["containers"][0]["command"] = json!(["sh", "-c", "wc -c <$DB_PASSWORD_FILE"]);
    let last = scene.documents.len() - 1;
    scene.documents[last] = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "report" },
        "spec": { "backoffLimit": 0, "template": { "spec": spec } },
    });
    scene.namespace.create(&scene.documents);
    scene.namespace.must(&["wait", "--for=condition=Complete", "job/report", "--timeout=90s"]);
    let pod = pod_of(&scene.namespace, "job-name=report");
    assert_eq!(scene.namespace.log(&pod, "web").trim(), value.len().to_string());
    let sidecar = scene.namespace.end_of(&pod, "handfast");
    assert_eq!(sidecar["exitCode"], 0, "{sidecar}");
}

#[test]
fn a_change_restarts_all_containers_where_the_app_asks_for_it() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let scene = Scene::new(node, vault, "on_change = \"restart\"\n");
    let mut documents = scene.documents.clone();
    reconfigure(&mut documents, "[watch]\n", "[watch]\nsplay = \"0s\"\n");
    let command = "trap 'exit 0' TERM; cat $DB_PASSWORD_FILE; echo; sleep 600 & wait";
    pod(&mut documents)["containers"][0]["command"] = json!(["sh", "-c", command]);
    scene.store();
    scene.namespace.create(&documents);
    scene.namespace.wait_until_ready("web");
    let address = scene.namespace.object("pod", "web")["status"]["podIP"].clone();
    let (second, _) = scene.store();
    scene.namespace.wait_for("the app with the new secret", |namespace| {
        // There is no log while the container is being restarted.
        let log = namespace.ask(&["logs", "web", "-c", "web"]).stdout;
        (scene.restarts("web") == 1 && String::from_utf8_lossy(&log).trim() == second).then_some(())
    });
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.namespace.object("pod", "web")["status"]["podIP"], address);
}

#[test]
fn a_sidecar_that_was_killed_or_restarted_in_an_outage_loses_nothing() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let scene = Scene::new(node, &vault, "[fetch]\ndeadline = \"20s\"\n");
    let (value, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let kill = |restarts: u64| {
        // The container's first process, by its name: the image has no shell, and the node sees all processes.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/node");
        let uid = scene.namespace.object("pod", "web")["metadata"]["uid"].as_str().expect("a text").replace('-', "_");
        let uid = [uid.clone(), uid.replace('_', "-")];
        let find = format!(
            "for process in /proc/[0-9]*; do \
               tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q '^/handfast watch' || continue; \
               grep -q -e {} -e {} $process/cgroup && kill -KILL ${{process#/proc/}}; done; true",
            uid[0], uid[1]
        );
        let killed = Command::new(script).args(["run", "sh", "-c", &find]).status().expect("the script is there");
        assert!(killed.success());
        scene.namespace.wait_for("the sidecar's restart", |_| (scene.restarts("handfast") == restarts).then_some(()));
        scene.namespace.wait_until_ready("web");
    };
    kill(1);
    assert_eq!(scene.read("web"), value);
    let (next, stored) = scene.store();
    scene.becomes(&next, stored, FRESH);

    vault.seal();
    kill(2);
    assert_eq!(scene.read("web"), next, "the set of the keeper before stays in service");
    vault.unseal();
    let (last, stored) = scene.store();
    scene.becomes(&last, stored, Duration::from_secs(75));
    assert_eq!(scene.restarts("web"), 0);
}

#[test]
fn a_restart_of_the_kubelet_changes_nothing() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let scene = Scene::new(node, vault, "");
    scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/node");
    // `first` starts it again.
    let killed = Command::new(script).args(["run", "pkill", "-KILL", "-f", "kubelet --config"]).status();
    assert!(killed.expect("the script is there").success());
    let (next, stored) = scene.store();
    scene.namespace.wait_for("the kubelet to answer", |namespace| {
        namespace.ask(&["exec", "web", "-c", "web", "--", "true"]).status.success().then_some(())
    });
    scene.becomes(&next, stored, FRESH);
    assert_eq!((scene.restarts("web"), scene.restarts("handfast")), (0, 0));
}
