"""The page: a static document, a style sheet, an icon and one script, all of them in the wheel."""

from __future__ import annotations

import secrets
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response

from .guard import POLICY

_HERE = Path(__file__).parent
_STATIC = _HERE.parent / "widgets" / "static"
FILES = {
    "board.html": (_HERE / "page" / "board.html", "text/html; charset=utf-8"),
    "board.css": (_HERE / "page" / "board.css", "text/css; charset=utf-8"),
    "board.svg": (_HERE / "page" / "board.svg", "image/svg+xml"),
    "board.js": (_STATIC / "board.js", "text/javascript; charset=utf-8"),
    # Views that a card can bring; the page loads the module of one when it is opened.
    **{path.name: (path, "text/javascript; charset=utf-8") for path in sorted(_STATIC.glob("view-*.js"))},
}
"""Told by name: no path is ever made of what a request says."""


def mount(app: FastAPI) -> None:
    """Add the page's addresses. They need no token: they hold nothing of anybody's."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        # Views bring style elements of their own: those that our script makes pass, any other is refused.
        nonce = secrets.token_urlsafe(16)
        answer = _file("board.html")
        answer.body = bytes(answer.body).replace(b"<script ", f'<script nonce="{nonce}" '.encode())
        answer.headers["Content-Length"] = str(len(answer.body))
        answer.headers["Content-Security-Policy"] = POLICY.replace(
            "style-src 'self'", f"style-src 'self' 'nonce-{nonce}'"
        )
        return answer

    @app.get("/board.css", include_in_schema=False)
    async def style() -> Response:
        return _file("board.css")

    @app.get("/board.svg", include_in_schema=False)
    async def icon() -> Response:
        return _file("board.svg")

    @app.get("/board.js", include_in_schema=False)
    async def script() -> Response:
        return _file("board.js")

    @app.get("/view-{kind}.js", include_in_schema=False)
    async def view(kind: str) -> Response:
        name = f"view-{kind}.js"
        if name not in FILES:
            raise HTTPException(404, "There is no such view.")
        return _file(name)


def _file(name: str) -> Response:
    path, kind = FILES[name]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise HTTPException(500, f"{name} is missing: run `make front` in a git checkout.") from None
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})
