//! The keys that may sign: what each is, and for which one algorithm it counts.
//!
//! Pure. A key has its algorithm from its own kind, never from a token: a public key is never taken for a secret, nor a secret for a
//! public key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// RFC 7518 wants a secret as long as the hash.
const SHORTEST_SECRET: usize = 32;
/// Bytes of an RSA modulus: 2048 to 4096 bits, which is as much as the library takes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// Keys of one set; a token without a key id costs a try with each of its kind.
const MOST_KEYS: usize = 64;

pub struct Key {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// The keys that may have signed under this algorithm and key id. A key without an id of its own, such as a secret, matches any.
    pub fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.algorithm == algorithm && (id.is_none() || key.id.is_none() || key.id.as_deref() == id))
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Takes a secret for HS256. `Err`: why not.
    pub fn add_secret(&mut self, secret: &str) -> Result<(), String> {
        if secret.len() < SHORTEST_SECRET {
            return Err(format!("is shorter than {SHORTEST_SECRET} bytes and is not used"));
        }
        self.keys.push(Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()) });
        Ok(())
    }

    /// Takes the keys of a JWKS. `Err`: it is none. Keys that are not usable are left out, and said in the list.
    pub fn add_jwks(&mut self, text: &str) -> Result<Vec<String>, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        // No text of the library: it might repeat a key.
        let set: Set = serde_json::from_str(text).map_err(|_| "is not a JWKS: {\"keys\": [...]}".to_string())?;
        let mut complaints = Vec::new();
        for (number, value) in set.keys.into_iter().enumerate() {
            if self.keys.len() >= MOST_KEYS {
                complaints.push(format!("more than {MOST_KEYS} keys; the rest is not used"));
                break;
            }
            match public_key(value) {
                Ok(key) => self.keys.push(key),
                Err(reason) => complaints.push(format!("key number {} is not used: {reason}", number + 1)),
            }
        }
        Ok(complaints)
    }
}

fn public_key(value: serde_json::Value) -> Result<Key, &'static str> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "it is not a JWK")?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return Err("it is not for signatures (use)");
    }
    if jwk.common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err("it is not for verifying (key_ops)");
    }
    // Lengths are checked here because the library takes some of them for granted.
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 && bytes(&key.x) == 32 && bytes(&key.y) == 32 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::EllipticCurve(_) => return Err("only curve P-256 is taken, for ES256"),
        AlgorithmParameters::RSA(key) if RSA_BYTES.contains(&modulus_bytes(&key.n)) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::RSA(_) => return Err("an RSA key has 2048 to 4096 bits"),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 && bytes(&key.x) == 32 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKeyPair(_) => return Err("only curve Ed25519 is taken, for EdDSA"),
        AlgorithmParameters::OctetKey(_) => return Err("it is a secret, which belongs into supabase_mcp.jwt_secret or its file"),
        _ => return Err("its type (kty) is not known"),
    };
    if jwk.common.key_algorithm.is_some_and(|said| said != named) {
        return Err("its algorithm (alg) is none of ES256, RS256, EdDSA, or not of its kind");
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "it is damaged")?;
    Ok(Key { id: jwk.common.key_id, algorithm, key })
}

/// Length of the number itself: zeros in front make no key longer.
fn modulus_bytes(text: &str) -> usize {
    URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.iter().skip_while(|b| **b == 0).count())
}
