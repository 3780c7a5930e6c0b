//! The addresses of vaults and Entra ID in the settings.

use handfast_azure::DEFINITION;
use handfast_core::{Complaint, Problems, Settings, Table, Value};
use handfast_testkit::{Variables, configure, parse, table, text};

fn problems(settings: Table, variables: &Variables) -> (Vec<String>, Vec<String>) {
    let mut problems = Problems::default();
    let (instance, fetch) = ("azure".to_owned(), &Table::default());
    let configured =
        (DEFINITION.configure)(Settings { instance, table: settings, fetch, environment: variables }, &mut problems);
    let problems = problems.into_sorted().into_iter().map(|problem| problem.message).collect();
    (problems, configured.missing().into_iter().map(|complaint| complaint.message).collect())
}

#[test]
fn wrong_settings_are_reported_before_anything_is_fetched() {
    for (settings, expected) in [
        (table([("cloud", text("germany"))]), "`cloud` is \"germany\", which is no cloud"),
        (table([("vault", text("http://web.vault.azure.net"))]), "does not start with `https://`"),
        (
            table([("vault", text("https://web.example"))]),
            "web.example is not under the cloud's domain, `vault.azure.net`",
        ),
        (
            table([("vault", text("https://h.managedhsm.azure.net"))]),
            "is a Managed HSM, which holds keys and no secrets",
        ),
        (table([("vault", text("https://web.vault.azure.net")), ("cloud", text("china"))]), "`vault.azure.cn`"),
        (table([("authority", text("http://login.example"))]), "`authority` is no address of Entra ID"),
        (table([("authority", text("https://login.example/tenant"))]), "`authority` is no address of Entra ID"),
    ] {
        let (problems, _) = problems(settings, &Variables::default());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "{problems:?}");
    }
    for (settings, variables, expected) in [
        (
            Table::default(),
            Variables::default().with("AZURE_AUTHORITY_HOST", "http://login.example"),
            "`AZURE_AUTHORITY_HOST`",
        ),
        (table([("cloud", text("vault.private.example"))]), Variables::default(), "no address of Entra ID"),
    ] {
        let (problems, missing) = problems(settings, &variables);
        assert!(problems.is_empty() && missing.len() == 1 && missing[0].contains(expected), "{problems:?} {missing:?}");
    }
}

#[test]
fn a_reference_names_its_vault_or_the_settings_do() {
    let outside = handfast_testkit::Outside::default();
    let check =
        |settings: Table, reference: &str| configure(&DEFINITION, settings, &outside).check(&parse(reference).locator);
    assert!(check(Table::default(), "azure:web/db").is_ok());
    let Complaint { message, hint } = check(Table::default(), "azure:db").expect_err("no vault");
    let hint = hint.expect("there is one");
    assert!(message.contains("no vault is named") && hint.contains("`vault`"), "{message} {hint}");
    assert!(check(table([("vault", text("web"))]), "azure:db").is_ok());
}

#[test]
fn an_unchecked_address_causes_a_warning() {
    let outside = handfast_testkit::Outside::default();
    let warning = |check: bool| {
        configure(&DEFINITION, table([("endpoint_suffix_check", Value::Boolean(check))]), &outside).warning()
    };
    assert!(warning(false).is_some_and(|text| text.contains("`endpoint_suffix_check = false`")));
    assert_eq!(warning(true), None);
}
