#!/usr/bin/env python3
"""Sets Fathom's accuracy next to llama.cpp's: perplexity, and KL divergence from profile `exact`. Not part of ./test.

    python3 -m venv /tmp/compare
    CMAKE_ARGS=-DGGML_NATIVE=ON /tmp/compare/bin/pip install --no-binary llama-cpp-python numpy llama-cpp-python
    /tmp/compare/bin/python tools/compare_llama_cpp.py --fathom build/release/src/fathom

The defaults take the model, its reference (*.reference.json) and its text from $FATHOM_SHARED. Every engine gets the
same ids: windows of a text, each alone and without BOS; nothing predicts a window's first token, so 511 of 512 count.
All figures are computed here, in double, from the engines' f32 logits. The logits of `exact` stay on the disk meanwhile
(--scratch): 4 * windows * window * V bytes, twice where another profile is compared.
"""
import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy

GGML_TYPES = {"f32": 0, "f16": 1, "bf16": 30}
LLAMA_FTYPE_ALL_F32 = 0


class Failure(Exception):
    """What the person who started the program should read; the message says all."""


@dataclasses.dataclass
class Figures:
    """What one engine's logits are worth on the text, next to those of `exact`; per predicted token, in nats."""
    losses: list = dataclasses.field(default_factory=list)
    extra: list = dataclasses.field(default_factory=list)  # loss - loss of exact
    divergences: list = dataclasses.field(default_factory=list)  # sum over V of p_exact * (log p_exact - log p)
    same_best: list = dataclasses.field(default_factory=list)
    worst_logprob: float = 0.0  # largest |log p - log p_exact| of the text's own tokens

    def add(self, exact, other, ids):
        """One window: logits [T, V] of both, ids [T]. The last row predicts a token outside the window: left out."""
        target = ids[1:]
        want, got = log_softmax(exact[:-1]), log_softmax(other[:-1])
        rows = numpy.arange(len(target))
        extra = want[rows, target] - got[rows, target]
        self.losses.extend(-got[rows, target])
        self.extra.extend(extra)
        self.same_best.extend(want.argmax(axis=1) == got.argmax(axis=1))
        self.worst_logprob = max(self.worst_logprob, float(numpy.abs(extra).max()))
        self.divergences.extend((numpy.exp(want) * (want - got)).sum(axis=1))

    def summary(self):
        """The figures by name; `_se` are standard errors over tokens, the perplexity's one of the paired difference."""
        count = len(self.losses)
        ratio = math.exp(numpy.mean(self.extra))
        return {
            "tokens": count,
            "perplexity": math.exp(numpy.mean(self.losses)),
            "ratio_percent": 100 * (ratio - 1),
            "ratio_percent_se": 100 * ratio * float(numpy.std(self.extra)) / math.sqrt(count),
            "kl": float(numpy.mean(self.divergences)),
            "kl_se": float(numpy.std(self.divergences)) / math.sqrt(count),
            "kl_99": float(numpy.quantile(self.divergences, 0.99)),
            "kl_max": float(numpy.max(self.divergences)),
            "same_best_percent": 100 * float(numpy.mean(self.same_best)),
            "worst_logprob": self.worst_logprob,
        }


def log_softmax(logits):
    """Row by row, in double: l - (m + log(sum of exp(l - m))), m the row's maximum."""
    shifted = logits.astype(numpy.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))


