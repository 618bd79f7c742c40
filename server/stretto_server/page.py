"""The web page: the built editor, or how to build it; and guests' tokens in ``--dev``."""

import secrets
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from stretto_server.auth import MAX_NAME, issue_token
from stretto_server.settings import Settings, is_loopback

NO_PAGE: Final = (
    "Stretto is running. The web page is not built here: run `make run` in a checkout "
    "(it needs Node.js 20 or newer), or install a released wheel, which contains it.\n"
)
GUEST_TTL_S: Final = 12 * 3600.0


def page_folder() -> Path | None:
    """Return where the built page lies; None when it was not built."""
    folder = Path(str(resources.files("stretto_server"))) / "page"
    return folder if (folder / "index.html").is_file() else None


def add_page(app: web.Application) -> None:
    """Serve the page at ``/`` and its files under ``/assets/``."""
    folder = page_folder()
    if folder is None:
        app.router.add_get("/", _no_page)
        return
    template = (folder / "index.html").read_text(encoding="utf-8")

    async def index(_request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        return web.Response(
            text=template.replace("__CSP_NONCE__", nonce),
            content_type="text/html",
            headers={**_security_headers(nonce), "Cache-Control": "no-cache"},
        )

    app.router.add_get("/", index)
    if (folder / "assets").is_dir():
        app.router.add_static("/assets/", folder / "assets", append_version=False)
    for extra in folder.iterdir():
        if extra.is_file() and extra.name != "index.html":
            app.router.add_get(f"/{extra.name}", _file(extra))


def add_guest_tokens(app: web.Application, settings: Settings) -> None:
    """Give anyone a token: only for ``--dev``, which listens on loopback alone."""

    async def guest(request: web.Request) -> web.Response:
        if not _is_own_page(request):
            raise web.HTTPForbidden(text="guest tokens are for pages of this server only\n")
        try:
            body = await request.json() if request.can_read_body else {}
        except (ValueError, RecursionError):
            raise web.HTTPBadRequest(text="the body must be JSON\n") from None
        name = body.get("name") if isinstance(body, dict) else None
        if name is not None and not isinstance(name, str):
            raise web.HTTPBadRequest(text="name must be a string\n")
        assert settings.secret is not None
        token = issue_token(
            settings.secret,
            f"guest-{secrets.token_hex(4)}",
            name=(name or "").strip()[:MAX_NAME] or "Guest",
            ttl_s=GUEST_TTL_S,
            audience=settings.token_audience,
            issuer=settings.token_issuer,
        )
        return web.json_response({"token": token})

    app.router.add_post("/dev/token", guest)


def _is_own_page(request: web.Request) -> bool:
    """Tell whether a page of this server asks, or no browser at all.

    The owner of any domain can point it at this machine, and then has pages of "the same
    origin"; so the name in the address bar must be one of loopback.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        return False
    try:
        return is_loopback(urlsplit(f"//{request.host}").hostname or "")
    except ValueError:
        return False


def _file(path: Path) -> Handler:
    async def serve(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return serve


async def _no_page(_request: web.Request) -> web.Response:
    return web.Response(text=NO_PAGE)


def _security_headers(nonce: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": (
            "default-src 'self'; "
            f"style-src 'self' 'nonce-{nonce}'; "
            "connect-src 'self' ws: wss:; img-src 'self' data:; "
            "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
