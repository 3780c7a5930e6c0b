//! The variable by which Microsoft's DefaultAzureCredential takes one of its credentials alone
//! (learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains#how-to-customize-defaultazurecredential).

use handfast_core::{Complaint, Environment, excerpt};

/// The variable.
pub const VARIABLE: &str = "AZURE_TOKEN_CREDENTIALS";

/// The ways that a credential stands for.
const CREDENTIALS: [(&str, &[&str]); 4] = [
    ("prod", ANY),
    ("EnvironmentCredential", &["client-secret", "client-certificate"]),
    ("WorkloadIdentityCredential", &["workload-identity"]),
    ("ManagedIdentityCredential", &["managed-identity"]),
];

const ANY: &[&str] = &["client-secret", "client-certificate", "workload-identity", "managed-identity"];

/// Those that need somebody who has logged in: `dev` is all of them.
const DEVELOPERS: [&str; 7] = [
    "dev",
    "AzureCliCredential",
    "AzureDeveloperCliCredential",
    "AzurePowerShellCredential",
    "InteractiveBrowserCredential",
    "VisualStudioCodeCredential",
    "VisualStudioCredential",
];

/// The ways that may be taken.
pub struct Selected<'e> {
    ways: &'static [&'static str],
    /// As it is written.
    text: &'e str,
}

/// What the variable says.
pub fn read(environment: &dyn Environment) -> Result<Selected<'_>, Complaint> {
    let Some(text) = environment.variable(VARIABLE) else { return Ok(Selected { ways: ANY, text: "" }) };
    let is_text = |name: &str| name.eq_ignore_ascii_case(text);
    if let Some((_, ways)) = CREDENTIALS.iter().find(|(name, _)| is_text(name)) {
        return Ok(Selected { ways, text });
    }
    let is = format!("`{VARIABLE}` is \"{}\"", excerpt(text));
    if DEVELOPERS.into_iter().any(is_text) {
        let hint = "unset it; or `auth` in [providers.azure] names another way, such as `token-file`";
        return Err(Complaint::new(format!("{is}: handfast uses no developer's tool")).hint(hint));
    }
    let names = CREDENTIALS.map(|(name, _)| name).join(", ");
    Err(Complaint::new(format!("{is}, which is no credential")).hint(format!("it is one of: {names}")))
}

impl Selected<'_> {
    /// Whether a way may be taken.
    pub fn allows(&self, way: &str) -> bool {
        self.ways.contains(&way)
    }

    /// Whether none is selected.
    pub fn is_any(&self) -> bool {
        self.ways == ANY
    }

    /// That nothing of what is selected is set up.
    pub fn exhausted(&self, passed_over: &[String]) -> Complaint {
        let message = format!("nothing to get a token of Entra ID with: {}", passed_over.join("; "));
        Complaint::new(message).hint(format!("`{VARIABLE}` is \"{}\", and allows no other method", excerpt(self.text)))
    }
}
