//! The environment variables of Vault's own tools.

use handfast_core::{Complaint, ErrorKind, Problems, Settings, Table, Value as Setting};
use handfast_testkit::{Outside, Variables, configure, run, table, text};
use handfast_testservers::{Authority, Directory, FaultProxy, Vault, random};
use handfast_vault::DEFINITION;
use serde_json::json;

use crate::support::{as_root, connect, variables};

/// The value of the KV 2 secret `web/db`.
const PASSWORD: &[u8] = br#"{"password":"hunter2"}"#;

fn kv(vault: &Vault) -> String {
    let mount = random("kv-");
    vault.enable_kv(&mount, 2);
    vault.must("POST", &format!("{mount}/data/web/db"), json!({ "data": { "password": "hunter2" } }));
    format!("vault:{mount}/web/db")
}

/// The address and the token alone, so that the server's authority is unknown.
fn untrusting(vault: &Vault) -> Variables {
    Variables::default().with("VAULT_ADDR", vault.address()).with_credential("VAULT_TOKEN", vault.root_token())
}

/// The problems with variables.
fn missing(settings: Table, variables: Variables) -> Vec<Complaint> {
    configure(&DEFINITION, settings, &Outside { variables, ..Outside::default() }).missing()
}

#[test]
fn address_and_token_are_enough() {
    let Some(vault) = Vault::shared() else { return };
    let db = kv(vault);
    run(async { assert_eq!(as_root(vault).value(&db).await, PASSWORD) });
}

#[test]
fn authorities_in_variables_replace_the_built_in_ones() {
    let Some(vault) = Vault::shared() else { return };
    let (db, directory) = (kv(vault), Directory::new());
    let ca = std::fs::read_to_string(vault.ca_file()).unwrap();
    let (good, other) = (directory.write("ca.pem", &ca), directory.write("other.pem", Authority::new().pem()));
    let (good, other) = (good.display().to_string(), other.display().to_string());
    let all = directory.path().display().to_string();
    run(async {
        let error = connect(Table::default(), untrusting(vault)).error(&db).await;
        assert_eq!(error.kind, ErrorKind::Untrusted, "{error}");
        for (name, value) in [("VAULT_CACERT", &good), ("VAULT_CACERT_BYTES", &ca), ("VAULT_CAPATH", &all)] {
            let variables = untrusting(vault).with(name, value);
            assert_eq!(connect(Table::default(), variables).value(&db).await, PASSWORD, "{name}");
        }
        // The first variable in Vault's order counts, and an empty variable counts as unset.
        let both = || untrusting(vault).with("VAULT_CACERT_BYTES", &ca).with("VAULT_CAPATH", "/nonexistent");
        assert_eq!(connect(Table::default(), both()).value(&db).await, PASSWORD);
        assert_eq!(connect(Table::default(), both().with("VAULT_CACERT", "")).value(&db).await, PASSWORD);
        let error = connect(Table::default(), both().with("VAULT_CACERT", &other)).error(&db).await;
        assert_eq!(error.kind, ErrorKind::Untrusted);
        // The configuration takes precedence over all variables.
        let settings = || table([("ca_file", text(&good)), ("roots", text("none"))]);
        let variables = || untrusting(vault).with("VAULT_CACERT", &other);
        assert_eq!(connect(settings(), variables()).value(&db).await, PASSWORD);
    });
}

/// `[fetch]` is for all providers, so Vault's own variables take precedence over it.
#[test]
fn the_settings_of_fetch_reach_the_client() {
    let Some(vault) = Vault::shared() else { return };
    let db = kv(vault);
    let fetch = table([("ca_file", text(&vault.ca_file().display().to_string()))]);
    let read = |fetch: &Table, variables: Variables| {
        let outside = Outside { variables, ..Outside::default() };
        let mut problems = Problems::default();
        let configured = (DEFINITION.configure)(
            Settings { instance: "vault".into(), table: Table::default(), fetch, environment: &outside.variables },
            &mut problems,
        );
        assert!(problems.is_empty(), "{:?}", problems.into_sorted());
        configured.connect(outside.context()).unwrap_or_else(|error| panic!("{error}"))
    };
    let locator = handfast_core::SecretRef::parse(&db).unwrap().locator;
    run(async {
        assert!(read(&fetch, untrusting(vault)).fetch(&locator).await.is_ok());
        let other = Directory::new();
        let other = other.write("other.pem", Authority::new().pem()).display().to_string();
        let answer = read(&fetch, untrusting(vault).with("VAULT_CACERT", &other)).fetch(&locator).await;
        assert_eq!(answer.map(drop).unwrap_err().kind, ErrorKind::Untrusted);
        let none = table([("roots", text("none"))]);
        let good = vault.ca_file().display().to_string();
        assert!(read(&none, untrusting(vault).with("VAULT_CACERT", &good)).fetch(&locator).await.is_ok());
    });
}