def map_tensor(path, name):
    """One f32 tensor of a safetensors file, mapped and not read; Failure where it is absent or of another type."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    if name not in header or header[name]["dtype"] != "F32":
        raise Failure(f"{path}: expected an F32 tensor {name}, found {sorted(set(header) - {'__metadata__'})}")
    entry = header[name]
    return numpy.memmap(path, numpy.float32, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


class Fathom:
    """The command line program: one call per question, no state."""

    def __init__(self, binary, model, scratch, threads):
        self.binary, self.model, self.scratch, self.threads = binary, model, scratch, threads

    def call(self, *arguments):
        """(stdout, stderr) of one command; Failure with its own message where it fails."""
        result = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, check=False)
        if result.returncode:
            raise Failure(f"{self.binary} {arguments[0]}: exit code {result.returncode}: {result.stderr.strip()}")
        return result.stdout, result.stderr

    def tokenize(self, text):
        """Ids of a text file, control tokens not recognised, no BOS."""
        out, _ = self.call("tokenize", self.model, "--file", text, "--json")
        return json.loads(out)["ids"]

    def logits(self, ids, profile, cache):
        """([windows, T, V] mapped, the run's first line); `cache` None is the profile's own. The caller deletes it."""
        question = self.scratch / "ids.json"
        question.write_text(json.dumps(ids.tolist()))
        answer = self.scratch / f"{profile}-{cache or 'default'}.safetensors"
        flags = ["--profile", profile, "--threads", self.threads] + (["--cache-type", cache] if cache else [])
        _, notes = self.call("logits", self.model, "--ids", question, "--out", answer, *flags)
        return map_tensor(answer, "logits"), notes.splitlines()[0] if notes else ""


def llama_cpp():
    """The module; Failure with the remedy where it is not installed."""
    try:
        import llama_cpp as module
    except ImportError as error:
        raise Failure(f"llama_cpp cannot be imported ({error}); see the head of this file") from error
    return module


def open_llama(model, window, cache, flash, threads):
    """A llama.cpp context of one window, its logits kept for every position."""
    return llama_cpp().Llama(str(model), n_ctx=window, n_batch=window, n_ubatch=window, n_threads=threads,
                             n_threads_batch=threads, n_gpu_layers=0, logits_all=True, verbose=False,
                             type_k=GGML_TYPES[cache], type_v=GGML_TYPES[cache], flash_attn=flash)


def llama_logits(llama, ids):
    """[T, V] of each window, one after the other; a view that the next one overwrites."""
    for row in ids:
        llama.reset()
        llama.eval(row.tolist())
        yield llama.scores[: len(row)]


def write_f32_model(model, path):
    """The same weights dequantised by llama.cpp: what is left of a difference is not the quantised product."""
    module = llama_cpp()
    params = module.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = LLAMA_FTYPE_ALL_F32, True, 2
    if module.llama_model_quantize(str(model).encode(), str(path).encode(), params):
        raise Failure(f"{model}: llama.cpp did not write it in f32")


def read_reference(path):
    """The reference's perplexity and first ids; nothing without a file."""
    return json.loads(path.read_text()) if path else {}


def text_windows(fathom, text, reference, windows, window):
    """ids [windows, window] from the text's start, equal to the reference's first ids."""
    ids = fathom.tokenize(text)
    first = reference.get("text_first_ids", [])
    if ids[: len(first)] != first:
        raise Failure(f"{text}: the first {len(first)} ids are not those of the reference")
    if len(ids) < windows * window:
        raise Failure(f"{text}: expected at least {windows * window} tokens, found {len(ids)}")
    return numpy.array(ids[: windows * window], numpy.int64).reshape(windows, window)


def tokenizers_agree(llama, text, ids):
    """True if llama.cpp splits the windows' text alike, leaving out the last token, which the cut may change."""
    raw = text.read_bytes()[: 16 * ids.size]
    return llama.tokenize(raw, add_bos=False, special=False)[: ids.size - 1] == ids.ravel()[:-1].tolist()


def compare_fathom(fathom, exact, ids, profile, cache):
    """(Figures, what to say of the run) of one profile."""
    logits, line = fathom.logits(ids, profile, cache)
    figures = Figures()
    for window, row in enumerate(ids):
        figures.add(exact[window], logits[window], row)
    path = pathlib.Path(logits.filename)
    del logits
    path.unlink()
    return figures, line


def compare_llama(model, exact, ids, cache, flash, threads):
    """Figures of llama.cpp on one file with one type of KV cache."""
    llama = open_llama(model, ids.shape[1], cache, flash, threads)
    figures = Figures()
    for window, logits in enumerate(llama_logits(llama, ids)):
        figures.add(exact[window], logits, ids[window])
    llama.close()
    return figures


def run_all(args, fathom, ids):
    """Yields (name, summary) row by row, `exact` first."""
    exact, line = fathom.logits(ids, "exact", None)
    print(line, file=sys.stderr)
    figures = Figures()
    for window, row in enumerate(ids):
        figures.add(exact[window], exact[window], row)
    yield "Fathom exact", figures.summary()
    for profile, cache in args.fathom_runs:
        figures, line = compare_fathom(fathom, exact, ids, profile, cache)
        print(line, file=sys.stderr)
        yield f"Fathom {profile}, cache {cache}", figures.summary()
    for cache, flash in args.llama_runs:
        note = ", flash attention" if flash else ""
        figures = compare_llama(args.model, exact, ids, cache, flash, args.threads)
        yield f"llama.cpp, cache {cache}{note}", figures.summary()
    if args.f32_weights:
        path = fathom.scratch / "weights-f32.gguf"
        write_f32_model(args.model, path)
        yield "llama.cpp, weights and cache f32", compare_llama(path, exact, ids, "f32", False, args.threads).summary()


def table_row(name, s):
    """One row of the table in docs/accuracy.md."""
    return (f"| {name} | {s['perplexity']:.5f} | {s['ratio_percent']:+.4f} ± {s['ratio_percent_se']:.4f} "
            f"| {s['kl']:.2e} ± {s['kl_se']:.0e} | {s['kl_99']:.1e} | {s['kl_max']:.1e} "
            f"| {s['same_best_percent']:.2f} | {s['worst_logprob']:.1e} |")


TABLE_HEAD = ("| engine | perplexity | above `exact`, % | mean KL, nats | 99th percentile | largest KL "
              "| same best token, % | largest log p difference |\n|---|---|---|---|---|---|---|---|")


def processor():
    """The processor's name as the system gives it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_llama(args, ids):
    """llama.cpp's build and what its tokenizer says, for the report."""
    module = llama_cpp()
    print(f"llama-cpp-python {module.__version__}: {module.llama_print_system_info().decode()}")
    llama = open_llama(args.model, args.window, "f32", False, args.threads)
    print("llama.cpp's tokenizer gives", "the same ids" if tokenizers_agree(llama, args.text, ids) else "OTHER ids")
    llama.close()


def pairs(text, second):
    """"a:b,c" -> [("a", "b"), ("c", second)]"""
    return [tuple((item.split(":", 1) + [second])[:2]) for item in text.split(",") if item]


def parse_arguments():
    """Paths that are not given come from $FATHOM_SHARED."""
    shared = pathlib.Path(os.environ.get("FATHOM_SHARED", "/nonexistent"))
    parser = argparse.ArgumentParser(description="Perplexity and KL divergence of Fathom and llama.cpp on one file.")
    parser.add_argument("--fathom", default="build/release/src/fathom", help="the program (default: %(default)s)")
    parser.add_argument("--model", type=pathlib.Path, default=shared / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--reference", type=pathlib.Path, help="NAME.reference.json (default: the model's, if there)")
    parser.add_argument("--text", type=pathlib.Path, default=shared / "data/text/wikitext-2-raw-test.txt")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profiles", default="int8:bf16,int8:f32", help="PROFILE:CACHE,... (default: %(default)s)")
    parser.add_argument("--llama", default="f16,f32", help="CACHE or CACHE:flash, ...; '' leaves llama.cpp out (default: %(default)s)")
    parser.add_argument("--f32-weights", action="store_true", help="also llama.cpp on the file dequantised to f32")
    parser.add_argument("--scratch", type=pathlib.Path, help="folder for logits (default: the system's temporary one)")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    args = parser.parse_args()
    args.fathom_runs = pairs(args.profiles, "f32")
    args.llama_runs = [(cache, flash == "flash") for cache, flash in pairs(args.llama, "")]
    for cache, _ in args.llama_runs:
        if cache not in GGML_TYPES:
            parser.error(f"--llama: expected {', '.join(GGML_TYPES)}, found {cache}")
    if args.reference is None:
        beside = args.model.with_name(args.model.stem.lower().replace(".", "-") + ".reference.json")
        args.reference = beside if beside.is_file() else None
    return args


def compare(args, scratch):
    """Prints the report; writes it as JSON where asked."""
    for path in (args.model, args.text):
        if not path.is_file():
            raise Failure(f"{path}: expected a file; set FATHOM_SHARED, or give --model and --text")
    fathom = Fathom(args.fathom, args.model, scratch, args.threads)
    reference = read_reference(args.reference)
    ids = text_windows(fathom, args.text, reference, args.windows, args.window)
    print(f"processor: {processor()}, {os.cpu_count()} cores seen")
    if args.llama_runs or args.f32_weights:
        print_llama(args, ids)
    if "perplexity" in reference:
        print(f"reference ({reference['reference']}): perplexity {reference['perplexity']['ppl_all']:.5f}")
    print(TABLE_HEAD, flush=True)
    rows = {}
    for name, summary in run_all(args, fathom, ids):
        rows[name] = summary
        print(table_row(name, summary), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"format": "fathom.comparison", "version": 1, "rows": rows}, indent=1) + "\n")


def run_in_scratch(compare_all, args):
    """0 done, 1 something is missing or failed; the reason goes to stderr."""
    try:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            compare_all(args, pathlib.Path(scratch))
    except (Failure, OSError, ValueError) as error:
        print(f"{pathlib.Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_in_scratch(compare, parse_arguments()))
