//! Tests of one token's verdict, with tokens made here and with the published examples of the RFCs.

use super::*;
use crate::jwt::{Oauth, Scope};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use std::time::Duration;

const SECRET: &str = "a secret of more than thirty-two bytes";
const NOW: f64 = 1_800_000_000.0;

fn keys() -> KeySet {
    let mut keys = KeySet::default();
    keys.add_secret(SECRET).unwrap();
    keys
}

fn rules() -> Jwt {
    Jwt {
        audiences: vec!["authenticated".into()],
        roles: vec!["authenticated".into(), "anon".into(), "reader".into()],
        leeway: Duration::from_secs(30),
        ..Jwt::default()
    }
}

fn claims() -> Value {
    json!({"sub": "u1", "aud": "authenticated", "role": "authenticated", "exp": NOW as u64 + 100, "iat": NOW as u64 - 100})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn raw(header: &str, payload: &str, secret: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn token(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn verdict(token: &str, rules: &Jwt) -> Result<Verified, Refusal> {
    verify(token, &keys(), rules, &[], NOW)
}

fn refused(token: &str, rules: &Jwt) -> String {
    match verdict(token, rules) {
        Ok(verified) => panic!("taken: {verified:?}"),
        Err(Refusal::Invalid(message)) => message,
        Err(Refusal::Denied(error) | Refusal::Scope(error)) => error.message,
    }
}

#[test]
fn a_good_token_is_its_role_with_its_claims() {
    let mut claims = with("iss", json!("https://a.example"));
    claims["app_metadata"] = json!({"org": 7});
    claims["Odd-Name"] = json!(1);
    let token = token(&claims);
    let verified = verdict(&token, &rules()).unwrap();
    assert_eq!((verified.role.as_str(), verified.read_only), ("authenticated", false));
    assert_eq!(verified.principal, "jwt:https://a.example:u1");
    assert_eq!(verified.until, NOW + 130.0);
    let signed = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(verified.settings["request.jwt.claims"].as_bytes(), signed, "byte by byte as they came");
    assert_eq!(verified.settings["request.jwt.claim.sub"], "u1");
    assert_eq!(verified.settings["request.jwt.claim.app_metadata"], r#"{"org":7}"#);
    assert!(!verified.settings.keys().any(|name| name.contains("Odd")));
}

#[test]
fn times_are_kept_with_leeway() {
    let now = NOW as i64;
    for good in [with("exp", json!(now - 29)), with("nbf", json!(now + 30)), with("iat", json!(now + 30)), with("exp", json!(NOW + 0.5))] {
        assert!(verdict(&token(&good), &rules()).is_ok(), "{good}");
    }
    for (bad, message) in [
        (with("exp", json!(now - 30)), "expired"),
        (with("exp", json!(-1)), "expired"),
        (without("exp"), "no time of expiry"),
        (with("exp", json!("soon")), "exp is no number"),
        (with("exp", json!(null)), "exp is no number"),
        (with("nbf", json!(now + 31)), "not valid yet"),
        (with("nbf", json!([])), "nbf is no number"),
        (with("iat", json!(now + 31)), "in the future"),
    ] {
        assert!(refused(&token(&bad), &rules()).contains(message), "{bad}");
    }
}

#[test]
fn audience_issuer_client_and_role_are_those_that_are_listed() {
    let strict = Jwt { issuers: vec!["https://a.example".into()], client_ids: vec!["c1".into()], ..rules() };
    let mut good = with("iss", json!("https://a.example"));
    good["client_id"] = json!("c1");
    good["aud"] = json!(["other", "authenticated"]);
    assert!(verdict(&token(&good), &strict).is_ok());
    for (name, value, message) in [
        ("iss", json!("https://a.example/"), "issuer"),
        ("iss", json!(null), "issuer"),
        ("client_id", json!("c2"), "client"),
        ("client_id", json!(null), "client"),
        ("aud", json!("other"), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", json!(["authenticated", 1]), "audience"),
        ("aud", json!(null), "audience"),
        ("role", json!("postgres"), "\"postgres\" is not served"),
        ("role", json!(null), "names no role"),
        ("role", json!(["authenticated"]), "role is no text"),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert!(refused(&token(&bad), &strict).contains(message), "{bad}: {}", refused(&token(&bad), &strict));
    }
}

#[test]
fn an_audience_that_nobody_listed_is_somebody_else() {
    let open = Jwt { audiences: vec![], ..rules() };
    assert!(verdict(&token(&without("aud")), &open).is_ok());
    assert!(refused(&token(&claims()), &open).contains("audience"));
    assert!(refused(&token(&without("aud")), &rules()).contains("no audience"));
    let both = Jwt { audiences: vec!["authenticated".into(), "-".into()], ..rules() };
    assert!(verdict(&token(&without("aud")), &both).is_ok());
    assert!(refused(&token(&with("aud", json!("-"))), &both).contains("audience"));
    let resource = ["https://db.example/mcp".to_string()];
    assert!(verify(&token(&with("aud", json!(resource[0]))), &keys(), &open, &resource, NOW).is_ok());
    assert!(verify(&token(&without("aud")), &keys(), &open, &resource, NOW).is_err());
}

#[test]
fn scopes_choose_the_role_of_the_issuers_tokens_alone() {
    let oauth = Oauth {
        issuer: Some("https://a.example".into()),
        resource: None,
        scopes: Some(["db:all=*", "db:read=reader/read_only"].iter().map(|s| Scope::parse(s).unwrap()).collect()),
    };
    let rules = Jwt { oauth, issuers: vec!["supabase".into()], ..rules() };
    let of = |scope: Value| {
        let mut claims = with("iss", json!("https://a.example"));
        claims["scope"] = scope;
        verdict(&token(&claims), &rules).map(|v| (v.role, v.read_only))
    };
    assert_eq!(of(json!("email db:all db:read")).unwrap(), ("authenticated".into(), false));
    assert_eq!(of(json!(["db:read"])).unwrap(), ("reader".into(), true));
    for none in [json!("email"), json!("db:al"), json!(null), json!({"db:all": true})] {
        assert!(matches!(of(none.clone()), Err(Refusal::Scope(_))), "{none}");
    }
    let other = verdict(&token(&with("iss", json!("supabase"))), &rules).unwrap();
    assert_eq!((other.role.as_str(), other.read_only), ("authenticated", false));
    let nothing = Jwt { oauth: Oauth { scopes: Some(vec![]), ..rules.oauth.clone() }, ..rules.clone() };
    assert!(refused(&token(&with("iss", json!("https://a.example"))), &nothing).contains("scopes"));
}

#[test]
fn headers_that_promise_other_things_are_refused() {
    let payload = claims().to_string();
    for (header, message) in [
        (r#"{"alg":"none"}"#, "algorithm"),
        (r#"{"alg":"HS512"}"#, "algorithm"),
        (r#"{"alg":"hs256"}"#, "algorithm"),
        (r#"{}"#, "algorithm"),
        (r#"{"alg":"ES256"}"#, "not known"),
        (r#"{"alg":"none","alg":"HS256"}"#, "twice"),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "crit"),
        (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, "type"),
        (r#"{"alg":"HS256","typ":1}"#, "type"),
        (r#"{"alg":"HS256","kid":1}"#, "kid"),
        ("[]", "not a JSON object"),
    ] {
        assert!(refused(&raw(header, &payload, SECRET), &rules()).contains(message), "{header}");
    }
    for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"alg":"HS256","typ":"at+JWT","kid":"any","jku":"https://evil.example"}"#] {
        assert!(verdict(&raw(header, &payload, SECRET), &rules()).is_ok(), "{header}");
    }
}

#[test]
fn what_is_no_signed_token_is_refused() {
    let good = token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other = token(&with("sub", json!("u2")));
    let mixed = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    for bad in
        [&mixed, &raw(r#"{"alg":"HS256"}"#, &claims().to_string(), &SECRET.replace('a', "b")), &format!("{message}."), &format!("{good}=")]
    {
        assert!(refused(bad, &rules()).contains("signature is wrong"), "{bad}");
    }
    for bad in ["", "..", "a.b.c", "é.é.é", ".e30.x", "e30=.e30.x"] {
        assert!(!refused(bad, &rules()).is_empty());
    }
    let huge = token(&with("x", json!("x".repeat(7000))));
    assert!(refused(&huge, &rules()).contains("longer than 8192"));
}

#[test]
fn claims_that_can_be_read_in_two_ways_are_refused() {
    let payload = claims().to_string();
    let twice = payload.replace('}', r#","role":"anon"}"#);
    let deep = payload.replace('}', &format!(r#","x":{}{}}}"#, "[".repeat(40), "]".repeat(40)));
    let nul = payload.replace("u1", "u\\u0000");
    for bad in [&twice, &deep, &nul, "[]", "1", "{}{}"] {
        assert!(refused(&raw(r#"{"alg":"HS256"}"#, bad, SECRET), &rules()).starts_with("the claims of the token are"), "{bad}");
    }
}

/// RFC 7515 A.3, RFC 7515 A.2, RFC 8037 A.4: token, its key, and a key of another kind under the same id.
#[test]
fn published_examples_verify_under_their_own_key_alone() {
    let ec =
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let okp = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let set = |key: &str| {
        let mut keys = KeySet::default();
        assert_eq!(keys.add_jwks(&format!(r#"{{"keys":[{key}]}}"#)).unwrap(), Vec::<String>::new());
        keys
    };
    let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let eddsa = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(signed_payload(es256, &set(ec)).is_ok());
    assert_eq!(signed_payload(eddsa, &set(okp)).unwrap(), b"Example of Ed25519 signing");
    for (token, other) in [(es256, okp), (eddsa, ec)] {
        assert!(matches!(signed_payload(token, &set(other)), Err(Refusal::Invalid(m)) if m.contains("not known")));
    }
    let rules = Jwt { audiences: vec![], ..rules() };
    assert!(matches!(verify(es256, &set(ec), &rules, &[], NOW), Err(Refusal::Invalid(m)) if m.contains("expired")));
}

/// The public key, which everybody has, is no secret.
#[test]
fn a_public_key_is_never_a_secret() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let jwks = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    let mut keys = KeySet::default();
    keys.add_jwks(&jwks).unwrap();
    for secret in [x, jwks.as_str()] {
        let forged = raw(r#"{"alg":"HS256","kid":"k"}"#, &claims().to_string(), secret);
        assert!(matches!(verify(&forged, &keys, &rules(), &[], NOW), Err(Refusal::Invalid(m)) if m.contains("not known")));
    }
}

#[test]
fn keys_that_cannot_be_used_are_left_out_and_said() {
    let mut keys = KeySet::default();
    let short = URL_SAFE_NO_PAD.encode([0x80; 128]);
    let padded = URL_SAFE_NO_PAD.encode([vec![0; 128], vec![0x80; 128]].concat());
    let bad = [
        r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_string(),
        r#"{"kty":"OKP","crv":"Ed25519","x":"c2hvcnQ"}"#.into(),
        r#"{"kty":"EC","crv":"P-384","x":"","y":""}"#.into(),
        r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#.into(),
        format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
        format!(r#"{{"kty":"RSA","n":"{padded}","e":"AQAB"}}"#),
        r#"{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.into(),
        r#"{"kty":"OKP","crv":"Ed25519","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.into(),
        r#"{"kty":"OKP","crv":"Ed25519","alg":"ES256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.into(),
        r#"{"kty":"new"}"#.into(),
        "1".into(),
    ];
    let complaints = keys.add_jwks(&format!(r#"{{"keys":[{}]}}"#, bad.join(","))).unwrap();
    assert_eq!(complaints.len(), bad.len(), "{complaints:?}");
    assert_eq!(keys.len(), 0);
    assert!(keys.add_jwks("{}").is_err());
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(text in ".*", parts in proptest::collection::vec(proptest::collection::vec(0u8.., 0..80), 3)) {
        let _ = verdict(&text, &rules());
        let encoded: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        proptest::prop_assert!(verdict(&encoded.join("."), &rules()).is_err());
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed(at in 0usize..10_000, byte in 0x20u8..0x7f) {
        let good = token(&claims());
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        proptest::prop_assert!(changed == good || verdict(&changed, &rules()).is_err());
    }

    #[test]
    fn keys_of_any_shape_never_panic(kty in "EC|RSA|OKP|oct|x", crv in "P-256|P-384|Ed25519|x", x in "[A-Za-z0-9_-]{0,90}", y in "[A-Za-z0-9_-]{0,90}") {
        let mut keys = KeySet::default();
        let jwk = json!({"kty": kty, "crv": crv, "x": x, "y": y, "n": x, "e": y, "k": x});
        let _ = keys.add_jwks(&json!({"keys": [jwk]}).to_string());
        for algorithm in ["ES256", "RS256", "EdDSA"] {
            let forged = raw(&json!({"alg": algorithm}).to_string(), &claims().to_string(), SECRET);
            proptest::prop_assert!(verify(&forged, &keys, &rules(), &[], NOW).is_err());
        }
    }
}
