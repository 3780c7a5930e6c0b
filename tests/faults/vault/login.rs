//! Faults of the login, and of what is given back.

use std::time::Duration;

use handfast_testservers::{Fault, Rule, random, stranger};

use super::line::{VaultLine, each};
use crate::shared::{Line, SECOND};
use crate::support::Run;

/// The same line with a login by `approle`: who it is, and its secret id.
fn with_login(line: &VaultLine, run: Run) -> (Run, String) {
    let (mount, policy) = (random("approle-"), random("policy-"));
    line.vault.policy(&policy, &format!("path \"secret/data/{}\" {{ capabilities = [\"read\"] }}", line.name));
    let role = line.vault.enable_approle(&mount, &[&policy]);
    let toml = format!(
        "[providers.vault]\nauth = {{ method = \"approle\", mount = \"{mount}\", role_id = \"{}\" }}\n",
        role.role_id
    );
    (run.config(&toml).env("VAULT_SECRET_ID", &role.secret_id), role.secret_id)
}

#[test]
fn a_login_meets_the_same_faults() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let passing = [Fault::Status(503), Fault::Reset, Fault::Truncated].map(|fault| (fault.times(2), 0, ""));
    let lasting = [
        (Fault::Silence, 69, "no answer until the deadline"),
        (Fault::Status(500), 69, "answered 500 Internal Server Error"),
        (Fault::Html, 65, "it answered 200 with an HTML page"),
        (Fault::Status(404), 65, "it answered 404 with an HTML page"),
        (Fault::Status(403), 77, "it answered 403 with an HTML page"),
        (Fault::Huge, 65, "the answer is larger than 8388608 bytes"),
        (Fault::DuplicateKey("client_token"), 65, "Vault's answer cannot be read"),
    ];
    let lasting = lasting.map(|(fault, code, text)| (Rule::from(fault), code, text));
    let cases: Vec<_> = passing.into_iter().chain(lasting).collect();
    each(&cases, |line, (rule, code, text)| {
        line.proxy.add(rule.clone().only("/v1/auth/"));
        let (run, secret_id) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        match code {
            0 => line.starts(&outcome, DEADLINE),
            code => line.fails(&outcome, DEADLINE, *code, text),
        }
        outcome.never_says(&secret_id);
    });
    each(&[()], |line, ()| {
        let other = stranger(&line.authority);
        line.proxy.add(Fault::Redirect(other.address()).on("/v1/auth/"));
        let (run, secret_id) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        line.fails(&outcome, DEADLINE, 69, "it is a standby, and redirects to https://127.0.0.1:");
        outcome.never_says(&secret_id);
        assert_eq!(other.connections(), 0);
    });
}

/// Best effort: the app does not wait longer than two seconds for what is given back, and starts whatever comes of it.
#[test]
fn a_token_that_cannot_be_given_back_holds_up_no_start() {
    const DEADLINE: Duration = Duration::from_secs(10);
    let faults = [Fault::Silence, Fault::Reset, Fault::Status(503), Fault::Huge, Fault::Html];
    each(&faults, |line, fault| {
        line.proxy.add(fault.clone().on("/v1/auth/token/revoke-self"));
        let (run, _) = with_login(line, line.run(DEADLINE));
        let outcome = run.start();
        line.starts(&outcome, SECOND * 4);
        let silent = matches!(fault, Fault::Silence);
        outcome.says(match silent {
            true => "warn: Vault did not take back in 2s what this start does not need; it ends by itself",
            false => "warn: cannot give the login's token back to Vault, which ends by itself: ",
        });
        assert!(
            line.proxy.lines().iter().any(|request| request.ends_with("/v1/auth/token/revoke-self")),
            "{outcome:?}"
        );
    });
}
