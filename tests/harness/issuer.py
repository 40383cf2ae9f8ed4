"""An issuer of JSON Web Tokens: its keys, its JWKS, and tokens, good ones and any other.

Owns private keys for the length of a test run. Good tokens are made by PyJWT; what that library would refuse to make is put
together from its parts. Judges nothing.
"""

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ALGORITHMS = {
    "ES256": (jwt.algorithms.ECAlgorithm, lambda: ec.generate_private_key(ec.SECP256R1())),
    "RS256": (jwt.algorithms.RSAAlgorithm, lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "EdDSA": (jwt.algorithms.OKPAlgorithm, ed25519.Ed25519PrivateKey.generate),
}


def encode(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    def __init__(self, algorithm, kid):
        self.algorithm, self.kid = algorithm, kid
        self.private = ALGORITHMS[algorithm][1]()

    def jwk(self):
        public = ALGORITHMS[self.algorithm][0].to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def public_pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwks(*keys):
    return json.dumps({"keys": [key.jwk() for key in keys]})


def claims(**changes):
    """What Supabase Auth puts into an access token; None takes a claim out."""
    now = int(time.time())
    base = {"sub": "11111111-1111-4111-8111-111111111111", "aud": "authenticated", "role": "authenticated",
            "iat": now, "exp": now + 600, "email": "ada@example.org", "aal": "aal1", "is_anonymous": False,
            "app_metadata": {"provider": "email"}, "user_metadata": {}}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def signed(key, payload, **header):
    """A token under a key, or under a secret with HS256."""
    if isinstance(key, str):
        return jwt.encode(payload, key, algorithm="HS256", headers=header)
    return jwt.encode(payload, key.private, algorithm=key.algorithm, headers={"kid": key.kid, **header})


def forged(header, payload, secret):
    """Any header and any payload, texts or objects, under an HMAC with any bytes."""
    parts = [encode(part if isinstance(part, str) else json.dumps(part)) for part in (header, payload)]
    message = ".".join(parts)
    return message + "." + encode(hmac.new(secret, message.encode(), hashlib.sha256).digest())
