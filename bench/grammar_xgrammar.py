#!/usr/bin/env python3
"""xgrammar along the documents of bench/grammar_bench.cc: microseconds of one token's mask, and what compiling takes.
  bench/grammar_xgrammar.py TOKENIZER_FOLDER        needs xgrammar and transformers
docs/performance.md has both columns."""
import pathlib
import statistics
import sys
import time

import xgrammar
from transformers import AutoTokenizer

SOURCE = (pathlib.Path(__file__).parent / "grammar_bench.cc").read_text()
ARITHMETIC = ('root ::= (expr "=" term "\\n")+\nexpr ::= term ([-+*/] term)*\n'
              'term ::= [a-z]+ ws | [0-9]+ ws | "(" ws expr ")" ws\nws ::= [ \\t]*')


def raw(name):
    """The raw string constant `name` of grammar_bench.cc."""
    text = SOURCE[SOURCE.index('R"(', SOURCE.index(f"constexpr const char* {name}")) + 3:]
    return text[:text.index(')"')]


def walk(grammar, tokens, mask):
    matcher, times = xgrammar.GrammarMatcher(grammar), []
    for token in tokens:
        begin = time.perf_counter()
        matcher.fill_next_token_bitmask(mask)
        times.append((time.perf_counter() - begin) * 1e6)
        if not matcher.accept_token(token):
            raise SystemExit("the document is not of the grammar")
    return times


def main():
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = xgrammar.GrammarCompiler(info, max_threads=2, cache_enabled=False)
    mask = xgrammar.allocate_token_bitmask(1, info.vocab_size)
    cases = {"schema": (lambda: compiler.compile_json_schema(raw("kSchema"), any_whitespace=True, strict_mode=False), raw("kPerson")),
             "json": (compiler.compile_builtin_json_grammar, raw("kAnyJson")),
             "arithmetic": (lambda: compiler.compile_grammar(xgrammar.Grammar.from_ebnf(ARITHMETIC)), "(a +b)*3=12\nx=(((y)))\n")}
    for name, (compile_it, document) in cases.items():
        begin = time.perf_counter()
        grammar = compile_it()
        took = (time.perf_counter() - begin) * 1e3
        tokens = tokenizer.encode(document, add_special_tokens=False)
        cold = walk(grammar, tokens, mask)
        for _ in range(5):
            warm = walk(grammar, tokens, mask)
        print(f"{name}: compiled in {took:.1f} ms; warm median {statistics.median(warm):.1f} us, worst {max(warm):.1f}; "
              f"cold median {statistics.median(cold):.1f}, worst {max(cold):.1f}")


if __name__ == "__main__":
    main()
