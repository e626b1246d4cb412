"""How long after an event was sent is it on the screen? The page of the board in headless Chromium.

    python benchmarks/sync_paint.py [--rate 100] [--cards 8] [--seconds 10]

`rate` events a second, spread over `cards` running cards, each sent alone as it happens: from just before its POST to
the frame after the page's text changed. Both clocks are this machine's. A step that a later one overtook before it was
drawn counts with the first frame that shows it or a later one.
"""

from __future__ import annotations

import argparse
import bisect
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import write

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests" / name) for name in ("orchestrator", "browser")]
from lab import chromium  # noqa: E402
from senders import Sender, uuid7  # noqa: E402

WATCH = """() => {
  window.painted = [];
  const look = () => {
    for (const card of document.querySelectorAll("article")) {
      const step = Number(/ ([\\d,]+) of /.exec(card.innerText)?.[1]?.replaceAll(",", "") ?? 0);
      if (card.dataset.step === String(step)) continue;
      card.dataset.step = String(step);
      window.painted.push([card.dataset.card, step, performance.timeOrigin + performance.now()]);
    }
  };
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(look)))
    .observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--cards", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", "0"]
        server = subprocess.Popen(
            [*command, "--db", f"{folder}/board.db"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )  # fmt: skip
        try:
            assert server.stdout is not None
            waits = measured(json.loads(server.stdout.readline()), args)
        finally:
            server.terminate()
            server.wait(20)
    found = {f"p{q}_ms": round(float(np.percentile(waits, q)), 1) for q in (50, 90, 99)}
    settings = {**vars(args), "load": round(os.getloadavg()[0], 1)}
    write("sync_paint", settings, [{"events": len(waits), **found, "max_ms": round(max(waits), 1)}])


def measured(told: dict[str, Any], args: argparse.Namespace) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", int(told["url"].rsplit(":", 1)[1]))
    sender, cards = Sender(), [uuid7() for _ in range(args.cards)]

    def post(path: str, value: Any) -> Any:
        kind = "application/cloudevents-batch+json" if path == "/v1/events" else "application/json"
        headers = {"Authorization": f"Bearer {told['token']}", "Content-Type": kind}
        connection.request("POST", path, json.dumps(value), headers)
        return json.loads(connection.getresponse().read())

    post("/v1/events", [sender.start(card) for card in cards])
    sent: dict[str, list[tuple[int, float]]] = {card: [] for card in cards}
    with chromium() as page:
        page.goto(f"{told['url']}/#code={post('/v1/launch-codes', {})['code']}")
        page.locator(".link[data-state=live]").wait_for()
        page.evaluate(WATCH)
        begin = time.time()
        for number in range(int(args.rate * args.seconds)):
            time.sleep(max(0.0, begin + number / args.rate - time.time()))
            card, step = cards[number % len(cards)], number // len(cards) + 1
            sent[card].append((step, 1000 * time.time()))
            post("/v1/events", [sender.progress(card, step)])
        page.wait_for_timeout(1000)
        painted: list[tuple[str, int, float]] = page.evaluate("window.painted")
    waits = []
    for card, steps in sent.items():
        frames = sorted((step, at) for name, step, at in painted if name == card and step)
        for step, at in steps:
            place = bisect.bisect_left(frames, (step, 0.0))
            assert place < len(frames), f"step {step} of a card was never painted"
            waits.append(frames[place][1] - at)
    return waits


if __name__ == "__main__":
    main()
