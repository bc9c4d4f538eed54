#!/usr/bin/env python3
"""Writes the seed corpus, tests/fuzz/corpus/TARGET/*, from the golden files and from small inputs of its own.

Golden GGUF and safetensors files keep their headers; their tensors are cut down to a few values, since a fuzzer wants
small inputs. The same tree gives the same bytes: run it again after a change of the golden files, and look at the diff.
Usage: tests/fuzz/make_corpus.py     (standard library only)
"""
import gzip
import json
import pathlib
import shutil
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
CORPUS = HERE / "corpus"
BREAK = "\n====\n"  # kPartBreak of tests/fuzz/support.h

# GGUF tensor types: id -> (values, bytes) of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98),
          19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
          26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 39: (32, 17)}
U8, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 5, 6, 7, 8, 9, 10
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def save(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


# ---- GGUF

def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_of(kind, value):
    if kind == STRING:
        return text(value)
    return struct.pack({U8: "<B", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}[kind], value)


def key(name, kind, value, element=None):
    if kind != ARRAY:
        return text(name) + struct.pack("<I", kind) + value_of(kind, value)
    return text(name) + struct.pack("<IIQ", ARRAY, element, len(value)) + b"".join(value_of(element, v) for v in value)


def gguf_file(keys, tensors, version=3, alignment=32):
    """tensors: (name, ne innermost first, type)."""
    infos, data = b"", b""
    for name, ne, kind in tensors:
        values, size = BLOCKS[kind]
        count = 1
        for n in ne:
            count *= n
        infos += text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne)
        infos += struct.pack("<IQ", kind, len(data))
        data += bytes((7 * i + kind) % 251 for i in range(count // values * size))
        data += bytes(-len(data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % alignment) + data


def golden_keys(path):
    """The metadata entries of a golden file as bytes, the tokenizer's lists left out."""
    data, at, keys = path.read_bytes(), 24, []

    def skip(kind):
        nonlocal at
        if kind == STRING:
            at += 8 + struct.unpack_from("<Q", data, at)[0]
        elif kind == ARRAY:
            element, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count):
                skip(element)
        else:
            at += SIZES[kind]

    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        begin = at
        skip(STRING)
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        skip(kind)
        if b"tokenizer." not in data[begin:begin + 40]:
            keys.append(data[begin:at])
    return keys


def vocabulary():
    """Tokens, merges and kinds: most of ASCII, the bytes of a few others, some merges, added tokens."""
    tokens = [chr(c) for c in range(33, 127)] + list("ĠĊčĉ") + ["ÿ", "ä", "½", "ł", "å", "¥", "Ã", "©"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("Ġw", "o"), ("1", "2"), ("Ġ", "Ġ")]
    tokens += [a + b for a, b in merges]
    added = ["<s>", "</s>", "<think>", "<|im_end|>"]
    return tokens + added, merges, [1] * len(tokens) + [3, 3, 4, 3]


def tokenizer_keys(pre="gpt-2", full=True):
    tokens, merges, kinds = vocabulary()
    if not full:
        tokens, merges, kinds = ["a", "b", "ab", "<s>"], [("a", "b")], [1, 1, 1, 3]
    return [key("tokenizer.ggml.model", STRING, "gpt2"), key("tokenizer.ggml.pre", STRING, pre),
            key("tokenizer.ggml.tokens", ARRAY, tokens, STRING), key("tokenizer.ggml.token_type", ARRAY, kinds, I32),
            key("tokenizer.ggml.merges", ARRAY, [" ".join(m) for m in merges], STRING),
            key("tokenizer.ggml.bos_token_id", U32, tokens.index("<s>")),
            key("tokenizer.ggml.eos_token_id", U32, len(tokens) - 1),
            key("tokenizer.ggml.add_bos_token", BOOL, True), key("tokenizer.chat_template", STRING, "{{ messages }}")]


def make_gguf():
    for name in ("llama3", "qwen2", "qwen3-moe", "v2-lite", "v3-mtp", "v3-legacy.Q8_0"):
        path = GOLDEN / "gguf" / f"{name}.gguf"
        tensors = [("token_embd.weight", [32, 2], 0), ("blk.0.attn_q.weight", [32, 2], 8),
                   ("blk.1.ffn_gate_exps.weight", [32, 1, 2], 2), ("blk.0.attn_k_b.weight", [16, 2, 1], 30)]
        save("gguf", name, gguf_file(golden_keys(path) + tokenizer_keys(full=False), tensors))
    for kind, (values, _) in BLOCKS.items():
        save("gguf", f"type-{kind}", gguf_file([key("general.architecture", STRING, "llama")], [("t", [values, 2], kind)]))
    for pre in ("gpt-2", "qwen2", "llama-bpe", "deepseek-v3", "deepseek-llm", "deepseek-coder", "smollm"):
        save("gguf", f"tokenizer-{pre}", gguf_file(tokenizer_keys(pre, full=pre == "gpt-2"), []))
    every = [key(f"k{kind}", kind, {STRING: "text", BOOL: True, F32: 0.5}.get(kind, 1))
             for kind in (U8, U32, I32, F32, BOOL, STRING, U64)]
    every += [key("list", ARRAY, [1, -2, 3], I32), key("texts", ARRAY, ["", "a"], STRING),
              key("flags", ARRAY, [True, False], BOOL), key("none", ARRAY, [], F32)]
    save("gguf", "every-type", gguf_file(every, []))
    save("gguf", "aligned-64", gguf_file([key("general.alignment", U32, 64)], [("a", [3], 0), ("b", [4], 24)],
                                         alignment=64))
    save("gguf", "version-2", gguf_file(every[:2], [("a", [3], 0)], version=2))
    save("gguf", "split", gguf_file([key("split.no", U32, 0), key("split.count", U32, 2)], [("a", [3], 0)]))


# ---- safetensors

def safetensors_file(header, size, pad=True):
    data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    data += b" " * (-len(data) % 8 if pad else 0)
    return struct.pack("<Q", len(data)) + data + bytes((5 * i) % 251 for i in range(size))


def make_safetensors():
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
             "BOOL": 1}
    header, end = {"__metadata__": {"format": "pt", "é": "\n"}}, 0
    for dtype, size in sizes.items():
        header[dtype.lower()] = {"dtype": dtype, "shape": [2, 3], "data_offsets": [end, end + 6 * size]}
        end += 6 * size
        one = {"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}
        save("safetensors", f"type-{dtype}", safetensors_file(one, 2 * size))
    save("safetensors", "every-type", safetensors_file(header, end))
    save("safetensors", "empty", safetensors_file({}, 0))
    save("safetensors", "scalar", safetensors_file({"s": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, 4))
    save("safetensors", "no-values", safetensors_file({"s": {"dtype": "F32", "shape": [0, 4], "data_offsets": [0, 0]}}, 0))
    save("safetensors", "unaligned", safetensors_file(
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
         "b": {"dtype": "F32", "shape": [1, 1, 1, 1], "data_offsets": [1, 5]}}, 5, pad=False))
    raw = b'{"a\\u00e9\\n":{"shape":[1],"dtype":"U8","data_offsets":[0,1]}}'
    save("safetensors", "escapes", struct.pack("<Q", len(raw)) + raw + b"x")


# ---- config.json

def make_config():
    generation = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "repetition_penalty": 1.05,
                  "do_sample": True, "eos_token_id": [1, 2]}
    for path in sorted((GOLDEN / "models").glob("*/config.json")):
        data = json.dumps(json.loads(path.read_text()), separators=(",", ":"))
        save("config", path.parent.name, data + BREAK + json.dumps(generation, separators=(",", ":")))
    base = {"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": None,
            "intermediate_size": 96, "vocab_size": 64, "num_hidden_layers": 2}
    save("config", "small", json.dumps(base))
    save("config", "parameters", json.dumps({**base, "rope_parameters": {"rope_type": "llama3", "factor": 8.0,
         "rope_theta": 5e5, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}))
    save("config", "linear", json.dumps({**base, "rope_scaling": {"type": "linear", "factor": 2}, "head_dim": 16}))


# ---- tokenizer.json

def tokenizer_json(pre, **more):
    tokens, merges, _ = vocabulary()
    count = len(tokens) - 4
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens[:count])},
             "merges": more.pop("merges", [" ".join(m) for m in merges])}
    added = [{"id": count + i, "content": t, "special": t != "<think>"} for i, t in enumerate(tokens[count:])]
    model.update(more.pop("model", {}))
    return {"added_tokens": added, "pre_tokenizer": pre, "model": model, **more}


