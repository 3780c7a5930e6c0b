//! `policy` for Azure: a role for each secret, as commands and as Bicep, which is read by a parser that is not ours.

use crate::support::Run;
use handfast_testservers::bicep;
use serde_json::{Value, json};

/// `Key Vault Secrets User`, everywhere.
const ROLE: &str = "4633458b-17de-408a-b874-0445c86b69e6";

/// What is printed for two secrets of two vaults.
fn policy() -> String {
    let toml = "[providers.azure]\nvault = \"web\"\n[secrets.a]\nfrom = \"azure:a#x\"\n[secrets.b]\nfrom = \"azure:other/b\"\n";
    let outcome = Run::command("policy").config(toml).start();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    String::from_utf8(outcome.stdout).expect("text")
}

/// Its two files of Bicep: what to deploy, and the module that it uses.
fn files() -> (String, String) {
    let policy = policy();
    let (_, files) = policy.split_once("\n// main.bicep\n").expect("there is one");
    let (main, module) = files.split_once("\n// secret.bicep\n").expect("there is one");
    (main.to_owned(), module.to_owned())
}

fn tree(text: &str) -> Option<Value> {
    bicep(text).map(|tree| tree.unwrap_or_else(|why| panic!("{why}\n{text}")))
}

#[test]
fn each_secret_is_a_command() {
    let text = policy();
    let scope = "/subscriptions/$SUBSCRIPTION_ID/resourceGroups/$RESOURCE_GROUP/providers/Microsoft.KeyVault/vaults";
    for secret in ["web/secrets/a", "other/secrets/b"] {
        assert!(text.contains(&format!("--scope \"{scope}/{secret}\"\n")), "{text}");
    }
    let role = "--role \"Key Vault Secrets User\"";
    assert_eq!((text.matches(role).count(), text.matches("az role assignment create ").count()), (2, 2), "{text}");
}

#[test]
fn each_secret_is_a_module_in_its_vaults_resource_group() {
    let (main, module) = files();
    let Some((main, module)) = tree(&main).zip(tree(&module)) else { return };
    assert_eq!(main["globals"]["scope"]["value"], "subscription");
    assert_eq!(module["globals"]["scope"]["value"], "resourceGroup");
    let there = json!({ "function": { "type": "resource_group", "parameters": {
        "subscription_id": "subscriptionId", "resource_group_name": "resourceGroupName",
    } } });
    let modules = main["modules"].as_object().expect("modules");
    let secrets: Vec<[&Value; 3]> = modules
        .values()
        .map(|own| {
            assert_eq!((&own["detail"]["path"], &own["config"]["scope"]), (&json!("secret.bicep"), &there));
            let given = &own["config"]["params"];
            assert_eq!(names(given), names(&module["parameters"]));
            [&given["vaultName"], &given["secretName"], &given["principalId"]]
        })
        .collect();
    assert_eq!(json!(secrets), json!([["other", "b", "principalId"], ["web", "a", "principalId"]]));
    assert_eq!(names(&main["parameters"]), ["principalId", "resourceGroupName", "subscriptionId"]);
    assert_eq!(names(&main), ["globals", "modules", "parameters"]);
}

#[test]
fn the_module_assigns_one_role_on_the_secret_and_changes_nothing_else() {
    let Some(module) = tree(&files().1) else { return };
    let role = &module["variables"]["roleId"]["value"]["function"];
    assert_eq!(role["type"], "subscription_resource_id");
    assert_eq!(role["parameters"]["resource_type"], "Microsoft.Authorization/roleDefinitions");
    assert_eq!(role["parameters"]["resource_name_1"], ROLE);
    let resource = |kind: &str, version: &str, existing: bool, config: Value| json!({ "decorators": [], "type": kind, "api_version": version, "existing": existing, "config": config });
    let mut resources = module["resources"].clone();
    let name = resources["assignment"]["config"]["name"].take();
    assert_eq!(name["function"]["type"], "guid", "{name}");
    let properties = json!({
        "roleDefinitionId": "roleId", "principalId": "principalId", "principalType": "ServicePrincipal",
    });
    let vault = json!({ "name": "vaultName" });
    let secret = json!({ "parent": "vault", "name": "secretName" });
    let assignment = json!({ "name": null, "scope": "secret", "properties": properties });
    assert_eq!(
        resources,
        json!({
            "vault": resource("Microsoft.KeyVault/vaults", "2023-07-01", true, vault),
            "secret": resource("Microsoft.KeyVault/vaults/secrets", "2023-07-01", true, secret),
            "assignment": resource("Microsoft.Authorization/roleAssignments", "2022-04-01", false, assignment),
        })
    );
    assert_eq!(names(&module), ["globals", "parameters", "resources", "variables"]);
}

/// The control: the parser is one.
#[test]
fn what_is_no_bicep_is_refused() {
    let (main, module) = files();
    for (text, from, to) in [
        (&main, "}\n", ""),
        (&main, " = {", " {"),
        (&module, "'ServicePrincipal'", "'ServicePrincipal"),
        (&module, "resource secret ", "resource "),
        (&module, "@2023-07-01", ""),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(*text, broken);
        let Some(tree) = bicep(&broken) else { return };
        assert!(tree.is_err(), "{broken}");
    }
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
