#!/usr/bin/env python3
"""Sets the files of `fathom quantize` next to those of llama.cpp's llama-quantize: KL divergence from their source.

    tools/compare_quantizers.py source-f32.gguf --llama-quantize LLAMA/bin/llama-quantize --imatrix imatrix.gguf

Both programs make a file of each type from the same source, alone and with the importance matrix; `fathom logits` runs
them all in profile `exact` on windows of a text, so that nothing but the weights differs. Not part of ./test. Needs
numpy. tools/make_quantizer_source.py makes a source of SmolLM2. Of the disk: the source's logits and those of two files
(4 * windows * window * V bytes each), and the files.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy

from compare_llama_cpp import Failure, Fathom, log_softmax, run_in_scratch

TYPES = "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,Q6_K,IQ4_NL,IQ4_XS,Q4_0,Q8_0"
UNWEIGHTED = ("Q8_0",)  # types whose blocks take no notice of importances
# Metadata may differ (names of files), tensors may not.
SAME_SIZE_BYTES = 1 << 16


def make_file(command, path):
    """Runs one quantiser."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode or not path.is_file():
        raise Failure(f"{command[0]}: exit code {result.returncode}: {(result.stderr or result.stdout)[-500:].strip()}")


class Source:
    """The file that both quantise, and what it predicts: log-probabilities, window by window."""

    def __init__(self, args, scratch):
        self.args, self.scratch = args, scratch
        fathom = Fathom(args.fathom, args.source, scratch, args.threads)
        ids = fathom.tokenize(args.text)
        need = args.windows * args.window
        if len(ids) < need:
            raise Failure(f"{args.text}: expected at least {need} tokens, found {len(ids)}")
        self.ids = numpy.array(ids[:need], numpy.int64).reshape(args.windows, args.window)
        self.log_p = [log_softmax(window) for window in self.logits_of(args.source)]

    def logits_of(self, model):
        """[T, V] of each window; the last position predicts nothing of the window and is left out."""
        logits, line = Fathom(self.args.fathom, model, self.scratch, self.args.threads).logits(self.ids, "exact", None)
        path = pathlib.Path(logits.filename)
        path.unlink()  # the mapping keeps it
        if "exact" not in line:
            raise Failure(f"{model}: expected a run of profile exact, found: {line}")
        for window in logits:
            yield window[:-1]

    def divergences(self, model):
        """sum over V of p (log p - log q), p the source's, for each predicted token; in nats."""
        found = []
        for want, logits in zip(self.log_p, self.logits_of(model)):
            found.append((numpy.exp(want) * (want - log_softmax(logits))).sum(axis=1))
        return numpy.concatenate(found)


def compare_type(source, kind, imatrix):
    """The figures of one type; `_se` are standard errors over tokens, of the difference token by token."""
    args, scratch = source.args, source.scratch
    ours, theirs = scratch / "ours.gguf", scratch / "theirs.gguf"
    weighted = ["--imatrix", imatrix] if imatrix else []
    make_file([args.fathom, "quantize", args.source, ours, kind, "--threads", args.threads, *weighted], ours)
    make_file([args.llama_quantize, *weighted, args.source, theirs, kind, args.threads], theirs)
    sizes = [path.stat().st_size for path in (ours, theirs)]
    if abs(sizes[0] - sizes[1]) > SAME_SIZE_BYTES:
        raise Failure(f"{kind}: expected files of one size, found {sizes[0]} and {sizes[1]} bytes")
    kl = [source.divergences(path) for path in (ours, theirs)]
    for path in (ours, theirs):
        path.unlink()
    root = math.sqrt(len(kl[0]))
    return {"type": kind, "imatrix": bool(imatrix), "tokens": len(kl[0]), "bytes": sizes,
            "kl": [float(x.mean()) for x in kl], "kl_se": [float(x.std()) / root for x in kl],
            "difference": float((kl[0] - kl[1]).mean()), "difference_se": float((kl[0] - kl[1]).std()) / root}


def table_row(row):
    """One row of the table in docs/accuracy.md."""
    return (f"| {row['type']}{' with importances' if row['imatrix'] else ''} | {row['bytes'][0] / 1e6:.1f} "
            f"| {row['kl'][0]:.3e} ± {row['kl_se'][0]:.0e} | {row['kl'][1]:.3e} ± {row['kl_se'][1]:.0e} "
            f"| {row['difference']:+.1e} ± {row['difference_se']:.1e} | {row['kl'][0] / row['kl'][1]:.3f} |")


TABLE_HEAD = ("| type | MB | mean KL, Fathom | mean KL, llama.cpp | difference | ratio |\n|---|---|---|---|---|---|")


def parse_arguments():
    """The text that is not given comes from $FATHOM_SHARED."""
    shared = pathlib.Path(os.environ.get("FATHOM_SHARED", "/nonexistent"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="GGUF file that both quantise: F32, F16 or BF16")
    parser.add_argument("--llama-quantize", required=True, help="llama.cpp's program")
    parser.add_argument("--fathom", default="build/release/src/fathom", help="the program (default: %(default)s)")
    parser.add_argument("--imatrix", type=pathlib.Path, help="compare once more, with this importance matrix")
    parser.add_argument("--types", default=TYPES, help="default: %(default)s")
    parser.add_argument("--text", type=pathlib.Path, default=shared / "data/text/wikitext-2-raw-test.txt")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--scratch", type=pathlib.Path, help="folder for files (default: the system's temporary one)")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    return parser.parse_args()


def compare(args, scratch):
    """Prints the table row by row; writes it as JSON where asked."""
    for path in (args.source, args.text):
        if not path.is_file():
            raise Failure(f"{path}: expected a file")
    source = Source(args, scratch)
    rows = []
    print(TABLE_HEAD, flush=True)
    for kind in args.types.split(","):
        for imatrix in [None] + ([args.imatrix] if args.imatrix and kind not in UNWEIGHTED else []):
            rows.append(compare_type(source, kind, imatrix))
            print(table_row(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"format": "fathom.quantizers", "version": 1, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_in_scratch(compare, parse_arguments()))