def make_tokenizer():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    split = lambda pattern: {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    dump = lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    settings = dump({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "pad_token": None,
                     "chat_template": "{{ messages }}"})
    save("tokenizer", "gpt-2", dump(tokenizer_json({**byte_level, "use_regex": True},
                                                   decoder={"type": "ByteLevel"})) + BREAK + settings)
    qwen = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
            r"|\s+(?!\S)|\s+")
    _, merges, _ = vocabulary()
    save("tokenizer", "qwen", dump(tokenizer_json(
        {"type": "Sequence", "pretokenizers": [split({"Regex": qwen}), byte_level]}, normalizer={"type": "NFC"},
        merges=[list(m) for m in merges])))
    save("tokenizer", "pattern", dump(tokenizer_json(
        {"type": "Sequence", "pretokenizers": [split({"Regex": r"\p{N}{1,3}|[a-z]+(?=x)"}), split({"String": "."}),
                                               {"type": "Digits", "individual_digits": True}, byte_level]},
        model={"ignore_merges": True},
        post_processor={"type": "Sequence", "processors": [byte_level, {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}]}]})))
    small = {"model": {"vocab": {"a": 0, "b": 1, "ab": 3}, "merges": ["a b"]}, "pre_tokenizer": byte_level}
    save("tokenizer", "small", dump(small) + BREAK + dump({"chat_template": [{"name": "default", "template": "x"}]}))