#[test]
fn every_request_has_the_namespace() {
    let Some(vault) = Vault::shared() else { return };
    let (authority, directory, db) = (Authority::new(), Directory::new(), kv(vault));
    // This Vault has no namespaces and ignores the header, so a test server in front of it records the requests.
    let proxy = FaultProxy::start(vault, &authority);
    let ca = directory.write("ca.pem", authority.pem()).display().to_string();
    let variables = || {
        Variables::default()
            .with("VAULT_ADDR", &proxy.address())
            .with("VAULT_CACERT", &ca)
            .with_credential("VAULT_TOKEN", vault.root_token())
    };
    let of_file = || table([("namespace", text("/of/file/"))]);
    let cases = [
        (Table::default(), variables(), None),
        (Table::default(), variables().with("VAULT_NAMESPACE", ""), None),
        (Table::default(), variables().with("VAULT_NAMESPACE", "team-a/"), Some("team-a")),
        (of_file(), variables().with("VAULT_NAMESPACE", "team-a"), Some("of/file")),
    ];
    for (settings, variables, expected) in cases {
        proxy.reset();
        run(async { assert_eq!(connect(settings, variables).value(&db).await, PASSWORD) });
        let requests = proxy.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.header("x-vault-namespace"), expected, "{}", request.path);
            assert_eq!(request.header("x-vault-request"), Some("true"));
        }
    }
}

#[test]
fn keys_of_the_file_take_precedence_over_variables() {
    let Some(vault) = Vault::shared() else { return };
    let db = kv(vault);
    let elsewhere = || variables(vault).with("VAULT_ADDR", "https://127.0.0.1:1");
    run(async {
        let settings = table([("address", text(vault.address()))]);
        let with_token = elsewhere().with_credential("VAULT_TOKEN", vault.root_token());
        assert_eq!(connect(settings, with_token).value(&db).await, PASSWORD);
        // `auth` takes precedence over VAULT_TOKEN.
        let auth = [("method", text("token")), ("token_env", text("OTHER"))];
        let settings = table([("auth", Setting::Table(table(auth)))]);
        let both = variables(vault)
            .with_credential("VAULT_TOKEN", "hvs.of-somebody-else")
            .with_credential("OTHER", vault.root_token());
        assert_eq!(connect(settings, both).value(&db).await, PASSWORD);
    });
}

#[test]
fn a_server_with_another_name_and_a_client_with_a_certificate() {
    let Some(vault) = Vault::shared() else { return };
    let (authority, directory, db) = (Authority::new(), Directory::new(), kv(vault));
    let certified = authority.server_for(&["vault.example.org"], (2020, 2099));
    let front = directory.write("ca.pem", authority.pem()).display().to_string();
    // The real server behind a test server with a certificate for another name.
    let upstream = vault.address().to_owned();
    let client = handfast_testservers::Client::trusting(&std::fs::read_to_string(vault.ca_file()).unwrap());
    let server = handfast_testservers::Server::start(Some(&certified), move |request, stream| {
        let token = request.header("x-vault-token").unwrap_or_default();
        let url = format!("{upstream}{}", request.path);
        let answer = client.send(&request.method, &url, &[("x-vault-token", token)], &request.body)?;
        handfast_testservers::write_answer(stream, answer.status, &[], &answer.body)
    });
    let variables = || {
        Variables::default()
            .with("VAULT_ADDR", &server.address())
            .with("VAULT_CACERT", &front)
            .with_credential("VAULT_TOKEN", vault.root_token())
    };
    run(async {
        let error = connect(Table::default(), variables()).error(&db).await;
        assert_eq!(error.kind, ErrorKind::Untrusted);
        let named = variables().with("VAULT_TLS_SERVER_NAME", "vault.example.org");
        assert_eq!(connect(Table::default(), named).value(&db).await, PASSWORD);
    });
}

#[test]
fn vault_gets_the_client_certificate() {
    let Some(vault) = Vault::shared() else { return };
    let (authority, directory, db, policy) = (Authority::new(), Directory::new(), kv(vault), random("policy-"));
    let mount = random("cert-");
    let identity = vault.enable_cert(&mount, &authority, &[&policy]);
    let (certificate, key) = identity.write(&directory, "client");
    // A login with the connection's certificate is a write like any other.
    let login = crate::support::with_params(&format!("vault:auth/{mount}/login"), &json!({}));
    run(async {
        let with = untrusting(vault).with("VAULT_CACERT", &vault.ca_file().display().to_string());
        let with = with.with("VAULT_CLIENT_CERT", &certificate).with("VAULT_CLIENT_KEY", &key);
        let instance = connect(Table::default(), with);
        assert_eq!(instance.value(&db).await, PASSWORD);
        // The response has a token and no data: Vault accepted the certificate.
        let error = instance.provider().fetch(&login).await.map(drop).unwrap_err();
        assert!(error.hint.as_deref().unwrap_or_default().starts_with("it is a token"), "{error}");
        let error = as_root(vault).provider().fetch(&login).await.map(drop).unwrap_err();
        assert!(!error.hint.as_deref().unwrap_or_default().starts_with("it is a token"), "{error}");
    });
}

