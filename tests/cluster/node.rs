//! The node, and what is asked of it by kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Yaml, require};

/// How long a test waits at most for a state of the cluster. Kubelet waits 10 s before it starts a failed container again.
const PATIENCE: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(200);

/// Held by each kubectl whose output comes from the kubelet: the end of the kubelet would cut it off.
static STREAMS: RwLock<()> = RwLock::new(());

/// The running node.
pub struct Node {
    yaml: Yaml,
}

/// The namespace of a test, which ends with it.
pub struct Namespace {
    node: &'static Node,
    name: String,
}

/// The node that `tests/cluster/node up` has started. Prints a line and returns `None` if there is none.
pub fn node() -> Option<&'static Node> {
    static NODE: OnceLock<Option<Node>> = OnceLock::new();
    let node = NODE.get_or_init(|| Some(Node { yaml: Yaml::find()? })).as_ref()?;
    let runs = state().join("ready").exists() && node.ask(&["get", "nodes"], "").status.success();
    require(runs, "a Kubernetes (tests/cluster/node up)").then_some(node)
}

/// The directory with the node's files.
pub fn state() -> PathBuf {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").expect("a home")).join(".cache"))
    };
    let cluster = std::env::var_os("HANDFAST_CLUSTER").filter(|path| !path.is_empty()).map(PathBuf::from);
    cluster.unwrap_or_else(|| cache().join("handfast-tests/cluster")).join("state")
}

/// A kubectl that prints a container's output.
pub struct Follower {
    kubectl: Child,
    _stream: RwLockReadGuard<'static, ()>,
}

impl Follower {
    /// All of the output, once the container has ended.
    pub fn output(self) -> String {
        let output = self.kubectl.wait_with_output().expect("it ends with the container");
        String::from_utf8(output.stdout).expect("a text")
    }
}

