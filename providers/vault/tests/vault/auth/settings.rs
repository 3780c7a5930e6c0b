//! Problems with `auth`, each with its place, and with the variables that replace it.

use handfast_core::{Complaint, Item, Place, Problems, Settings, Table, Value};
use handfast_testkit::{Variables, text};
use handfast_vault::DEFINITION;

/// `auth` in a file, with each key on its own line.
fn read(auth: &[(&str, &str)], variables: &Variables) -> (Vec<String>, Vec<Complaint>) {
    let place = |line: usize, column: usize| Place::File { path: "handfast.toml".into(), line, column };
    let mut inner = Table::default();
    for (line, (key, value)) in auth.iter().enumerate() {
        let value = if *value == "true" { Value::Boolean(true) } else { text(value) };
        inner.set(key, place(line + 2, 1), Item { place: place(line + 2, 10), value });
    }
    let mut table = Table::default();
    if !auth.is_empty() {
        table.set("auth", place(1, 1), Item { place: place(1, 1), value: Value::Table(inner) });
    }
    let mut problems = Problems::default();
    handfast_core::keys::check(&table, "providers.vault", &[DEFINITION.keys], &mut problems);
    let settings = Settings { instance: "vault".into(), table, fetch: &Table::default(), environment: variables };
    let configured = (DEFINITION.configure)(settings, &mut problems);
    let reported = problems.into_sorted().into_iter().map(|problem| {
        let hint = problem.hint.map(|hint| format!(" [{hint}]")).unwrap_or_default();
        format!("{}: {}{hint}", problem.place, problem.message)
    });
    (reported.collect(), configured.missing())
}

fn wrong(auth: &[(&str, &str)], expected: &[&str]) {
    let (problems, _) = read(auth, &Variables::default());
    assert_eq!(problems, expected, "{auth:?}");
}

#[test]
fn each_method_accepts_its_own_keys() {
    for auth in [
        &[("method", "token"), ("token_file", "/t"), ("wrapped", "true")][..],
        &[("method", "approle"), ("mount", "a/b"), ("role_id", "x"), ("secret_id_env", "S"), ("wrapped", "true")],
        &[("method", "approle"), ("role_id_file", "/r"), ("secret_id_file", "/s")],
        &[("method", "kubernetes"), ("role", "web"), ("mount", "clusters/eu"), ("token_file", "/t")],
        &[("method", "jwt"), ("jwt_env", "CI_JOB_JWT")],
        &[("method", "cert"), ("cert_file", "/c"), ("key_file", "/k"), ("role", "web")],
        &[("method", "userpass"), ("username", "web"), ("password_env", "PASS")],
        &[("method", "ldap"), ("username", "CN=web/app,O=x"), ("password_file", "/p")],
        &[("method", "aws"), ("role", "web"), ("header_value", "vault.example.org")],
        &[("method", "azure"), ("role", "web"), ("jwt_file", "/j")],
        &[("method", "gcp"), ("role", "web")],
    ] {
        wrong(auth, &[]);
    }
}

#[test]
fn only_one_method_uses_the_identity_of_another_provider() {
    let identity_of = |method: &str| {
        let mut auth = Table::default();
        auth.set("method", Place::CommandLine, Item { place: Place::CommandLine, value: text(method) });
        let (mut table, mut problems) = (Table::default(), Problems::default());
        table.set("auth", Place::CommandLine, Item { place: Place::CommandLine, value: Value::Table(auth) });
        let (fetch, environment) = (&Table::default(), &Variables::default());
        let settings = Settings { instance: "vault".into(), table, fetch, environment };
        (DEFINITION.configure)(settings, &mut problems).identity_of()
    };
    assert_eq!(identity_of("aws"), Some("aws"));
    assert_eq!(["token", "kubernetes", "azure", "gcp"].map(identity_of), [None; 4]);
}