# ---- chat templates

TEMPLATES = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message.content + '<|im_end|>'"
              " + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "system": "{%- if messages[0].role == 'system' -%}{%- set s = messages[0]['content'] | trim -%}{%- set messages ="
              " messages[1:] -%}{%- else -%}{%- set s = '' -%}{%- endif -%}{{ bos_token ~ s }}{{ messages|length }}",
    "namespace": "{% set ns = namespace(n=0, first=true, text='') %}{% for m in messages %}{% if loop.first and not"
                 " loop.last %}{% set ns.n = ns.n + loop.index0 %}{% endif %}{% set ns.text = ns.text ~ m.content|upper"
                 " %}{% endfor %}{{ ns.text }}{{ ns.n }}",
    "tools": "{% if tools is defined and tools %}{% for t in tools %}{{ t | tojson(indent=2) }}{{ t.function.name }}"
             "{% endfor %}{% endif %}{% for m in messages if m.tool_calls %}{{ m.tool_calls[0].function.arguments |"
             " tojson }}{% endfor %}",
    "macro": "{% macro show(x, end='\\n') %}[{{ x }}]{{ end }}{% endmacro %}{% for m in messages %}{{ show(m.role) }}"
             "{{ show(m.content, end='') }}{% endfor %}",
    "think": "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n')"
             " }}{% else %}{{ m.content|replace('a', 'b') }}{% endif %}{% endfor %}{{ '<think>\\n' }}",
    "methods": "{{ messages[0].content.strip().startswith('x') }}{{ 'a,b'.split(',') | join(eos_token) }}{{ {'a': 1}"
               ".items() | list }}{{ messages | map(attribute='role') | list }}{{ messages | selectattr('role',"
               " 'equalto', 'user') | list | length }}{{ [3, 1, 2] | sort | first }}{{ messages[::-1][0].role.title() }}",
    "arithmetic": "{{ 7 // 2 + 7 % 3 * 2 ** 5 - 1.5 }}{{ 1 < 2 <= 3 and not false or none }}{{ 'a' if 1 else 'b' }}"
                  "{{ -3 | abs }}{{ '%s %d %.2f' % ('x', 3, 0.5) }}{{ '{} {a}'.format(1, a=2) }}{{ range(3)|list }}",
    "errors": "{% if messages|length > 9 %}{{ raise_exception('no: ' ~ messages) }}{% endif %}{# note #}{{ undefined }}"
              "{% raw %}{{ x }}{% endraw %}{{ strftime_now('%Y-%m-%d') }}",
    "strings": "{% set c = messages[0].content %}{{ c[1:-1] }}{{ c|capitalize }}{{ c.find('a') }}{{ c|string|list }}"
               "{{ c ~ c|e }}{{ c|indent(2) }}{{ c|wordcount }}{{ c.upper().lower()|title }}{{ c|default('d') }}"
               "{% filter upper %}{{ c }}{% endfilter %}{% set b %}{{ c }}{% endset %}{{ b|length }}",
    "control": "{% for k, v in {'a': 1, 'b': 2}.items() %}{% if v is odd %}{% continue %}{% elif v > 5 %}{% break %}"
               "{% endif %}{{ k }}={{ v }}{% else %}none{% endfor %}{% generation %}x{% endgeneration %}",
    "recursive": "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}{{ caller is defined }}"
                 "{% call(x) f(1) %}{{ x }}{% endcall %}{{ dict(a=1)|dictsort }}{{ [1,[2,3]]|string|tojson }}",
}


def make_templates():
    for name, source in TEMPLATES.items():
        save("chat_template", name, source)


# ---- model outputs