#[test]
fn a_timeout_and_a_number_of_tries() {
    let Some(vault) = Vault::shared() else { return };
    let (authority, directory, db) = (Authority::new(), Directory::new(), kv(vault));
    let proxy = FaultProxy::start(vault, &authority);
    proxy.add(handfast_testservers::Fault::Silence);
    let ca = directory.write("ca.pem", authority.pem()).display().to_string();
    let variables = |timeout: &str| {
        Variables::default()
            .with("VAULT_ADDR", &proxy.address())
            .with("VAULT_CACERT", &ca)
            .with("VAULT_CLIENT_TIMEOUT", timeout)
            .with_credential("VAULT_TOKEN", vault.root_token())
    };
    run(async {
        for timeout in ["1", "1s", "800ms"] {
            let started = std::time::Instant::now();
            let error = connect(Table::default(), variables(timeout)).error(&db).await;
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(started.elapsed().as_millis() < 4000, "{timeout}: {:?}", started.elapsed());
        }
    });
    let tries = |text: &str| {
        let variables = untrusting(vault).with("VAULT_MAX_RETRIES", text);
        configure(&DEFINITION, Table::default(), &Outside { variables, ..Outside::default() }).max_retries()
    };
    assert_eq!((tries("0"), tries("3"), tries("")), (Some(0), Some(3), None));
}

#[test]
fn a_server_that_cannot_prove_itself_needs_permission_in_the_file() {
    let Some(vault) = Vault::shared() else { return };
    let db = kv(vault);
    let skipping = |value: &str| untrusting(vault).with("VAULT_SKIP_VERIFY", value);
    let danger = || table([("danger_skip_tls_verify", Setting::Boolean(true))]);
    for yes in ["1", "t", "T", "true", "TRUE", "True"] {
        let problems = missing(Table::default(), skipping(yes));
        assert!(problems[0].hint.as_ref().unwrap().contains("danger_skip_tls_verify = true"), "{yes}: {problems:?}");
        assert!(missing(danger(), skipping(yes)).is_empty());
    }
    for no in ["", "0", "false", "F"] {
        assert!(missing(Table::default(), skipping(no)).is_empty(), "{no}");
        run(async {
            let error = connect(Table::default(), skipping(no)).error(&db).await;
            assert_eq!(error.kind, ErrorKind::Untrusted, "{no}");
        });
    }
    assert_eq!(missing(danger(), skipping("yes")).len(), 1, "Vault takes it for none either");
    run(async { assert_eq!(connect(danger(), skipping("true")).value(&db).await, PASSWORD) });
    let configured = configure(&DEFINITION, danger(), &Outside { variables: skipping("true"), ..Outside::default() });
    assert!(configured.warning().expect("there is a warning at each start").contains("danger_skip_tls_verify"));
}

#[test]
fn problems_with_variables_are_reported_with_hints() {
    let with = |name: &str, value: &str| {
        let base = Variables::default().with("VAULT_ADDR", "https://vault.example.org:8200");
        let problems = missing(Table::default(), base.with(name, value));
        assert_eq!(problems.len(), 1, "{name}: {problems:?}");
        let Complaint { message, hint } = problems.into_iter().next().unwrap();
        assert!(message.contains(name) && hint.is_some_and(|hint| !hint.is_empty()), "{name}: {message}");
    };
    with("VAULT_ADDR", "vault.example.org");
    with("VAULT_ADDR", "http://vault.example.org:8200");
    with("VAULT_CLIENT_TIMEOUT", "soon");
    with("VAULT_CLIENT_TIMEOUT", "0");
    with("VAULT_MAX_RETRIES", "-1");
    with("VAULT_CLIENT_CERT", "/etc/client.pem");
    with("VAULT_CLIENT_KEY", "/etc/client.key");
    with("VAULT_SKIP_VERIFY", "perhaps");
    assert_eq!(missing(Table::default(), Variables::default()).len(), 1, "no address at all");
    assert_eq!(missing(Table::default(), Variables::default().with("VAULT_ADDR", "")).len(), 1);
}
