//! The role assignments with the least rights that references need: for each secret, the role that can read its value
//! (learn.microsoft.com/azure/key-vault/general/rbac-guide). Written as commands, and as Bicep.

use std::collections::{BTreeMap, BTreeSet};

use handfast_core::Locator;

use crate::locator;

/// The assignments that these locators need. `vault` is the vault of references that name none.
pub fn assignments(vault: Option<&str>, locators: &[&Locator]) -> String {
    let mut secrets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for locator in locators {
        let Ok(parts) = locator::parts(locator) else { continue };
        let Some(vault) = parts.vault.or(vault) else { continue };
        secrets.entry(vault.to_ascii_lowercase()).or_default().insert(parts.secret.to_ascii_lowercase());
    }
    commands(&secrets) + &main(&secrets) + MODULE
}

/// The commands. Shell variables stand for the unknown values: the place of the vaults, and the identity.
fn commands(secrets: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut text = String::from(
        "# What handfast's references need, and nothing else: by the Azure CLI, or by the Bicep below.\n\
         # SUBSCRIPTION_ID and RESOURCE_GROUP are of the vaults, PRINCIPAL_ID is the object id of the identity that reads.\n\
         # The vaults must use Azure RBAC; access policies know no single secrets.\n",
    );
    for (vault, name) in pairs(secrets) {
        text += &format!(
            "az role assignment create --assignee-object-id \"$PRINCIPAL_ID\" --assignee-principal-type ServicePrincipal \\\n  \
             --role \"Key Vault Secrets User\" \\\n  \
             --scope \"/subscriptions/$SUBSCRIPTION_ID/resourceGroups/$RESOURCE_GROUP/providers/Microsoft.KeyVault/vaults/{vault}/secrets/{name}\"\n"
        );
    }
    text
}

/// The Bicep file that uses the module in [`MODULE`]. Bicep needs a module to assign roles in another resource group than the
/// deployment's.
fn main(secrets: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut text = String::from(
        "\n// main.bicep\n\
         targetScope = 'subscription'\n\
         param subscriptionId string = subscription().subscriptionId\n\
         param resourceGroupName string\n\
         param principalId string\n",
    );
    for (number, (vault, name)) in pairs(secrets).enumerate() {
        text += &format!(
            "module read{number} 'secret.bicep' = {{\n  \
               name: 'read-{number}'\n  \
               scope: resourceGroup(subscriptionId, resourceGroupName)\n  \
               params: {{ vaultName: '{vault}', secretName: '{name}', principalId: principalId }}\n\
             }}\n"
        );
    }
    text
}

/// The module. The number is the id of the role `Key Vault Secrets User`, which is the same everywhere.
const MODULE: &str = "
// secret.bicep
param vaultName string
param secretName string
param principalId string
var roleId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = { name: vaultName }
resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = { parent: vault, name: secretName }
resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(secret.id, principalId, roleId)
  scope: secret
  properties: { roleDefinitionId: roleId, principalId: principalId, principalType: 'ServicePrincipal' }
}
";

fn pairs(secrets: &BTreeMap<String, BTreeSet<String>>) -> impl Iterator<Item = (&str, &str)> {
    secrets.iter().flat_map(|(vault, names)| names.iter().map(move |name| (vault.as_str(), name.as_str())))
}

#[cfg(test)]
mod tests {
    use handfast_core::SecretRef;

    use super::*;

    fn assigned(references: &[&str]) -> String {
        let locators: Vec<_> = references.iter().map(|text| SecretRef::parse(text).unwrap().locator).collect();
        assignments(Some("main"), &locators.iter().collect::<Vec<_>>())
    }

    #[test]
    fn each_secret_has_its_own_scope_whatever_its_version_or_field() {
        let version = "0123456789abcdef0123456789abcdef";
        let text = assigned(&["azure:db#a", "azure:DB", &format!("azure:db?version={version}"), "azure:Web/db"]);
        let scope = |vault: &str| {
            format!("resourceGroups/$RESOURCE_GROUP/providers/Microsoft.KeyVault/vaults/{vault}/secrets/db\"\n")
        };
        assert_eq!(text.matches("az role assignment create").count(), 2, "{text}");
        for vault in ["main", "web"] {
            assert_eq!(text.matches(&scope(vault)).count(), 1, "{text}");
            assert_eq!(text.matches(&format!("vaultName: '{vault}', secretName: 'db'")).count(), 1, "{text}");
        }
        assert!(
            text.contains("--role \"Key Vault Secrets User\"") && text.contains("4633458b-17de-408a-b874-0445c86b69e6"),
            "{text}"
        );
    }

    #[test]
    fn the_text_is_the_same_each_time() {
        assert_eq!(assigned(&["azure:b", "azure:a"]), assigned(&["azure:a", "azure:b"]));
    }
}
