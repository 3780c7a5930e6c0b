//! Users with a password: `userpass` and `ldap`.

use handfast_core::ErrorKind;
use handfast_testkit::{Outside, run, table, text};
use handfast_testservers::{Directory, Ldap, random};
use serde_json::json;

use super::{Guarded, assert_text, fetch, settings, vault_responding};
use crate::support::variables;

#[test]
fn userpass() {
    let Some(guarded) = Guarded::new() else { return };
    let mount = random("people/userpass-");
    let password = guarded.vault.enable_userpass(&mount, "web.app-1", &guarded.policies());
    let directory = Directory::new();
    directory.write("password", format!("{password}\n"));
    let file = directory.file("password");
    let auth = |user| [("method", "userpass"), ("mount", &*mount), ("username", user), ("password_file", &*file)];
    guarded.logs_in(auth("web.app-1"));
    let named =
        settings([("method", "userpass"), ("mount", &mount), ("username", "web.app-1"), ("password_env", "PASS")]);
    let variables = variables(guarded.vault).with_credential("PASS", &password);
    guarded.logs_in_with(named, Outside { variables, ..Outside::default() });
    // Only a line break at the end is removed.
    let odd = " pass w\u{f6}rd \"'\\ ";
    guarded.vault.must(
        "POST",
        &format!("auth/{mount}/users/odd"),
        json!({ "password": odd, "token_policies": guarded.policies() }),
    );
    for end in ["", "\n", "\r\n"] {
        directory.write("password", format!("{odd}{end}"));
        guarded.logs_in(auth("odd"));
    }
    let wrong = random("password-");
    directory.write("password", &wrong);
    for user in ["web.app-1", "nobody"] {
        let error = guarded.refuses(auth(user));
        assert_text(&error, &["cannot log in to Vault by `userpass`", "the name or the password is wrong"]);
        assert!(!format!("{error:?}").contains(&wrong));
    }
    // A name that no user of Vault can have.
    guarded.fails_with(auth("DOMAIN\\us er%2F?#@x"), &["cannot log in to Vault by `userpass`"]);
}

#[test]
fn ldap() {
    let Some(guarded) = Guarded::new() else { return };
    let Some(ldap) = Ldap::start() else { return };
    let mount = random("ldap-");
    guarded.vault.enable_ldap(&mount, &ldap, &guarded.policies());
    let directory = Directory::new();
    directory.write("password", ldap.password());
    let file = directory.file("password");
    let auth = |user| [("method", "ldap"), ("mount", &*mount), ("username", user), ("password_file", &*file)];
    guarded.logs_in(auth(ldap.user()));
    let expected = ["cannot log in to Vault by `ldap`", "the name or the password is wrong"];
    for user in ["nobody", "us er@example.org", "DOMAIN\\user", "50%?#+&/x", "ünïcode"] {
        guarded.fails_with(auth(user), &expected);
    }
    directory.write("password", "wrong");
    guarded.fails_with(auth(ldap.user()), &expected);
    drop(ldap);
    guarded.fails_with(auth("web"), &["Vault does not reach the directory"]);
}

/// With a test server, because this tests only the request.
#[test]
fn any_name_is_one_part_of_the_path_and_the_namespace_is_sent() {
    let directory = Directory::new();
    directory.write("password", "pa55");
    let server = vault_responding(403, "permission denied");
    let file = directory.file("password");
    for (user, mount, path) in [
        ("DOMAIN\\us er", "ldap", "ldap/login/DOMAIN%5Cus%20er"),
        ("50%2F?#&x@y", "a b/c", "a%20b/c/login/50%252F%3F%23&x@y"),
        ("\u{fc}", "auth/\u{fc}/", "%C3%BC/login/%C3%BC"),
    ] {
        server.forget();
        let mut with = settings([("method", "ldap"), ("mount", mount), ("username", user), ("password_file", &file)]);
        with.merge(table([("address", text(&server.address())), ("namespace", text("/team-a/web/"))]));
        let error = run(fetch(with, Outside::default(), "vault:kv/db"));
        assert_text(&error, &["Vault refuses it, or there is no such login method", "in the namespace `team-a/web`"]);
        let requests = server.requests();
        assert_eq!(requests[0].path, format!("/v1/auth/{path}"));
        assert_eq!(requests[0].header("x-vault-namespace"), Some("team-a/web"));
        assert_eq!(requests[0].json(), json!({ "password": "pa55" }));
    }
}

/// With a test server, because the real server has this failure only by chance.
#[test]
fn a_failure_that_is_no_refusal_is_retried() {
    let directory = Directory::new();
    directory.write("password", "pa55");
    let file = directory.file("password");
    for (status, error, kind) in [
        (500, "internal error", ErrorKind::Unavailable),
        (502, "invalid username or password", ErrorKind::Unavailable),
        (503, "Vault is sealed", ErrorKind::Unavailable),
        (500, "invalid username or password", ErrorKind::Denied),
        (500, "invalid username or password: i/o timeout", ErrorKind::Unavailable),
        (400, "what nobody has heard of: pa55", ErrorKind::Denied),
        (403, "what nobody has heard of: pa55", ErrorKind::Denied),
    ] {
        let server = vault_responding(status, error);
        let mut with = settings([("method", "userpass"), ("username", "web"), ("password_file", &file)]);
        with.merge(table([("address", text(&server.address()))]));
        let failure = run(fetch(with, Outside::default(), "vault:kv/db"));
        assert_eq!(failure.kind, kind, "{status} {error}: {failure:?}");
        assert!(!format!("{failure:?}").contains("pa55"), "{failure:?}");
    }
}
