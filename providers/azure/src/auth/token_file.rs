//! `token-file`: a token for Key Vault that another program has written, such as `az account get-access-token --resource
//! https://vault.azure.net --query accessToken --output tsv`. The SDK's own credential for the Azure CLI starts a shell, which
//! handfast never does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use handfast_core::{Context, Credential, ProviderError};

/// The token in a file. Its expiry is not known, because a token is opaque to its holder; the vault refuses it then.
struct TokenFile(AccessToken);

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFile")
    }
}

/// Reads the token.
pub fn token(file: &Credential, context: &Context) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    /// Longer than a start takes. The SDK needs an expiry.
    const ASSUMED_LIFETIME: Duration = Duration::from_secs(24 * 3600);
    let text = file.text("token", context)?;
    let ends = context.clock.now() + ASSUMED_LIFETIME;
    Ok(Arc::new(TokenFile(AccessToken::new(Secret::new(text.to_string()), ends.into()))))
}

#[async_trait]
impl TokenCredential for TokenFile {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(self.0.clone())
    }
}
