//! `token-file`: a token for Key Vault that something else has got, such as
//! `az account get-access-token --resource https://vault.azure.net --query accessToken --output tsv`. The SDK's own way to the
//! Azure CLI starts a shell, which handfast never does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use handfast_core::{Context, Credential, ProviderError};

/// The token of a file. When it ends the vault says: a token is opaque to whoever has it.
struct TokenFile(AccessToken);

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFile")
    }
}

/// Reads the token.
pub fn token(file: &Credential, context: &Context) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    /// Longer than a start takes.
    const AT_LEAST: Duration = Duration::from_secs(24 * 3600);
    let text = file.text("token", context)?;
    let ends = context.clock.now() + AT_LEAST;
    Ok(Arc::new(TokenFile(AccessToken::new(Secret::new(text.to_string()), ends.into()))))
}

#[async_trait]
impl TokenCredential for TokenFile {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(self.0.clone())
    }
}
