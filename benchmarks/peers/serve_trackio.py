"""A trackio server on loopback that says where it is: one line of JSON with url and write token."""

from __future__ import annotations

import json
import sys
import threading
from urllib.parse import parse_qs, urlsplit

import trackio

_, local_url, _, full_url = trackio.show(open_browser=False, block_thread=False, server_port=int(sys.argv[1]))
token = parse_qs(urlsplit(full_url).query)["write_token"][0]
print("\nREADY " + json.dumps({"url": local_url, "token": token}), flush=True)
threading.Event().wait()