#[test]
fn every_problem_is_reported_at_its_place() {
    wrong(
        &[
            ("method", "kubernetes"),
            ("token_file", "/t"),
            ("jwt_file", "/j"),
            ("secret_id_env", "S"),
            ("mount", "a//b"),
        ],
        &[
            "handfast.toml:2:10: the login method `kubernetes` needs `role`",
            "handfast.toml:4:10: `auth` has both `token_file` and `jwt_file`",
            "handfast.toml:5:1: the login method `kubernetes` takes no `secret_id_env` [`kubernetes` takes: mount, role, token_file, jwt_file]",
            "handfast.toml:6:10: `mount` is \"a//b\", which has an empty part, `.` or `..`",
        ],
    );
    wrong(
        &[("method", "userpass")],
        &[
            "handfast.toml:2:10: the login method `userpass` needs `password_file` or `password_env`",
            "handfast.toml:2:10: the login method `userpass` needs `username`",
        ],
    );
    wrong(
        &[("method", "ldap"), ("username", ".."), ("password_file", "/p"), ("password_env", "P")],
        &[
            "handfast.toml:3:10: `username` is \"..\", which has an empty part, `.` or `..`",
            "handfast.toml:5:10: `auth` has both `password_file` and `password_env`",
        ],
    );
    wrong(
        &[
            ("method", "approle"),
            ("role_id", "x"),
            ("role_id_env", "R"),
            ("secret_id_file", "/s"),
            ("secret_id_env", "S"),
        ],
        &[
            "handfast.toml:4:10: `auth` has both `role_id` and `role_id_env`",
            "handfast.toml:6:10: `auth` has both `secret_id_file` and `secret_id_env`",
        ],
    );
    wrong(
        &[("method", "jwt"), ("jwt_file", "/j"), ("jwt_env", "J")],
        &["handfast.toml:4:10: `auth` has both `jwt_file` and `jwt_env`"],
    );
    wrong(
        &[("method", "token"), ("token_file", "/j"), ("token_env", "J")],
        &["handfast.toml:4:10: `auth` has both `token_file` and `token_env`"],
    );
    // As the result of "${ROLE_ID:-}" if the variable is not set.
    for (method, key) in
        [("approle", "role_id"), ("kubernetes", "role"), ("token", "token_file"), ("approle", "role_id_env")]
    {
        let mut auth = vec![("method", method), (key, "")];
        auth.extend((key == "role_id_env").then_some(("secret_id_file", "/s")));
        let expected = format!("handfast.toml:3:10: `{key}` is empty [give it a value, or leave it out]");
        wrong(&auth, &[&expected]);
    }
    for (unfit, shown) in [("", ""), ("two words", "two words"), ("line\nbreak", "line…"), ("\u{e9}", "\u{e9}")] {
        let expected = format!("handfast.toml:3:10: `header_value` is \"{shown}\", expected visible ASCII characters");
        wrong(&[("method", "aws"), ("header_value", unfit)], &[&expected]);
    }
    wrong(
        &[("method", "cert"), ("cert_file", "/c")],
        &["handfast.toml:3:10: `auth` has `cert_file` and no `key_file`"],
    );
    wrong(&[("method", "cert"), ("key_file", "/c")], &["handfast.toml:3:10: `auth` has `key_file` and no `cert_file`"]);
}

#[test]
fn unknown_methods_and_keys() {
    const METHODS: &str = "token, approle, kubernetes, jwt, cert, userpass, ldap, aws, azure, gcp, agent";
    wrong(
        &[("method", "kubernets"), ("role", "x")],
        &["handfast.toml:2:10: `method` is \"kubernets\", which is no login method [did you mean `kubernetes`?]"],
    );
    wrong(
        &[("method", "oidc")],
        &[&*format!(
            "handfast.toml:2:10: `method` is \"oidc\", which is no login method [the login methods are: {METHODS}]"
        )],
    );
    wrong(&[("role", "x")], &[&*format!("handfast.toml:2:1: `auth` has no `method` [`method` is one of: {METHODS}]")]);
    // The file cannot contain the values themselves.
    let (problems, _) = read(&[("method", "approle"), ("secret_id", "pa55")], &Variables::default());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("handfast.toml:3:1: ") && !problems[0].contains("pa55"), "{problems:?}");
}

#[test]
fn the_variable_of_a_credential_must_have_a_valid_name() {
    for key in ["token_env", "jwt_env", "secret_id_env", "password_env"] {
        let method = match key {
            "token_env" => "token",
            "jwt_env" => "jwt",
            "secret_id_env" => "approle",
            _ => "userpass",
        };
        let (problems, _) = read(&[("method", method), (key, "no name"), ("username", "x")], &Variables::default());
        let reported =
            problems.iter().any(|problem| problem.starts_with("handfast.toml:3:10: ") && problem.contains(key));
        assert!(reported, "{problems:?}");
    }
}

#[test]
fn variables_that_the_method_lacks() {
    let missing = |pairs: &[(&str, &str)]| {
        let set = |all: Variables, (name, value): &(&str, &str)| all.with(name, value);
        let variables = pairs.iter().fold(Variables::default().with("VAULT_ADDR", "https://vault"), set);
        let (problems, missing) = read(&[], &variables);
        assert_eq!(problems, Vec::<String>::new());
        missing
    };
    for method in ["kubernetes", "azure", "gcp"] {
        let expected = Complaint::new(format!("`VAULT_AUTH_METHOD` is \"{method}\", and `VAULT_ROLE` is not set"))
            .hint("set `VAULT_ROLE`, or write `auth` in [providers.vault]");
        assert_eq!(missing(&[("VAULT_AUTH_METHOD", method)]), [expected]);
        assert_eq!(missing(&[("VAULT_AUTH_METHOD", method), ("VAULT_ROLE", "web")]), []);
    }
    for method in ["approle", "jwt", "cert", "aws", "token"] {
        assert_eq!(missing(&[("VAULT_AUTH_METHOD", method)]), []);
    }
    for method in ["userpass", "ldap"] {
        let reported = missing(&[("VAULT_AUTH_METHOD", method), ("VAULT_ROLE", "web")]);
        assert_eq!(reported.len(), 2);
        assert!(reported.iter().all(|complaint| complaint.message.contains("no variable says its")), "{reported:?}");
    }
    let reported = missing(&[("VAULT_AUTH_METHOD", "kubernets")]);
    assert_eq!(reported[0].message, "`VAULT_AUTH_METHOD` is \"kubernets\", which is no login method");
    assert_eq!(reported[0].hint.as_deref(), Some("did you mean `kubernetes`?"));
}
