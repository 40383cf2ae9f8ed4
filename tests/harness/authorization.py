"""A small authorization server on loopback: dynamic registration, code with PKCE, signed access tokens, a JWKS.

The protocol is that of the official Python SDK's own authorization server; this file owns what that leaves to its host: who
the user is (always the same, who always consents) and what a token says. Runs in a thread of its own until closed.
"""

import secrets
import threading
import time

import uvicorn
from mcp.server.auth.provider import AccessToken, AuthorizationCode, RefreshToken, construct_redirect_uri
from mcp.server.auth.routes import create_auth_routes
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.shared.auth import OAuthToken
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from .cluster import free_port
from .issuer import Key, claims, jwks, signed
from .waits import wait_until


class AuthorizationServer:
    def __init__(self, scopes, role="authenticated"):
        self.role, self.key = role, Key("ES256", "as-1")
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        # Supabase Auth takes the resource and writes its own audience; a test may want the same.
        self.audience = None
        self.granted = None
        self.clients, self.codes, self.refreshes, self.tokens = {}, {}, {}, []
        # Through the SDK's own settings: they keep the URL as it is, without a slash that the clients would object to.
        routes = create_auth_routes(
            self, AuthSettings(issuer_url=self.issuer, resource_server_url=None).issuer_url,
            client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=scopes, default_scopes=scopes))
        routes.append(Route("/jwks.json", lambda _: Response(self.jwks(), media_type="application/json")))
        config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.server.started, 20, "the authorization server listens")
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(20)

    def jwks(self):
        return jwks(self.key)

    # ---- what the SDK's server asks of its host
    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32), scopes=params.scopes or [], expires_at=time.time() + 60, client_id=client.client_id,
            code_challenge=params.code_challenge, redirect_uri=params.redirect_uri, resource=params.resource,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly)
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        return self.answer(client, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client, refresh_token):
        return self.refreshes.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        del self.refreshes[refresh_token.token]
        return self.answer(client, scopes, refresh_token.resource)

    async def load_access_token(self, token):
        return AccessToken(token=token, client_id="", scopes=[])

    async def revoke_token(self, token):
        return None

    def answer(self, client, scopes, resource):
        scopes = self.granted if self.granted is not None else scopes
        token = self.token(client.client_id, scopes, self.audience or resource)
        refresh = RefreshToken(token=secrets.token_urlsafe(32), client_id=client.client_id, scopes=scopes, resource=resource)
        self.refreshes[refresh.token] = refresh
        return OAuthToken(access_token=token, expires_in=600, scope=" ".join(scopes), refresh_token=refresh.token)

    def token(self, client_id, scopes, audience, **changes):
        payload = claims(iss=self.issuer, aud=audience, role=self.role, client_id=client_id, scope=" ".join(scopes), **changes)
        self.tokens.append(payload)
        return signed(self.key, payload)
