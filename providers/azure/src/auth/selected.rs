//! The variable that restricts Microsoft's DefaultAzureCredential to one of its credentials
//! (learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains#how-to-customize-defaultazurecredential).

use handfast_core::{Complaint, Environment, excerpt};

/// The variable.
pub const VARIABLE: &str = "AZURE_TOKEN_CREDENTIALS";

/// The credentials, each with its methods here.
const CREDENTIALS: [(&str, &[&str]); 4] = [
    ("prod", ANY),
    ("EnvironmentCredential", &["client-secret", "client-certificate"]),
    ("WorkloadIdentityCredential", &["workload-identity"]),
    ("ManagedIdentityCredential", &["managed-identity"]),
];

const ANY: &[&str] = &["client-secret", "client-certificate", "workload-identity", "managed-identity"];

/// The credentials that need a developer's login. `dev` means all of them.
const DEVELOPERS: [&str; 7] = [
    "dev",
    "AzureCliCredential",
    "AzureDeveloperCliCredential",
    "AzurePowerShellCredential",
    "InteractiveBrowserCredential",
    "VisualStudioCodeCredential",
    "VisualStudioCredential",
];

/// The allowed methods.
pub struct Selected<'e> {
    ways: &'static [&'static str],
    /// The variable's value.
    text: &'e str,
}

/// Reads the variable.
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
    /// Whether a method is allowed.
    pub fn allows(&self, way: &str) -> bool {
        self.ways.contains(&way)
    }

    /// Whether all methods are allowed.
    pub fn is_any(&self) -> bool {
        self.ways == ANY
    }

    /// The error if none of the allowed methods is set up.
    pub fn nothing_set_up(&self, skipped: &[String]) -> Complaint {
        let message = format!("nothing to get a token of Entra ID with: {}", skipped.join("; "));
        Complaint::new(message).hint(format!("`{VARIABLE}` is \"{}\", and allows no other method", excerpt(self.text)))
    }
}
