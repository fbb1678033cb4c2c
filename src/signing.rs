//! Signatures over records: Ed25519 (RFC 8032), and the keys that check them as JSON Web Keys (RFC 7517, RFC 8037).
//!
//! Pure: secrets are handed in, the same key and text give the same signature. It knows nothing of what it signs and keeps nothing.
//! A key's id is the thumbprint of its public half (RFC 7638), so that an id cannot be given to another key.

use crate::clock::Moment;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt;

/// A key that signs. Shows nothing of itself.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// The key of 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(secret).expect("it refuses nothing but a wrong length"))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref()); // Always 32 (RFC 8032 section 5.1.5).
        PublicKey(bytes)
    }

    /// The signature of a text: always the same for the same text.
    pub fn sign(&self, text: &str) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(text.as_bytes()).as_ref()); // Always 64 (RFC 8032 section 5.1.6).
        Signature(bytes)
    }
}

/// What checks signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its 32 bytes; any will do, but most of what no key made never checks anything.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In base64url without padding, as in a JWK's `x`.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// From [`PublicKey::text`].
    pub fn read(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Its thumbprint (RFC 7638 section 3, RFC 8037 section 2): SHA-256 in base64url.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.text())))
    }

    /// Whether this key's secret signed this text.
    pub fn checks(&self, text: &str, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), &signature.0).is_ok()
    }
}

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// From its 64 bytes.
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature's bytes.
    pub const fn bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// In base64url without padding.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// From [`Signature::text`].
    pub fn read(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// A public key as it is made known: when it began to sign and when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The key.
    pub key: PublicKey,
    /// Records are signed with it from here on.
    pub from_at: Option<Moment>,
    /// It signs no more since; none while it does. What it signed stays good.
    pub until_at: Option<Moment>,
}

/// A JWK set (RFC 7517 section 5) of these keys.
pub fn key_set(keys: &[Published]) -> Value {
    let time = |at: Option<Moment>| at.map(|at| at.to_string());
    let key = |published: &Published| {
        json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": published.key.id(), "x": published.key.text(),
            "from_at": time(published.from_at), "until_at": time(published.until_at),
        })
    };
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() })
}

/// The Ed25519 keys of a JWK set; keys of other kinds are passed over (RFC 7517 section 5). None if it is no set.
pub fn read_key_set(set: &Value) -> Option<Vec<PublicKey>> {
    let ours = |key: &&Value| key["kty"] == "OKP" && key["crv"] == "Ed25519";
    let keys = set.get("keys")?.as_array()?;
    keys.iter().filter(ours).map(|key| PublicKey::read(key["x"].as_str()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, appendix A.1, which is the first of RFC 8032, section 7.1.
    fn key() -> SigningKey {
        let secret = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        SigningKey::new(&secret.try_into().unwrap())
    }

    #[test]
    fn keys_are_those_of_the_standard() {
        // RFC 8037, appendices A.2 and A.3.
        assert_eq!(key().public().text(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key().public().id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 8037, appendix A.4: the text is header and payload of a JWS.
        let text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(key().sign(text).text(), signature);
        assert!(key().public().checks(text, &Signature::read(signature).unwrap()));
    }

    #[test]
    fn another_text_key_or_signature_does_not_pass() {
        let (signature, public) = (key().sign("a"), key().public());
        assert!(public.checks("a", &signature));
        assert!(!public.checks("b", &signature));
        assert!(!SigningKey::new(&[7; 32]).public().checks("a", &signature));
        for byte in 0..64 {
            let mut bytes = *signature.bytes();
            bytes[byte] ^= 1;
            assert!(!public.checks("a", &Signature::new(bytes)), "byte {byte}");
        }
        for text in ["", "A", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"] {
            assert_eq!(PublicKey::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_set_reads_back() {
        let keys = [
            Published { key: key().public(), from_at: Some(Moment::from_unix_ms(0)), until_at: Some(Moment::from_unix_ms(5)) },
            Published { key: SigningKey::new(&[7; 32]).public(), from_at: Some(Moment::from_unix_ms(5)), until_at: None },
        ];
        let mut set = key_set(&keys);
        assert_eq!(set["keys"][0]["until_at"], "1970-01-01T00:00:00.005Z");
        assert_eq!(set["keys"][1]["until_at"], Value::Null);
        set["keys"].as_array_mut().unwrap().push(json!({"kty": "RSA", "n": "AQAB"}));
        assert_eq!(read_key_set(&set), Some(keys.map(|published| published.key).to_vec()));
        assert_eq!(read_key_set(&json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "short"}]})), None);
        assert_eq!(read_key_set(&json!([])), None);
    }
}
