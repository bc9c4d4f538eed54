#!/usr/bin/env python3
"""One token's grammar mask along the documents of bench/grammar_bench.cc: ours, xgrammar's and llama.cpp's, in turns.

  bench/grammar_rivals.py TOKENIZER_FOLDER --ours build/bench/bench/grammar_bench --llama grammar_llama \\
      --llama-schema schema.gbnf --llama-json object.gbnf \\
      --llama-vocab LLAMA/models/ggml-vocab-qwen2.gguf --rounds 5

Each program is optional: xgrammar is measured where it is installed (with transformers), llama.cpp by the program of
bench/grammar_llama.cc, which says how it is built. schema.gbnf is kSchema, object.gbnf
{"type": "object"} by llama.cpp's own converter, which wants the required keys first and at most one blank: the documents
have the same values, written so. Printed for each grammar: the
median over the walks of a walk's median and worst microseconds, and of the rounds their median, least and greatest.
docs/performance.md has the table."""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

SOURCE = (pathlib.Path(__file__).parent / "grammar_bench.cc").read_text()
ARITHMETIC = ('root ::= (expr "=" term "\\n")+\nexpr ::= term ([-+*/] term)*\n'
              'term ::= [a-z]+ ws | [0-9]+ ws | "(" ws expr ")" ws\nws ::= [ \\t]*')
EQUATIONS = "(a +b)*3=12\nx=(((y)))\n"


def raw(name):
    """The raw string constant `name` of grammar_bench.cc."""
    text = SOURCE[SOURCE.index('R"(', SOURCE.index(f"constexpr const char* {name}")) + 3:]
    return text[:text.index(')"')]


DOCUMENTS = {"schema": raw("kPerson"), "json": raw("kAnyJson"), "arithmetic": EQUATIONS}


class Ours:
    def __init__(self, program):
        self.program = program

    def round(self, name):
        """(compiled ms, median us, worst us)"""
        text = subprocess.run([self.program, f"--benchmark_filter=(warm|compile)/{name}$", "--benchmark_format=json"],
                              check=True, capture_output=True, text=True).stdout
        runs = {b["name"]: b for b in json.loads(text[text.index("{"):])["benchmarks"]}
        warm, compiled = runs[f"warm/{name}"], runs[f"compile/{name}"]
        unit = {"ns": 1e-6, "us": 1e-3, "ms": 1}[compiled["time_unit"]]
        return compiled["cpu_time"] * unit, warm["median_ms"] * 1e3, warm["worst_ms"] * 1e3


class Xgrammar:
    def __init__(self, folder):
        import xgrammar
        from transformers import AutoTokenizer
        self.x = xgrammar
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        info = xgrammar.TokenizerInfo.from_huggingface(self.tokenizer, vocab_size=len(self.tokenizer))
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=2, cache_enabled=False)
        self.mask = xgrammar.allocate_token_bitmask(1, info.vocab_size)

    def compile(self, name):
        if name == "schema":
            return self.compiler.compile_json_schema(raw("kSchema"), any_whitespace=True, strict_mode=False)
        if name == "json":
            return self.compiler.compile_builtin_json_grammar()
        return self.compiler.compile_grammar(self.x.Grammar.from_ebnf(ARITHMETIC))

    def walk(self, grammar, tokens):
        matcher, times = self.x.GrammarMatcher(grammar), []
        for token in tokens:
            begin = time.perf_counter()
            matcher.fill_next_token_bitmask(self.mask)
            times.append((time.perf_counter() - begin) * 1e6)
            if not matcher.accept_token(token):
                raise SystemExit("the document is not of the grammar")
        return times

    def round(self, name):
        begin = time.perf_counter()
        grammar = self.compile(name)
        took = (time.perf_counter() - begin) * 1e3
        tokens = self.tokenizer.encode(DOCUMENTS[name], add_special_tokens=False)
        self.walk(grammar, tokens)
        walks = [self.walk(grammar, tokens) for _ in range(5)]
        return took, statistics.median(map(statistics.median, walks)), statistics.median(map(max, walks))


def in_its_order(document):
    value = json.loads(document)
    first = [key for key in ("name", "age") if key in value]
    return json.dumps({key: value[key] for key in (*first, *(k for k in value if k not in first))}, ensure_ascii=False)


class Llama:
    """llama_sampler_apply over all of the vocabulary, with llama.cpp's own grammars of the same languages."""

    def __init__(self, program, vocab, schema, any_json, folder):
        self.program, self.vocab, self.folder = program, vocab, pathlib.Path(folder)
        grammars = {"schema": pathlib.Path(schema).read_text(), "json": pathlib.Path(any_json).read_text(),
                    "arithmetic": ARITHMETIC}
        for name, text in grammars.items():
            (self.folder / f"{name}.gbnf").write_text(text)
            document = EQUATIONS if name == "arithmetic" else in_its_order(DOCUMENTS[name])
            (self.folder / f"{name}.txt").write_text(document)

    def round(self, name):
        lines = subprocess.run([self.program, self.vocab, self.folder / f"{name}.gbnf", self.folder / f"{name}.txt", "2"],
                               check=True, capture_output=True, text=True).stdout.splitlines()
        walks = [tuple(map(float, line.split())) for line in lines[1:]]
        return float(lines[0]), statistics.median(m for m, _ in walks), statistics.median(w for _, w in walks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", help="the folder of Qwen3's tokenizer.json")
    parser.add_argument("--ours", help="the built grammar_bench")
    parser.add_argument("--llama", help="the built bench/grammar_llama.cc")
    parser.add_argument("--llama-schema", help="kSchema as llama.cpp's converter writes it, in GBNF")
    parser.add_argument("--llama-json", help='{"type": "object"} by the same converter')
    parser.add_argument("--llama-vocab", help="a GGUF file with Qwen's tokenizer, with or without weights")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.llama and not (given.llama_schema and given.llama_json and given.llama_vocab):
        parser.error("--llama needs --llama-vocab, --llama-schema and --llama-json")
    with tempfile.TemporaryDirectory() as folder:
        rivals = {"ours": Ours(given.ours)} if given.ours else {}
        try:
            rivals["xgrammar"] = Xgrammar(given.tokenizer)
        except ImportError as missing:
            print(f"without xgrammar: {missing}")
        if given.llama:
            rivals["llama.cpp"] = Llama(given.llama, given.llama_vocab, given.llama_schema, given.llama_json, folder)
        results = {}
        for _ in range(given.rounds):
            for name in DOCUMENTS:
                for rival, program in rivals.items():
                    results.setdefault((name, rival), []).append(program.round(name))
        for (name, rival), rounds in results.items():
            told = [f"{what} {statistics.median(numbers):.1f} ({min(numbers):.1f}..{max(numbers):.1f}) {unit}"
                    for what, unit, numbers in zip(("compiled", "median", "worst"), ("ms", "us", "us"), zip(*rounds))]
            print(f"{name}, {rival}: " + ", ".join(told))


if __name__ == "__main__":
    main()
