//! Programs that nobody here wrote, in containers as `docs/apps.md` shows them: each proves that it used its secret.

use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use handfast_testservers::Docker;

use crate::machine;
use crate::shown::Page;
use crate::support::canary;

const PAGE: &str = "docs/apps.md";

/// An engine of their own: the shared one is searched for secrets to the last byte.
pub fn engine(needs: &[&str]) -> Option<&'static Docker> {
    static ENGINE: OnceLock<Option<Docker>> = OnceLock::new();
    if !machine::is_complete(&[needs, &["busybox"]].concat()) {
        return None;
    }
    let start = || {
        let docker = Docker::start()?;
        machine::build_own(&docker);
        Some(docker)
    };
    ENGINE.get_or_init(start).as_ref()
}

/// Tries until it works; a server takes its time.
fn until(docker: &Docker, name: &str, mut attempt: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !attempt() {
        let logs = || docker.output(&["logs", "--tail", "20", name]);
        assert!(Instant::now() < deadline, "{name} does not answer: {}", text(&logs()));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A query over TCP, which needs the password.
fn query(docker: &Docker, container: &str, password: &str) -> Output {
    let password = format!("PGPASSWORD={password}");
    let psql = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-w", "-At", "-c", "select 6 * 7"];
    docker.output(&[&["exec", "--env", &password, container][..], &psql].concat())
}

/// Of process 1, as its own user sees it.
fn process(docker: &Docker, container: &str, user: &str, file: &str) -> String {
    let script = format!("tr '\\0' '\\n' </proc/1/{file}");
    docker.must(&["exec", "--user", user, container, "sh", "-c", &script])
}

fn build_postgres(docker: &Docker) {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| machine::build_postgres(docker));
}

#[test]
fn postgres_as_its_own_user_takes_the_password_that_the_file_has_at_each_start() {
    let Some(docker) = engine(&["initdb", "gosu"]) else { return };
    build_postgres(docker);
    let (first, second) = (canary(), format!("it's \"{}\"", canary()));
    let page = Page::write(PAGE, "postgres", &[("db-password", &first)]);
    page.build(docker, "postgres-app");
    page.run(docker, "run");
    until(docker, "postgres", || query(docker, "postgres", &first).status.success());
    assert_eq!(text(&query(docker, "postgres", &first)), "42\n");
    let refused = |password: &str| {
        let output = query(docker, "postgres", password);
        assert!(text(&output).contains("password authentication failed"), "{output:?}");
    };
    refused(&second);

    let status = process(docker, "postgres", "postgres", "status");
    for line in ["Uid:\t999\t999\t999\t999", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    let environment = process(docker, "postgres", "postgres", "environ");
    assert!(environment.contains("POSTGRES_PASSWORD_FILE=/run/secrets/db-password"), "{environment}");
    for place in [environment, docker.must(&["inspect", "postgres"]), text(&docker.output(&["logs", "postgres"]))] {
        assert!(!place.contains(&first), "the password is in {place}");
    }

    // Rotation by restart. The end of a line is no part of it.
    page.secret("db-password", &format!("{second}\n"));
    docker.must(&["restart", "postgres"]);
    until(docker, "postgres", || query(docker, "postgres", &second).status.success());
    refused(&first);
    docker.must(&["rm", "--force", "--volumes", "postgres"]);
}

#[test]
fn postgres_by_an_entrypoint_that_starts_as_root_ends_up_as_its_user() {
    let Some(docker) = engine(&["initdb", "gosu"]) else { return };
    build_postgres(docker);
    let password = canary();
    let page = Page::write(PAGE, "postgres-root", &[("db-password", &password)]);
    page.build(docker, "postgres-root-app");
    page.run(docker, "run");
    until(docker, "postgres-root", || query(docker, "postgres-root", &password).status.success());
    let wrong = query(docker, "postgres-root", &canary());
    assert!(text(&wrong).contains("password authentication failed"), "{wrong:?}");
    let status = process(docker, "postgres-root", "postgres", "status");
    for line in ["Uid:\t999\t999\t999\t999", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "no {line} in {status}");
    }
    // CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, as an upper limit.
    assert!(status.contains("CapBnd:\t00000000000000cb"), "{status}");
    let owner = ["exec", "postgres-root", "stat", "-c", "%U %a", "/var/lib/postgresql/data"];
    assert_eq!(docker.must(&owner), "postgres 700");
    // As the page warns.
    let environment = process(docker, "postgres-root", "postgres", "environ");
    assert!(environment.contains(&format!("POSTGRES_PASSWORD={password}")), "{environment}");
    assert!(!docker.must(&["inspect", "postgres-root"]).contains(&password));
    docker.must(&["rm", "--force", "--volumes", "postgres-root"]);
}

#[test]
fn redis_takes_its_users_from_a_file() {
    let Some(docker) = engine(&["redis-server", "redis-cli"]) else { return };
    machine::build_redis(docker);
    let password = canary();
    let users = format!("user default off\nuser app on >{password} ~* +@all\n");
    let page = Page::write(PAGE, "redis", &[("users.acl", &users)]);
    page.build(docker, "redis-app");
    page.run(docker, "run");
    let ask = |environment: &str, user: &[&str]| {
        let first = ["exec", "--env", environment, "redis", "redis-cli", "--no-auth-warning"];
        text(&docker.output(&[&first, user, &["PING"]].concat()))
    };
    let as_user = |password: &str| ask(&format!("REDISCLI_AUTH={password}"), &["--user", "app"]);
    until(docker, "redis", || as_user(&password).trim() == "PONG");
    assert!(as_user(&canary()).contains("WRONGPASS"));
    assert!(ask("NOTHING=", &[]).contains("NOAUTH"));
    assert!(process(docker, "redis", "redis", "status").contains("Uid:\t999\t999\t999\t999"));
    docker.must(&["rm", "--force", "--volumes", "redis"]);
}

#[test]
fn nginx_decrypts_its_key() {
    let Some(docker) = engine(&["nginx", "openssl", "python3", "useradd"]) else { return };
    machine::build_nginx(docker);
    build_python(docker);
    let page = Page::write(PAGE, "nginx", &[("passphrase", &canary())]);
    page.run(docker, "prepare");
    page.build(docker, "nginx-app");
    page.run(docker, "run");
    // Trusts no other certificate.
    let certificate = page.path().join("tls.crt").display().to_string() + ":/tls.crt:ro";
    let script = "import ssl, urllib.request\ncontext = ssl.create_default_context(cafile='/tls.crt')\n\
        print(urllib.request.urlopen('https://localhost:8443', context=context).read().decode(), end='')";
    let client = ["run", "--rm", "--network", "container:nginx", "--volume", &certificate, "python"];
    let get = || docker.output(&[&client[..], &["python3", "-c", script]].concat());
    until(docker, "nginx", || get().status.success());
    assert_eq!(text(&get()), "hello\n");
    assert!(process(docker, "nginx", "nginx", "status").contains("Uid:\t101\t101\t101\t101"));

    page.secret("passphrase", &canary());
    docker.must(&["restart", "nginx"]);
    assert_ne!(docker.must(&["wait", "nginx"]), "0");
    let logs = text(&docker.output(&["logs", "nginx"]));
    assert!(logs.contains("cannot load certificate key"), "{logs}");
    docker.must(&["rm", "--force", "nginx"]);
}

/// `python`, once.
pub fn build_python(docker: &Docker) {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| machine::build_python(docker));
}

