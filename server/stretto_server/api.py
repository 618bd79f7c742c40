"""HTTP for operators: look at, replace and delete a document of the running server.

``GET``, ``PUT {"text"}`` and ``DELETE /api/docs/<id>`` with ``Authorization: Bearer <token>``
of someone whose role on the document is ``owner`` (``GET``: ``viewer``). Answers have the
shape of acks. ``stretto docs`` uses it; applications may.
"""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from stretto_core.errors import InternalError, InvalidRequest, StrettoError, TooLarge
from stretto_core.protocol import is_resource_id
from stretto_server import wire_json
from stretto_server.auth import Action, Principal, TokenVerifier, authorize
from stretto_server.documents import Documents

logger = logging.getLogger(__name__)

_STATUS: Final = {
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "token_expired": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}

Call = Callable[[web.Request, Principal, str], Awaitable[dict[str, Any]]]


def add_document_api(app: web.Application, documents: Documents, verifier: TokenVerifier) -> None:
    """Serve the three calls."""

    async def show(_request: web.Request, who: Principal, doc: str) -> dict[str, Any]:
        authorize(who, f"docs/{doc}", Action.SEE)
        state = await documents.state(doc)
        return {
            "doc": doc,
            "epoch": state.epoch,
            "version": state.version,
            "hash": state.hash,
            "text": state.text,
        }

    async def replace(request: web.Request, who: Principal, doc: str) -> dict[str, Any]:
        authorize(who, f"docs/{doc}", Action.OWN)
        text = await _text_of(request)
        head = await documents.replace(doc, text, user=who.user.id)
        return {"doc": doc, "epoch": head.epoch, "version": head.version, "hash": head.hash}

    async def delete(_request: web.Request, who: Principal, doc: str) -> dict[str, Any]:
        authorize(who, f"docs/{doc}", Action.OWN)
        if not await documents.delete(doc):
            return {"deleted": False}
        return {"deleted": True}

    path = "/api/docs/{doc:.+}"
    app.router.add_get(path, _guarded(verifier, show))
    app.router.add_put(path, _guarded(verifier, replace))
    app.router.add_delete(path, _guarded(verifier, delete))


def _guarded(
    verifier: TokenVerifier, call: Call
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that checks the token and turns what is raised into an answer."""

    async def handle(request: web.Request) -> web.Response:
        try:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            who = verifier.verify(token if kind.lower() == "bearer" else None)
            doc = request.match_info["doc"]
            if not is_resource_id(doc):
                raise InvalidRequest(details={"doc": ["not a valid id"]})
            return _answer(HTTPStatus.OK, {"ok": True, **await call(request, who, doc)})
        except StrettoError as error:
            default = HTTPStatus.SERVICE_UNAVAILABLE if error.retryable else HTTPStatus.BAD_REQUEST
            return _answer(
                _STATUS.get(error.code, default), {"ok": False, "error": error.to_payload()}
            )
        except web.HTTPException:
            raise
        except Exception:  # answered internal_error, and the server goes on
            logger.exception("%s %s failed", request.method, request.path)
            failure = {"ok": False, "error": InternalError().to_payload()}
            return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, failure)

    return handle


async def _text_of(request: web.Request) -> str:
    try:
        body = wire_json.loads(await request.read())
    except ValueError:
        raise InvalidRequest("the body must be JSON") from None
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge("the body is too large") from None
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(details={"text": ["not a string"]})
    return text


def _answer(status: HTTPStatus, payload: dict[str, Any]) -> web.Response:
    return web.Response(
        status=status, text=wire_json.dumps(payload), content_type="application/json"
    )
