#!/usr/bin/env python3
"""Fathom's speed on models of true shapes and random weights, next to rivals: a JSON file and Markdown tables.

  bench/run_matrix.py --folder /big/disk --rival 'llama.cpp=llama-bench -m {model} -p {prompt} ...'

Each run is one `fathom bench`, its answer is kept under "MODEL TYPE RUN" in bench/results/PROCESSOR-DATE.json, and what
is there already is not run again (--out names an older file to go on with). Runs:
  speed        prefill of 512, decoding 64 tokens, time to the first token; with each --rival
  context      decoding after 0 and 8192 tokens
  batch        decoding one sequence and 16 after 1000 tokens; with each --batch-rival, whose command has {batch}
  speculation  the cost of verifying, and the texts of bench/transcripts; needs --tokenizer
docs/performance.md says what the columns mean.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = {"r1-distill-qwen-1.5b": ("Q4_K_M", "Q8_0"), "r1-distill-qwen-7b": ("Q4_K_M", "Q8_0"),
         "deepseek-v2-lite": ("Q4_K_M",), "smollm2-135m": ("Q8_0", "Q4_1")}
ALL_RUNS = "r1-distill-qwen-1.5b Q4_K_M"  # the others: speed
NONE = ["--prompt", "0", "--decode", "0", "--cold-start", "0", "--verify", "0"]
DECODE = ["--prompt", "0", "--cold-start", "0", "--verify", "0"]


def runs(options):
    """{"MODEL TYPE RUN": flags}, in order."""
    texts = [flag for text in ("reasoning", "rewriting", "prose")
             for flag in ("--transcript", str(ROOT / "bench" / "transcripts" / f"{text}.txt"))]
    for shape, types in TYPES.items():
        for model in (f"{shape} {kind}" for kind in types):
            yield f"{model} speed", ["--batch", "0", "--verify", "0", *compare(options.rival)]
            if model != ALL_RUNS:
                continue
            yield f"{model} context", [*DECODE, "--depth", "0,8192", "--batch", "0"]
            yield f"{model} batch", [*DECODE, "--decode", "32", "--depth", "1000", "--batch", "16", "--batch-depth", "1000",
                                     *compare(options.batch_rival)]
            if options.tokenizer:
                yield f"{model} speculation", [*NONE[:-1], "2,4,8", *texts, "--tokenizer", options.tokenizer]


def compare(rivals):
    return [flag for _, command in rivals for flag in ("--compare", command)]


def processor():
    found = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        found[key.strip()] = value.strip()
    return "-".join(found.get(key, "") for key in ("model name", "cpu family", "model"))


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def samples(s):
    return f"{number(s['median'])} ({number(s['min'])} to {number(s['max'])})"


def ratio(r):
    return f"{r['of_medians']:.2f} ({r['min']:.2f} to {r['max']:.2f})" if r else ""


def markdown(kept):
    """The tables, of all runs of the file; its "rivals" are {command: name}."""
    names = kept["rivals"]
    rivals = sorted(set(names.values()))
    speeds, costs, texts = [], [], []
    for key, out in kept["runs"].items():
        model = " ".join(key.split()[:2])
        for r in out["results"]:
            test = f"prefill {r['tokens']}" if r["test"] == "prefill" else f"decode @{r['depth']}"
            if r["sequences"] > 1:
                test = f"decode {r['sequences']}x @{r['depth']}"
            of_peak = r["share_of_peak"] or 0
            share = (out["unit"], of_peak) if of_peak > r["share_of_read"] else ("read", r["share_of_read"])
            against = {names[rival["command"]]: ratio(rival["ratio"]) for rival in r["rivals"]}
            speeds.append([model, test, samples(r["tokens_per_s"]), f"{100 * share[1]:.0f}% {share[0]}", r["state"],
                           *(against.get(name, "") for name in rivals)])
        for p in (out["verify"] or {"passes": []})["passes"][1:]:
            costs.append([model, f"{p['rows']} @{out['verify']['depth']}", ratio(p["cost"]), out["verify"]["state"]])
        for t in out["transcripts"]:
            texts.append([model, t["file"], f"{t['tokens_per_pass']:.2f}", samples(t["tokens_per_s"]),
                          samples(t["tokens_per_s_off"]), ratio(t["ratio"]), t["state"]])
        if out["first_token"]:
            first = out["first_token"]
            speeds.append([model, f"first token, prompt {first['prompt_tokens']}", samples(first["first_token_s"]) + " s",
                           f"load {number(first['load_s']['median'])} s", "", *([""] * len(rivals))])
    tables = ((["model", "test", "tok/s", "share", "state", *(f"/ {name}" for name in rivals)], speeds),
              (["model", "tokens of a pass", "cost / one", "state"], costs),
              (["model", "text", "tokens per pass", "tok/s", "without", "ratio", "state"], texts))
    return "\n".join("".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *rows])
                     for header, rows in tables if rows)


def named_command(text):
    name, equals, command = text.partition("=")
    if not equals or not name or not command:
        raise argparse.ArgumentTypeError(f"expected NAME=CMD, found {text}")
    return name, command


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for the models, up to 9 GB each")
    parser.add_argument("--rival", type=named_command, action="append", default=[], metavar="NAME=CMD")
    parser.add_argument("--batch-rival", type=named_command, action="append", default=[], metavar="NAME=CMD")
    parser.add_argument("--pairs", type=int, default=10, help="measurements of each (default 10)")
    parser.add_argument("--only", default="", help="runs whose key matches this regular expression, as 'smollm2.* speed'")
    parser.add_argument("--tokenizer", help="that of the R1 distillations, or Qwen3's: file, folder or name")
    parser.add_argument("--delete", action="store_true", help="delete each model after its last run")
    parser.add_argument("--out", type=pathlib.Path, help="the JSON file")
    parser.add_argument("--fathom", type=pathlib.Path, default=ROOT / "build" / "release" / "src" / "fathom")
    options = parser.parse_args()
    name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    out = options.out or ROOT / "bench" / "results" / f"{name}-{datetime.date.today()}.json"
    kept = json.loads(out.read_text()) if out.exists() else {"format": "fathom.bench_matrix", "version": 1,
                                                            "rivals": {}, "runs": {}}
    kept["rivals"].update({command: rival for rival, command in options.rival + options.batch_rival})
    todo = [(key, flags) for key, flags in runs(options) if re.search(options.only, key) and key not in kept["runs"]]
    for i, (key, flags) in enumerate(todo):
        shape, kind, _ = key.split()
        model = options.folder / f"{shape}.{kind}.gguf"
        command = [str(options.fathom), "bench", str(model), "--synthetic", shape, "--type", kind, "--json",
                   "--repeat", str(options.pairs), *flags]
        print(f"# {i + 1}/{len(todo)} {key}", file=sys.stderr)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{key}: fathom bench ended with {done.returncode}; what was done before is in {out}")
        kept["runs"][key] = json.loads(done.stdout)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, out)
        if options.delete and not any(other.startswith(f"{shape} {kind} ") for other, _ in todo[i + 1:]):
            model.unlink(missing_ok=True)
    print(markdown(kept), end="")


if __name__ == "__main__":
    main()
