//! `handfast watch` as a native sidecar.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handfast_testservers::{Postgres, Vault};
use serde_json::{Value, json};

use crate::manifests::{example, pod, pod_of, reconfigure};
use crate::node::{Namespace, Node, node};
use crate::store::{own_vault, vault};
use crate::support::canary;

/// The refresh of these tests, and the longest time until a changed secret is in the files: 1.1 times that, `quiet`, and 1 s.
const REFRESH: &str = "10s";
pub const FRESH: Duration = Duration::from_secs(11 + 2 + 1);

/// How long a test waits to see it: each look is a kubectl, which takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a pod may be out of service after its sidecar was started again. The first startup probe that succeeds ends it; two looks at the
/// pod are in this time.
const OUT_OF_SERVICE: Duration = Duration::from_secs(20);

/// A pod with the sidecar, and its secret in Vault.
pub struct Scene<'a> {
    vault: &'a Vault,
    pub namespace: Namespace,
    pub documents: Vec<Value>,
    pub secret: String,
}

impl<'a> Scene<'a> {
    /// With a refresh that tests can wait for, and what else the configuration says of the secret.
    pub fn new(node: &'static Node, vault: &'a Vault, more: &str) -> Self {
        Self::with_refresh(node, vault, REFRESH, more)
    }

    fn with_refresh(node: &'static Node, vault: &'a Vault, refresh: &str, more: &str) -> Self {
        let secret = handfast_testservers::random("sidecar-");
        let mut documents = example(node, "sidecar.yaml", vault);
        let text = documents[1]["data"]["handfast.toml"].as_str().expect("a text");
        assert!(text.contains("refresh = \"5m\"") && text.contains("kv/web/db#"), "{text}");
        let text = text.replace("5m", refresh).replace("kv/web/db#", &format!("kv/web/{secret}#"));
        documents[1]["data"]["handfast.toml"] = json!(format!("{text}\n{more}"));
        pod(&mut documents)["terminationGracePeriodSeconds"] = json!(5);
        Self { vault, namespace: node.namespace("restricted"), documents, secret }
    }

    /// A new value of the secret.
    pub fn store(&self) -> (String, SystemTime) {
        let value = canary();
        self.vault.must("POST", &format!("kv/data/web/{}", self.secret), json!({ "data": { "password": value } }));
        (value, SystemTime::now())
    }

    pub fn read(&self, pod: &str) -> String {
        self.namespace.shell(pod, "web", "cat $DB_PASSWORD_FILE")
    }

    /// How often the app and the sidecar were started again.
    pub fn restarts(&self) -> (u64, u64) {
        (self.namespace.restarts("web", "web"), self.namespace.restarts("web", "handfast"))
    }

    /// Waits until the app reads this value, stored at this time. The file's own time must be within the bound.
    #[track_caller]
    pub fn becomes(&self, value: &str, stored: SystemTime, within: Duration) {
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
    assert_eq!(scene.restarts(), (0, 0));
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
    // The kubelet removes the containers with their logs: only a follower sees the last line.
    let log = scene.namespace.follow("web", "handfast");
    let (second, _) = scene.store();
    scene.namespace.wait_for("the app with the new secret", |namespace| {
        // There is no log while the container is being restarted.
        let log = namespace.ask(&["logs", "web", "-c", "web"]).stdout;
        (scene.restarts().0 == 1 && String::from_utf8_lossy(&log).trim() == second).then_some(())
    });
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.namespace.object("pod", "web")["status"]["podIP"], address);
    let log = log.output();
    assert!(log.contains("exit 79"), "{log}");
    let conditions = scene.namespace.object("pod", "web")["status"]["conditions"].to_string();
    assert!(conditions.contains("AllContainersRestarting"), "{conditions}");
    // Kubernetes does not show the code 79 there.
    for container in ["handfast", "web"] {
        let last = scene.namespace.status("web", container).expect("it is there")["lastState"]["terminated"].clone();
        assert_eq!(last["exitCode"], 137, "{container}: {last}");
    }
}

