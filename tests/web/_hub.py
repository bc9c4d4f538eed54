#!/usr/bin/env python3
"""A hub for models.mjs: prints its address; "hang N" on stdin stops each large file after N bytes, "go" lets all go on."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from _hub_server import Cut, Hub, Repository  # noqa: E402

weights = pathlib.Path(os.environ["FATHOM_MODEL"]).read_bytes()
files = {"x-Q4_K_M.gguf": b"a" * 5_000_000, "x-Q8_0.gguf": b"b" * 9_000_000}
with Hub({"acme/chat": Repository({"x-Q4_1.gguf": weights}), "acme/many": Repository(files)}) as hub:
    print(hub.url, flush=True)
    for line in sys.stdin:
        word, *number = line.split()
        if word == "hang":
            hub.go_on.clear()
            hub.fault = lambda r, n=int(number[0]): Cut(n, hang=True) if r.kind == "store" else None
        else:
            hub.fault = None
            hub.go_on.set()
        print("done", flush=True)
