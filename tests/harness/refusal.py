"""Reading of refusals: a caller may be stopped by HTTP status or by an error of kind `denied`; both are clean answers."""

from .caller import ToolResult


def answer_of(caller, query="select 1"):
    """(HTTP status, ToolResult or None) of one execute_sql call on a new connection."""
    response = caller.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": query}})
    if response.headers.get("Content-Type", "").startswith("application/json"):
        return response.status, ToolResult(response.json()) if b'"jsonrpc"' in response.body else None, response
    return response.status, None, response


def is_served(caller):
    status, result, _ = answer_of(caller)
    return status == 200 and result is not None and not result.is_error and result.protocol_error is None


def refused_with(caller):
    """Text of the refusal; fails when the call was served or answered with anything but a refusal."""
    status, result, response = answer_of(caller)
    text = response.body.decode()
    if status in (401, 403):
        return text
    assert status == 200 and result is not None, response
    assert result.is_error and result.error["kind"] == "denied", response
    return text


def unauthorized(caller):
    """The 401 with its challenge."""
    status, _, response = answer_of(caller)
    assert status == 401, response
    assert response.headers.get("WWW-Authenticate"), response.headers
    return response


def challenges(response):
    """All authentication schemes that a 401 offers, as one text."""
    return ", ".join(response.headers.get_all("WWW-Authenticate"))
