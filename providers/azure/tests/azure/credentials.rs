//! The login methods of an application, and the token in a file.

use handfast_core::{Context, ErrorKind};
use handfast_testkit::{Instance, Outside, TestClock, Variables, run};
use handfast_testservers::{Azure, Directory, Issuer, TENANT};
use serde_json::json;

use crate::support::{assert_text, connect, refused, settings, with_auth};

const AUDIENCE: &str = "api://AzureADTokenExchange";
const SUBJECT: &str = "system:serviceaccount:web:web";
const CERTIFICATE: &str = include_str!("../../../../tests/servers/tests/data/client.pem");

/// A cluster whose tokens Entra ID accepts for an application.
fn federated(azure: &Azure) -> Issuer {
    let issuer = Issuer::new("https://oidc.example/cluster/");
    let credential = json!({ "tenant": TENANT, "id": "federated", "issuer": issuer.name(), "subject": SUBJECT, "key": issuer.public_key() });
    azure.set_up("application", credential);
    issuer
}

/// The variables that AKS's webhook sets.
fn webhook(file: &str) -> Variables {
    Variables::default()
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_CLIENT_ID", "federated")
        .with("AZURE_FEDERATED_TOKEN_FILE", file)
}

#[test]
fn workload_identity_needs_only_the_webhooks_variables() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let (issuer, directory) = (federated(&azure), Directory::new());
    directory.write("token", issuer.token(SUBJECT, AUDIENCE));
    let file = directory.file("token");
    run(async {
        let instance = connect(settings(&azure), webhook(&file));
        assert_eq!(instance.summary().identity, None, "nobody has been asked yet");
        assert_eq!(instance.value("azure:s").await, b"x");
        let whose = format!("workload-identity of the application `federated` of `{TENANT}`");
        assert_eq!(instance.summary().identity, Some(whose));
        let pinned =
            with_auth(&azure, [("method", "workload-identity"), ("token_file", &file), ("client_id", "federated")]);
        assert_eq!(connect(pinned, Variables::default().with("AZURE_TENANT_ID", TENANT)).value("azure:s").await, b"x");
    });
}

#[test]
fn a_federated_token_that_is_missing_expired_or_for_another_application() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let (issuer, directory) = (federated(&azure), Directory::new());
    let missing = refused(settings(&azure), webhook(&directory.file("none")));
    assert_text(&missing, ErrorKind::Denied, "cannot read the federated token: ", "whatever writes it");
    // The tests' clock is at 2026-01-01.
    directory.write("old", issuer.token_with(SUBJECT, AUDIENCE, json!({ "exp": 1_767_225_000, "nbf": 0 })));
    let old = refused(settings(&azure), webhook(&directory.file("old")));
    assert_text(&old, ErrorKind::Denied, "it expired ", "the kubelet renews it");
    directory.write("late", issuer.token_with(SUBJECT, AUDIENCE, json!({ "exp": 1_767_312_000, "nbf": 0 })));
    directory.write("subject", issuer.token("system:serviceaccount:web:other", AUDIENCE));
    directory.write("audience", issuer.token(SUBJECT, "vault"));
    for (file, why) in [
        // This token has expired only by the clock of Entra ID.
        ("late", "has expired (AADSTS700024)"),
        ("subject", "no federated credential of the application is for this token (AADSTS700213)"),
        ("audience", "no federated credential of the application is for this token (AADSTS700212)"),
    ] {
        run(async {
            let clock = TestClock::default();
            let variables = webhook(&directory.file(file));
            let outside = Outside { variables, clock: clock.clone(), ..Outside::default() };
            let instance = Instance::from_settings(&handfast_azure::DEFINITION, settings(&azure), outside);
            // The error for an unknown token is temporary, because a new federated credential takes time to reach all servers.
            let first = if file == "late" { ErrorKind::Denied } else { ErrorKind::Unavailable };
            assert_text(&instance.error("azure:s").await, first, why, "");
            clock.advance(std::time::Duration::from_secs(10));
            assert_text(&instance.error("azure:s").await, ErrorKind::Denied, why, "");
        });
    }
}

#[test]
fn a_pod_without_the_webhook_gets_a_hint_about_its_label() {
    let Some(azure) = Azure::start() else { return };
    let error = refused(with_auth(&azure, [("method", "workload-identity")]), Variables::default());
    assert_text(&error, ErrorKind::Denied, "AZURE_FEDERATED_TOKEN_FILE is not set", "azure.workload.identity/use");
}