#[test]
fn a_python_service_takes_its_token() {
    let Some(docker) = engine(&["python3", "useradd"]) else { return };
    build_python(docker);
    asks_for_its_token(docker, "python");
}

#[test]
fn a_node_service_takes_its_token() {
    let Some(docker) = engine(&["node"]) else { return };
    machine::build_node(docker);
    asks_for_its_token(docker, "node");
}

#[test]
fn a_go_service_takes_its_token() {
    let Some(docker) = engine(&["go"]) else { return };
    asks_for_its_token(docker, "go");
}

#[test]
fn a_spring_boot_service_takes_its_token() {
    let Some(docker) = engine(&["mvn", "javac", "jlink"]) else { return };
    machine::build_java(docker);
    asks_for_its_token(docker, "spring");
}

/// A service on port 8080 that answers 200 to whoever has the token, and 401 to others.
fn asks_for_its_token(docker: &Docker, name: &str) {
    let token = canary();
    let page = Page::write(PAGE, name, &[("token", &token)]);
    if page.path().join("prepare").is_file() {
        page.run(docker, "prepare");
    }
    page.build(docker, &format!("{name}-app"));
    page.run(docker, "run");
    let network = format!("container:{name}");
    let ask = |header: &str| {
        let words =
            ["run", "--rm", "--network", &network, "busybox", "wget", "-S", "-O", "/dev/null", "--header", header];
        text(&docker.output(&[&words[..], &["http://127.0.0.1:8080/"]].concat()))
    };
    let with = |token: &str| ask(&format!("Authorization: Bearer {token}"));
    until(docker, name, || with(&token).contains(" 200 OK"));
    assert!(with(&canary()).contains(" 401 Unauthorized"));
    assert!(ask("Accept: */*").contains(" 401 Unauthorized"));
    docker.must(&["rm", "--force", name]);
}

#[test]
fn the_page_has_a_file_for_each_of_them() {
    // What the tests take from it is there, without an engine too.
    for below in ["postgres", "postgres-root", "redis", "nginx", "python", "node", "go", "spring"] {
        let page = Page::write(PAGE, below, &[]);
        for name in ["Dockerfile", "run"] {
            assert!(page.path().join(name).is_file(), "{below}/{name}");
        }
        let checked = Command::new("sh").arg("-n").arg(page.path().join("run")).status();
        assert!(checked.is_ok_and(|status| status.success()), "{below}/run");
    }
}
