//! Input for which vaultrs panics, trusts any server or discloses the token.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use handfast_core::{Complaint, ErrorKind, Problems, Settings, Table};
use handfast_testkit::{Outside, Variables, run, table, text};
use handfast_testservers::{Authority, Directory, Server, write_answer};
use handfast_vault::DEFINITION;
use serde_json::json;

use super::{Guarded, assert_text, fetch, settings};
use crate::support::variables;

/// The problems with the environment, as a start would report them.
fn missing(variables: Variables) -> Vec<Complaint> {
    let (table, fetch) = (Table::default(), Table::default());
    let settings = Settings { instance: "vault".into(), table, fetch: &fetch, environment: &variables };
    let mut problems = Problems::default();
    let missing = (DEFINITION.configure)(settings, &mut problems).missing();
    assert!(problems.is_empty());
    missing
}

#[test]
fn a_line_break_at_the_end_of_a_credentials_file_is_removed_and_one_inside_is_an_error() {
    let Some(guarded) = Guarded::new() else { return };
    let (token, directory) = (guarded.vault.token(&guarded.policies()), Directory::new());
    let file = directory.file("token");
    let auth = [("method", "token"), ("token_file", &*file)];
    for end in ["", "\n", "\r\n", "\n\n", " \n"] {
        directory.write("token", format!("{token}{end}"));
        guarded.logs_in(auth);
    }
    let (first, second) = token.split_at(8);
    for inside in ["\n", "\r\n", "\r", "\0", "\t", "\u{7f}"] {
        directory.write("token", format!("{first}{inside}{second}"));
        let error = guarded.refuses(auth);
        assert_text(&error, &["cannot use the token", &file, "a line break or a control character", "one line"]);
        assert!(!format!("{error:?}").contains(second), "{error:?}");
    }
    // The same in a request's body, which could contain a line break.
    directory.write("jwt", "eyJ.a\nb.c");
    guarded.fails_with([("method", "jwt"), ("jwt_file", &directory.file("jwt"))], &["cannot use the JSON web token"]);
    directory.write("jwt", b"\xff\xfe");
    guarded.fails_with([("method", "jwt"), ("jwt_file", &directory.file("jwt"))], &["it is not UTF-8"]);
    let variables = variables(guarded.vault).with_credential("VAULT_TOKEN", &format!("{first}\n{second}"));
    let error = guarded.refuses_with(Table::default(), variables);
    assert_text(&error, &["cannot use the token: `VAULT_TOKEN` has a line break"]);
}

