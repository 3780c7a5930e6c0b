//! A fake of an issuer of JSON web tokens. Its signatures are real ES256 signatures.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

/// An issuer with its own key.
pub struct Issuer {
    name: String,
    pair: KeyPair,
    signer: EcdsaKeyPair,
}

impl Issuer {
    /// Creates an issuer whose tokens have `iss: NAME`.
    pub fn new(name: &str) -> Self {
        let pair = KeyPair::generate().expect("the system has randomness");
        let signer =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &SystemRandom::new())
                .expect("it is a key of that kind");
        Self { name: name.to_owned(), pair, signer }
    }

    /// The value of `iss` in its tokens.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key in PEM form, for `jwt_validation_pubkeys`.
    pub fn public_key(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The name of the key, `kid` in the tokens.
    pub fn key_id(&self) -> &'static str {
        "key-of-the-tests"
    }

    /// A self-signed certificate of the key.
    pub fn certificate(&self) -> String {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, &self.name);
        params.self_signed(&self.pair).expect("the parameters are good").pem()
    }

    /// A token with this subject and audience, valid for ten minutes.
    pub fn token(&self, subject: &str, audience: &str) -> String {
        self.token_with(subject, audience, json!({}))
    }

    /// A token with additional or changed claims: `exp`, `iat`, `nbf`, …
    pub fn token_with(&self, subject: &str, audience: &str, claims: Value) -> String {
        let now = now();
        let mut all =
            json!({ "iss": self.name, "sub": subject, "aud": [audience], "iat": now, "nbf": now, "exp": now + 600 });
        for (name, value) in claims.as_object().expect("claims are an object") {
            all[name] = value.clone();
        }
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.key_id() });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&all));
        let signature = self.signer.sign(&SystemRandom::new(), signed.as_bytes()).expect("the system has randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token, if this issuer signed it and it has not expired.
    pub fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.der_bytes());
        key.verify(signed.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        (claims["exp"].as_u64()? > now()).then_some(claims)
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}