impl Node {
    /// Runs kubectl with this input. Waits for a kubelet that does not answer: a test starts it again.
    pub fn ask(&self, arguments: &[&str], input: &str) -> Output {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.ask_once(arguments, input);
            let said = String::from_utf8_lossy(&output.stderr);
            // A kubelet that has just started does not know its pods yet.
            let is_away = [":10250: connect: connection refused", "unable to upgrade connection: pod does not exist"];
            let is_away = is_away.iter().any(|error| said.contains(error));
            if !is_away || Instant::now() > deadline {
                return output;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask_once(&self, arguments: &[&str], input: &str) -> Output {
        let is_streamed = arguments.iter().any(|argument| ["exec", "logs"].contains(argument));
        let _stream = is_streamed.then(stream);
        let mut kubectl = script();
        kubectl.arg("kubectl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().expect("the script is there");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    /// The output of a kubectl that must succeed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str], input: &str) -> String {
        let output = self.ask(arguments, input);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("kubectl prints text")
    }

    /// The output of a shell in the node's namespaces, as root: it sees the processes and the volumes of all pods.
    #[track_caller]
    pub fn shell(&self, text: &str) -> String {
        let output = script().args(["run", "sh", "-c", text]).output().expect("the script is there");
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Kills the kubelet in a moment in which no test hears from it. The node's first process starts it again.
    #[track_caller]
    pub fn kill_kubelet(&self) {
        // Waiting for the lock would stop new readers, also those of a test that has a reader already.
        let deadline = Instant::now() + PATIENCE;
        let _no_stream = loop {
            match STREAMS.try_write() {
                Ok(guard) => break guard,
                Err(_) => assert!(Instant::now() < deadline, "the tests hear from the kubelet all the time"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        self.shell("pkill -KILL -f '[k]ubelet --config'");
    }

    /// The documents of a manifest.
    pub fn documents(&self, text: &str) -> Vec<Value> {
        self.yaml.parse(text).unwrap_or_else(|why| panic!("{why}"))
    }

    /// A new namespace, which enforces a Pod Security Standard: `restricted`, `baseline` or `privileged`.
    pub fn namespace(&'static self, standard: &str) -> Namespace {
        let name = handfast_testservers::random("test-");
        let labels = json!({ "pod-security.kubernetes.io/enforce": standard });
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        });
        self.must(&["create", "-f", "-"], &namespace.to_string());
        let namespace = Namespace { node: self, name };
        // Pods are refused until their service account is there.
        namespace.wait_for("the default service account", |namespace| {
            namespace.ask(&["get", "serviceaccount", "default"]).status.success().then_some(())
        });
        namespace
    }
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in the namespace.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        self.node.ask(&[&["--namespace", &self.name], arguments].concat(), "")
    }

    /// The output of a kubectl in the namespace that must succeed.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        self.node.must(&[&["--namespace", &self.name], arguments].concat(), "")
    }

    /// Creates these objects.
    #[track_caller]
    pub fn create(&self, documents: &[Value]) {
        self.node.must(&["--namespace", &self.name, "create", "-f", "-"], &text(documents));
    }

    /// Creates these objects, or returns why the API server refuses them.
    pub fn try_create(&self, documents: &[Value]) -> Result<(), String> {
        let output = self.node.ask(&["--namespace", &self.name, "create", "-f", "-"], &text(documents));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// An object as the API server would create it.
    #[track_caller]
    pub fn dry_run(&self, document: &Value) -> Value {
        self.try_dry_run(document).unwrap_or_else(|why| panic!("{document}: {why}"))
    }

    /// The same, or why the API server refuses it.
    pub fn try_dry_run(&self, document: &Value) -> Result<Value, String> {
        let arguments = ["--namespace", &self.name, "create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = self.node.ask(&arguments, &document.to_string());
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(serde_json::from_slice(&output.stdout).expect("it is JSON"))
    }

    /// An object as the API server has it.
    #[track_caller]
    pub fn object(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.must(&["get", kind, name, "-o", "json"])).expect("it is JSON")
    }

    /// A container's output, of its current or last run.
    #[track_caller]
    pub fn log(&self, pod: &str, container: &str) -> String {
        self.must(&["logs", pod, "-c", container])
    }

    /// Begins to print a container's output, until the container ends.
    pub fn follow(&self, pod: &str, container: &str) -> Follower {
        let stream = stream();
        let mut kubectl = script();
        kubectl.args(["kubectl", "--namespace", &self.name, "logs", "--follow", pod, "-c", container]);
        let kubectl = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the script is there");
        Follower { kubectl, _stream: stream }
    }

    /// The output of a shell in a container.
    #[track_caller]
    pub fn shell(&self, pod: &str, container: &str, script: &str) -> String {
        self.must(&["exec", pod, "-c", container, "--", "sh", "-c", script]).trim_end().to_owned()
    }

    /// Kills the processes of a pod whose command line starts with this.
    #[track_caller]
    pub fn kill(&self, pod: &str, command: &str) {
        // A control group has the pod's identifier with one of two separators.
        let dashes = self.uid(pod);
        let lines = dashes.replace('-', "_");
        let killed = self.node.shell(&format!(
            "for process in /proc/[0-9]*; do \
               tr '\\0' ' ' <$process/cmdline 2>/dev/null | grep -q '^{command}' || continue; \
               grep -q -e {dashes} -e {lines} $process/cgroup && kill -KILL ${{process#/proc/}} && echo killed; done; true"
        ));
        assert!(killed.starts_with("killed"), "{pod} has no process `{command}`");
    }

    /// The names of all in a pod's volume of the kind `emptyDir` but directories, seen from the node.
    #[track_caller]
    pub fn volume(&self, pod: &str, volume: &str) -> String {
        let path = format!("/var/lib/kubelet/pods/{}/volumes/kubernetes.io~empty-dir/{volume}", self.uid(pod));
        self.node.shell(&format!("cd {path} && find . ! -type d"))
    }

    /// The peak of the memory of a container, or of all the containers that its pod has had, in bytes: as their control group has it.
    #[track_caller]
    pub fn peak(&self, pod: &str, container: Option<&str>) -> u64 {
        let group = container.map_or_else(
            || format!("pod{}", self.uid(pod)),
            |container| {
                let status = self.status(pod, container).expect("it is there");
                let identifier = status["containerID"].as_str().expect("it has started");
                identifier.trim_start_matches("containerd://").to_owned()
            },
        );
        let found = self.node.shell(&format!(
            "cat $(find /sys/fs/cgroup -path '*/{group}/memory.peak' -o -path '*/{group}/memory.max_usage_in_bytes')"
        ));
        found.parse().unwrap_or_else(|_| panic!("the control group {group}: {found}"))
    }

    /// Waits until the kubelet answers for a container again.
    #[track_caller]
    pub fn wait_for_kubelet(&self, pod: &str, container: &str) {
        self.wait_for("the kubelet to answer", |namespace| {
            namespace.ask(&["exec", pod, "-c", container, "--", "true"]).status.success().then_some(())
        });
    }

    /// How often a container of the pod was started again.
    #[track_caller]
    pub fn restarts(&self, pod: &str, container: &str) -> u64 {
        self.status(pod, container).expect("it is there")["restartCount"].as_u64().expect("a number")
    }

    /// The state of a container, as its pod's status has it.
    #[track_caller]
    pub fn status(&self, pod: &str, container: &str) -> Option<Value> {
        let status = &self.object("pod", pod)["status"];
        let all = ["initContainerStatuses", "containerStatuses"].map(|key| status[key].as_array().cloned());
        all.into_iter().flatten().flatten().find(|status| status["name"] == container)
    }

    fn uid(&self, pod: &str) -> String {
        self.object("pod", pod)["metadata"]["uid"].as_str().expect("a text").to_owned()
    }

    /// Repeats until there is an answer.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, attempt: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = attempt(self) {
                return answer;
            }
            if Instant::now() > deadline {
                let pods = self.ask(&["describe", "pods"]);
                panic!("waited too long for {what}:\n{}", String::from_utf8_lossy(&pods.stdout));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until all containers of a pod are ready.
    #[track_caller]
    pub fn wait_until_ready(&self, pod: &str) {
        self.wait_for_condition(pod, "Ready", "True");
    }

    /// Waits until a condition of a pod has this status, such as `True`.
    #[track_caller]
    pub fn wait_for_condition(&self, pod: &str, condition: &str, status: &str) {
        self.wait_for(&format!("{pod}: {condition} is {status}"), |namespace| {
            let pod = namespace.object("pod", pod);
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|it| it["type"] == condition && it["status"] == status).then_some(())
        });
    }

    /// Waits until a container has ended, and returns how: `exitCode`, `message`, `reason`.
    #[track_caller]
    pub fn end_of(&self, pod: &str, container: &str) -> Value {
        self.wait_for(&format!("the end of {container} in {pod}"), |namespace| {
            let container = namespace.status(pod, container)?;
            let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
            ended.into_iter().find(|ended| ended.is_object()).cloned()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.ask(&["delete", "pods,jobs,deployments", "--all", "--wait=false", "--grace-period=0", "--force"]);
        self.node.ask(&["delete", "namespace", &self.name, "--wait=false"], "");
    }
}

fn stream() -> RwLockReadGuard<'static, ()> {
    STREAMS.read().unwrap_or_else(PoisonError::into_inner)
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/node"))
}

fn text(documents: &[Value]) -> String {
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}