/// Fetches a secret with a certificate. The clock is the machine's, as in the tests' Entra ID.
fn by_certificate(azure: &Azure, file: &str, key: Option<&str>) -> Result<Vec<u8>, handfast_core::ProviderError> {
    struct Now;
    impl handfast_core::Clock for Now {
        fn now(&self) -> std::time::SystemTime {
            std::time::SystemTime::now()
        }

        fn sleep(&self, duration: std::time::Duration) -> handfast_core::BoxFuture<'_, ()> {
            Box::pin(tokio::time::sleep(duration))
        }
    }
    let mut auth =
        vec![("method", "client-certificate"), ("tenant_id", TENANT), ("client_id", "certified"), ("cert_file", file)];
    auth.extend(key.map(|key| ("key_file", key)));
    let settings = match auth.len() {
        4 => with_auth(azure, [auth[0], auth[1], auth[2], auth[3]]),
        _ => with_auth(azure, [auth[0], auth[1], auth[2], auth[3], auth[4]]),
    };
    let outside = Outside::default();
    let configured = handfast_testkit::configure(&handfast_azure::DEFINITION, settings, &outside);
    let context = Context { clock: std::sync::Arc::new(Now), ..outside.context() };
    let provider = configured.connect(context)?;
    run(async {
        let fetched = provider.fetch(&handfast_testkit::parse("azure:s").locator).await?;
        Ok(handfast_testkit::only(fetched).expose().to_vec())
    })
}

#[test]
fn a_client_certificate_and_its_key_in_one_file_or_two() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    azure.set_up("application", json!({ "tenant": TENANT, "id": "certified", "certificate": CERTIFICATE }));
    let directory = Directory::new();
    directory.write("app.pem", CERTIFICATE);
    let at = CERTIFICATE.find("-----BEGIN CERTIFICATE").expect("it has one");
    directory.write("key.pem", &CERTIFICATE[..at]);
    directory.write("cert.pem", &CERTIFICATE[at..]);
    assert_eq!(by_certificate(&azure, &directory.file("app.pem"), None).expect("both"), b"x");
    assert_eq!(
        by_certificate(&azure, &directory.file("cert.pem"), Some(&directory.file("key.pem"))).expect("two"),
        b"x"
    );
    let lacking = by_certificate(&azure, &directory.file("cert.pem"), None).expect_err("no key");
    assert_text(&lacking, ErrorKind::Denied, "there is none in PEM form in it", "openssl pkcs12");
    directory
        .write("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let encrypted = by_certificate(&azure, &directory.file("cert.pem"), Some(&directory.file("encrypted.pem")));
    assert_text(&encrypted.expect_err("encrypted"), ErrorKind::Denied, "it is encrypted", "openssl pkcs12");
    // A signature of another key.
    let other = handfast_testservers::Authority::new().server();
    directory.write("other.pem", &other.certificate);
    let stranger =
        by_certificate(&azure, &directory.file("other.pem"), Some(&directory.file("key.pem"))).expect_err("not theirs");
    assert_text(&stranger, ErrorKind::Denied, "the key is of none of the certificates in it", "openssl pkcs12");
    // From a chain in any order, the key's own certificate is used, because Entra ID knows only that.
    directory.write("chain.pem", format!("{}\n{CERTIFICATE}", other.certificate));
    assert_eq!(by_certificate(&azure, &directory.file("chain.pem"), None).expect("the second"), b"x");
}

#[test]
fn a_certificate_that_needs_openssl_is_a_configuration_error_with_a_hint() {
    let outside = Outside {
        variables: Variables::default()
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", "certified")
            .with("AZURE_CLIENT_CERTIFICATE_PATH", "/app.pfx"),
        ..Outside::default()
    };
    let missing = handfast_testkit::configure(&handfast_azure::DEFINITION, Default::default(), &outside).missing();
    assert!(
        missing[0].message.contains("a PFX file cannot be read")
            && missing[0].hint.as_ref().is_some_and(|hint| hint.contains("openssl pkcs12")),
        "{missing:?}"
    );
}

#[test]
fn faults_of_an_unused_method_are_no_problem() {
    let variables = || {
        Variables::default()
            .with("AZURE_TENANT_ID", TENANT)
            .with("AZURE_CLIENT_ID", "web")
            .with("AZURE_CLIENT_CERTIFICATE_PATH", "/app.pfx")
            .with("IDENTITY_ENDPOINT", "http://10.0.0.1/token")
            .with_credential("IDENTITY_HEADER", "header")
    };
    let missing = |variables| {
        let outside = Outside { variables, ..Outside::default() };
        handfast_testkit::configure(&handfast_azure::DEFINITION, Default::default(), &outside).missing()
    };
    // The secret is the first method, the certificate the second.
    assert_eq!(missing(variables().with_credential("AZURE_CLIENT_SECRET", "sesame")), []);
    assert_eq!(missing(variables()).len(), 1);
}

#[test]
fn a_token_in_a_file_is_used_unchanged() {
    let Some(azure) = Azure::start() else { return };
    azure.set("s", "x");
    let directory = Directory::new();
    directory.write("token", format!("{}\n", azure.root()));
    directory.write("old", "of yesterday");
    run(async {
        let by = |file: &str| with_auth(&azure, [("method", "token-file"), ("token_file", file)]);
        assert_eq!(connect(by(&directory.file("token")), Variables::default()).value("azure:s").await, b"x");
        let error = connect(by(&directory.file("old")), Variables::default()).error("azure:s").await;
        assert_text(&error, ErrorKind::Denied, "the vault does not take the token", "expired");
    });
}