def make_outputs():
    begin, end, call, sep, done = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
                                   "<｜tool▁call▁end｜>")
    v3 = call + "function" + sep + 'f\n```json\n{"x": 1.0}\n```' + done
    outputs = {
        "think": "Let me see.\n</think>\n\nIt is 4.", "empty": "<think>\n\n</think>\n\nHi \n",
        "v3": "t</think>" + begin + v3 + "\n" + v3 + end + " and on",
        "v31": begin + call + "get" + sep + '{"a": [1, 2]}' + done + end,
        "broken": begin + call + "function" + sep + 'f\n```json\n{"x":\n```' + done + end,
        "hermes": 'OK\n<tool_call>\n{"name": "f", "arguments": {"u": "ü", "n": 1e5}}\n</tool_call>\n'
                  '<tool_call>\n{"name": "g", "arguments": "{\\"a\\": 1}"}\n</tool_call>',
        "llama": '{"name": "f", "parameters": {"q": "a}b"}}; {"name": "g", "parameters": {"x": 2}}',
        "python": "<|python_tag|>print(1)", "json": '{"city": "Paris"} is JSON',
    }
    for i, (name, output) in enumerate(outputs.items()):
        family = {"hermes": 2, "llama": 4, "python": 4, "json": 4}.get(name, 0)
        for tokens in (0, 1):
            save("output_parser", f"{name}-{tokens}", bytes([family + tokens, i % 3, 17 * i]) + output.encode())


def make_requests():
    start, chunked = "POST /v1/chat/completions?a=%2F HTTP/1.1\r\nHost: localhost:8000\r\n", "Transfer-Encoding: chunked\r\n\r\n"
    body = '{"messages": [{"role": "user", "content": "h\u00fc\\n"}]}'.encode()
    packed = {"gzip": gzip.compress(body, 0, mtime=0), "deflate": zlib.compress(body, 0)}  # level 0: alike everywhere
    requests = {
        "get": "GET / HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: keep-alive\r\nX-Request-Id: a-1\r\n\r\n",
        "http10": "HEAD /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "post": start.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        "chunks": start + chunked + "5;a=\"b\"\r\nhello\r\n0000a\r\n, world\r\n\n\r\n0\r\nTrailer: x\r\n\r\n",
        "pipelined": "GET /a%20b HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + start + "Content-Length: 1\r\n\r\nxGET",
        "preflight": "OPTIONS * HTTP/1.1\r\nHost: api.example\r\nOrigin: https://app.example\r\n"
                     "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: a, b\r\n\r\n",
        "simple": start + "Origin: null\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n\r\n",
        "absolute": "GET http://a.b:80/c?d HTTP/1.1\r\nHost: other\r\n\r\n",
        "smuggled": start + "Content-Length: 4\r\n" + chunked + "0\r\n\r\n",
    } | {coding: (start + f"Content-Encoding: {coding}\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data
         for coding, data in packed.items()}
    for i, (name, request) in enumerate(requests.items()):
        save("http_request", name, bytes([7 * i]) + (request.encode() if isinstance(request, str) else request))


# ---- grammars

GRAMMARS = {
    "arithmetic": 'root ::= (expr "=" ws term "\\n")+\nexpr ::= term ([-+*/] term)* # sums\n'
                  'term ::= ident | num | "(" ws expr ")" ws\nident ::= [a-z] [a-z0-9_]* ws\nnum ::= [0-9]+ ws\nws ::= [ \\t\\n]*\n',
    "list": 'root ::= item{1,3}\nitem ::= "- " [^\\r\\n\\x0b\\u0085]+ "\\n" | . ("x" | ){2,}\n',
    "ambiguous": 'root ::= "a" | "a" root root | "a" root b?\nb ::= "b" | "a" b\n',
    "regex": "^(?:[a-f\\d]{2,4}|x+?y*)\\s?(?<n>\\.|[^\"])$", "regex-dates": "\\d{4}-(0[1-9]|1[0-2])-\\w+",
}
SCHEMAS = {
    "object": {"type": "object", "properties": {"a": {"type": "integer", "minimum": -3, "maximum": 120}, "b": {"type": "string"}},
               "required": ["a"], "additionalProperties": False},
    "tree": {"$defs": {"n": {"properties": {"v": {"enum": [1, "x", None]}, "kids": {"items": {"$ref": "#/$defs/n"}}}, "required": ["v"]}},
             "$ref": "#/$defs/n"},
    "merged": {"allOf": [{"properties": {"a": {"type": "number", "exclusiveMinimum": 0.5}}},
                         {"anyOf": [{"required": ["a"]}, {"additionalProperties": {"const": {"k": [True]}}}]}]},
    "strings": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 5}, {"pattern": "^a[\"\\n]+"}, {"format": "ipv6"},
                          {"format": "date-time"}]},
    "arrays": {"type": ["array", "null"], "prefixItems": [{"type": "integer", "multipleOf": 7}], "items": {"type": "boolean"}, "minItems": 2,
               "maxItems": 4},
}


def make_grammars():
    for name, source in GRAMMARS.items():
        save("gbnf", name, source)
    for name, schema in SCHEMAS.items():
        save("json_schema", name, json.dumps(schema))


def main():
    shutil.rmtree(CORPUS, ignore_errors=True)
    for make in (make_gguf, make_safetensors, make_config, make_tokenizer, make_templates, make_outputs,
                 make_requests, make_grammars):
        make()
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes")


if __name__ == "__main__":
    main()
