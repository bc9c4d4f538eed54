#!/usr/bin/env python3
"""How long the app's search takes over many chats: made up, imported into a server with a store of its own, searched.

Usage: bench/app_search.py FATHOM MODEL [--chats 10000] [--messages 6] [--repeat 20]
MODEL is not loaded. Prints a line per query: hits, the server's processor time for one, then median and slowest time of the whole
request by the clock, which others on a busy machine lengthen; all in ms.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import time
from urllib.parse import quote


def words(rng, vocabulary, count):
    """As languages have it: a few words are most of a text."""
    return " ".join(vocabulary[min(int(rng.paretovariate(0.7)) - 1, len(vocabulary) - 1)] for _ in range(count))


def made_chats(rng, vocabulary, first, count, messages):
    for number in range(first, first + count):
        tree, parent = [], None
        for i in range(messages):
            role = "assistant" if i % 2 else "user"
            tree.append({"id": str(i), "parent": parent, "role": role, "content": words(rng, vocabulary, 120 if i % 2 else 30),
                         "thinking": words(rng, vocabulary, 200) if i % 2 else "", "status": "done"})
            parent = str(i)
        yield {"title": words(rng, vocabulary, 6), "created": 1_700_000_000_000 + number * 1000, "leaf": parent, "messages": tree}


def cpu_seconds(pid):
    """Of a process so far, in steps of 10 ms."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fathom")
    parser.add_argument("model")
    parser.add_argument("--chats", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=50)
    options = parser.parse_args()
    rng = random.Random(1)
    syllables = ["ka", "lo", "mi", "ru", "sen", "tor", "va", "bel", "nu", "fi", "gra", "dü"]
    vocabulary = list(dict.fromkeys("".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(60_000)))
    with tempfile.TemporaryDirectory() as folder:
        store = pathlib.Path(folder) / "store.sqlite"
        server = subprocess.Popen([options.fathom, "serve", options.model, "--lazy", "--port", "0", "--store", str(store),
                                   "--access-log", "off"], stderr=subprocess.PIPE, text=True)
        try:
            for line in server.stderr:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    break
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=600)

            def call(method, path, body=None):
                connection.request(method, f"/app/api/{path}", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                data = response.read()
                assert response.status == 200, data
                return json.loads(data)

            begin = time.perf_counter()
            for first in range(0, options.chats, 500):
                chats = list(made_chats(rng, vocabulary, first, min(500, options.chats - first), options.messages))
                call("POST", "import", json.dumps({"format": "fathom.chats", "version": 1, "chats": chats}))
            print(f"imported {options.chats} chats of {options.messages} messages in {time.perf_counter() - begin:.1f} s; "
                  f"store {store.stat().st_size / 2**20:.0f} MiB")
            common, rare = vocabulary[0], vocabulary[5000]
            queries = {"a rare word": rare, "the most common word": common, "its first letter": common[:1],
                       "three words": f"{vocabulary[40]} {vocabulary[300]} {rare[:4]}", "two common words": f"{common} {vocabulary[1]}",
                       "a common and a missing word": f"{common} xyzzy", "none": "xyzzy",
                       "four letters": next(w for w in vocabulary if len(w) > 5)[:4], "five letters": next(w for w in vocabulary if len(w) > 6)[:5],
                       "six letters": next(w for w in vocabulary if len(w) > 7)[:6]}
            for what, query in queries.items():
                times, busy = [], cpu_seconds(server.pid)
                for _ in range(options.repeat):
                    begin = time.perf_counter()
                    hits = call("GET", f"search?q={quote(query)}")["hits"]
                    times.append((time.perf_counter() - begin) * 1000)
                busy = (cpu_seconds(server.pid) - busy) * 1000 / options.repeat
                print(f"{what:28} {len(hits):3} hits   CPU {busy:6.2f} ms   clock {statistics.median(times):7.2f} ms   slowest {max(times):7.2f} ms")
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