#[test]
fn a_missing_unreadable_or_empty_credentials_file() {
    let Some(guarded) = Guarded::new() else { return };
    let directory = Directory::new();
    let file = directory.file("token");
    let auth = [("method", "token"), ("token_file", &*file)];
    guarded
        .fails_with(auth, &["cannot read the token", &file, "no such file", "must have written it before this start"]);
    for empty in ["", "\n", " \r\n"] {
        directory.write("token", empty);
        guarded.fails_with(auth, &[&file, "is empty", "must have written it before this start"]);
    }
    let directory_as_file = directory.path().display().to_string();
    guarded.fails_with([("method", "token"), ("token_file", &directory_as_file)], &["cannot read", "a directory"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).expect("it is ours");
    // Root may read it, but the worker may not, since it has no capabilities: tests/stores/vault_logins.rs.
    if !handfast_testservers::is_root() {
        guarded
            .fails_with(auth, &[&file, "permission denied: owned by ", "with mode 0000", "make it readable for uid"]);
    }
}

#[test]
fn an_empty_vault_skip_verify_has_no_effect() {
    let Some(guarded) = Guarded::new() else { return };
    // No authority is configured, so Vault's certificate is not trusted.
    let variables = Variables::default()
        .with("VAULT_ADDR", guarded.vault.address())
        .with("VAULT_SKIP_VERIFY", "")
        .with_credential("VAULT_TOKEN", "hvs.pa55");
    let error = run(fetch(Table::default(), Outside { variables, ..Outside::default() }, &guarded.reference()));
    assert_eq!(error.kind, ErrorKind::Untrusted, "{error:?}");
    assert!(error.message.contains("unknown authority"), "{error:?}");
    // Any other value is refused, unless the configuration allows it too.
    let with = |value: &str| {
        missing(Variables::default().with("VAULT_ADDR", "https://vault").with("VAULT_SKIP_VERIFY", value))
    };
    for no in ["0", "f", "F", "false", "FALSE", "False", " ", " 0\n"] {
        assert_eq!(with(no), [], "{no}");
    }
    for yes in ["1", "t", "T", "true", "TRUE", "True"] {
        assert!(with(yes)[0].message.contains("any server would be taken for Vault"), "{yes}");
    }
    for neither in ["yes", "no", "2", "tRuE"] {
        assert!(with(neither)[0].message.contains("expected a boolean"), "{neither}");
    }
}

#[test]
fn no_login_and_no_token_follows_a_redirect_to_another_origin() {
    // Both origins are test servers, because no real server redirects in this way.
    let authority = Authority::new();
    let listen = || TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let other = Server::json(listen(), Some(&authority.server()), |_| (200, json!({ "data": {} })));
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/v1/elsewhere", other.address());
        let server = Server::start(Some(&authority.server()), move |_, stream| {
            write_answer(stream, status, &[("location", &to)], b"")
        });
        let directory = Directory::new();
        directory.write("ca.pem", authority.pem());
        directory.write("password", "pa55");
        let ca_file = directory.file("ca.pem");
        let outside = |variables: Variables| Outside {
            variables: variables.with("VAULT_CACERT", &ca_file),
            ..Outside::default()
        };
        let file = directory.file("password");
        let mut login = settings([("method", "userpass"), ("username", "web"), ("password_file", &file)]);
        let address = || table([("address", text(&server.address()))]);
        login.merge(address());
        let token = Variables::default().with_credential("VAULT_TOKEN", "hvs.pa55");
        for (table, variables) in [(login, Variables::default()), (address(), token)] {
            let error = run(fetch(table, outside(variables), "vault:kv/db"));
            assert_eq!(error.kind, ErrorKind::Untrusted, "{error:?}");
            assert!(
                error.message.contains("redirects to another origin") && !error.message.contains("pa55"),
                "{error}"
            );
        }
        assert_eq!(server.requests().len(), 2, "{status}");
    }
    assert_eq!((other.connections(), other.requests().len()), (0, 0), "it was never even connected to");
}

#[test]
fn an_invalid_address_is_an_error_and_no_panic() {
    for address in [
        "",
        "vault",
        "vault:8200",
        "127.0.0.1:8200",
        "https://",
        "https://:8200",
        "https://vault:port",
        "https://vault:99999",
        "https://va ult",
        "ftp://vault",
        "http://vault.internal",
        "https://user:pa55@vault",
        "https://[::1",
        "unix://",
        "unix://relative",
        "https://va\nult",
        "https://%zz",
    ] {
        let reported = missing(Variables::default().with("VAULT_ADDR", address));
        assert_eq!(reported.len(), 1, "{address:?}: {reported:?}");
        assert!(!format!("{reported:?}").contains("pa55"), "{reported:?}");
    }
    assert_eq!(missing(Variables::default().with("VAULT_ADDR", "https://vault:8200/")), []);
}

#[test]
fn a_namespace_that_is_no_valid_header_is_an_error_and_no_panic() {
    let Some(guarded) = Guarded::new() else { return };
    let variables = variables(guarded.vault)
        .with("VAULT_NAMESPACE", "team\na")
        .with_credential("VAULT_TOKEN", guarded.vault.root_token());
    let error = run(fetch(Table::default(), Outside { variables, ..Outside::default() }, &guarded.reference()));
    assert!(error.message.contains("x-vault-namespace"), "{error:?}");
}