#[test]
fn one_login_and_one_read_of_each_secret_start_the_pod() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    // The first refresh is after a random part of this.
    let mut scene = Scene::with_refresh(node, vault, "30d", "");
    scene.store();
    let more: String = (0..19)
        .map(|number| format!("[secrets.s{number}]\nfrom = \"vault:kv/web/{}-{number}#key\"\n", scene.secret))
        .collect();
    for number in 0..19 {
        vault.must("POST", &format!("kv/data/web/{}-{number}", scene.secret), json!({ "data": { "key": canary() } }));
    }
    reconfigure(&mut scene.documents, "[secrets.db-password]", &format!("{more}[secrets.db-password]"));
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let mut requests = std::collections::BTreeMap::<String, usize>::new();
    for answer in vault.recorded() {
        if answer["auth"]["metadata"]["service_account_namespace"] == scene.namespace.name() {
            let path = answer["request"]["path"].as_str().expect("a text");
            *requests.entry(path.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(requests.len(), 1 + 20, "{requests:?}");
    assert!(requests.contains_key("auth/kubernetes/login"), "{requests:?}");
    assert!(requests.values().all(|count| *count == 1), "{requests:?}");
}

#[test]
fn a_lease_is_renewed_past_its_first_end() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let Some(postgres) = Postgres::start() else { return };
    vault.enable_database("database", &postgres, "20s");
    vault.policy("web", "path \"database/creds/web\" { capabilities = [\"read\"] }");
    let mut scene = Scene::new(node, &vault, "");
    reconfigure(&mut scene.documents, &format!("kv/web/{}#password", scene.secret), "database/creds/web");
    reconfigure(&mut scene.documents, "mounts = { kv = \"kv-v2\" }", "mounts = { database = \"other\" }");
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let first = scene.read("web");
    let credentials: Value = serde_json::from_str(&first).expect("it is JSON");
    let [user, password] = ["username", "password"].map(|key| credentials[key].as_str().expect("a text"));
    let issued = Instant::now();
    while issued.elapsed() < Duration::from_secs(45) {
        let answer = postgres.query(user, password, "select 1");
        let log = || scene.namespace.log("web", "handfast");
        assert_eq!(answer.as_deref(), Some("1"), "after {:?}: {}", issued.elapsed(), log());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(scene.read("web"), first);
}

#[test]
fn a_readiness_probe_takes_a_stale_pod_out_of_service() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let mut scene = Scene::new(node, &vault, "");
    reconfigure(&mut scene.documents, "[watch]\n", "[watch]\nmax_stale = \"5s\"\n");
    let sidecar = &mut pod(&mut scene.documents)["initContainers"][0];
    sidecar["readinessProbe"] = json!({ "exec": sidecar["startupProbe"]["exec"], "periodSeconds": 1 });
    let (value, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    vault.seal();
    scene.namespace.wait_for_condition("web", "Ready", "False");
    let described = scene.namespace.must(&["describe", "pod", "web"]);
    assert!(
        described.contains("Readiness probe failed: ") && described.contains("`db-password` is stale"),
        "{described}"
    );
    assert_eq!(scene.read("web"), value, "the last good value stays");
    vault.unseal();
    scene.namespace.wait_until_ready("web");
    assert_eq!(scene.restarts(), (0, 0));
}

#[test]
fn a_sidecar_that_was_killed_or_restarted_in_an_outage_loses_nothing() {
    let Some(node) = node() else { return };
    let Some(vault) = own_vault(node) else { return };
    let scene = Scene::new(node, &vault, "");
    let (value, _) = scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    let kill = |restarts: u64| {
        scene.namespace.kill("web", "/handfast watch");
        scene.namespace.wait_for("the sidecar's restart", |namespace| {
            let runs = namespace.status("web", "handfast")?["state"]["running"].is_object();
            (scene.restarts().1 == restarts && runs).then_some(())
        });
        let start = Instant::now();
        scene.namespace.wait_until_ready("web");
        // Kubernetes calls the pod ready again after the first startup probe that succeeds; the deadline is a minute.
        assert!(start.elapsed() < OUT_OF_SERVICE, "{:?}", start.elapsed());
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
    assert_eq!(scene.restarts().0, 0);
}

#[test]
fn a_restart_of_the_kubelet_changes_nothing() {
    let Some(node) = node() else { return };
    let Some(vault) = vault(node) else { return };
    let scene = Scene::new(node, vault, "");
    scene.store();
    scene.namespace.create(&scene.documents);
    scene.namespace.wait_until_ready("web");
    node.kill_kubelet();
    let (next, stored) = scene.store();
    scene.namespace.wait_for_kubelet("web", "web");
    scene.becomes(&next, stored, FRESH);
    assert_eq!(scene.restarts(), (0, 0));
}
