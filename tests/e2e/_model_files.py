"""What tests look at in model files, and small ones to make: GGUF's keys and tensor types, safetensors, a tokenizer."""
import json
import struct

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
GGUF_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K",
              12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 20: "IQ4_NL", 23: "IQ4_XS", 30: "BF16"}


def read_gguf(path):
    """({key: value}, {tensor: type}); the value of an array is a list."""
    data = path.read_bytes()
    at = 8
    codes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def take(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def text():
        nonlocal at
        size = take("Q")
        at += size
        return data[at - size:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            element, count = take("I"), take("Q")
            return [value(element) for _ in range(count)]
        return take(codes[kind])

    assert data[:4] == b"GGUF", path
    tensors, keys, types = take("Q"), {}, {}
    for _ in range(take("Q")):
        key = text()
        keys[key] = value(take("I"))
    for _ in range(tensors):
        name = text()
        for _ in range(take("I")):
            take("Q")
        types[name] = GGUF_TYPES[take("I")]
        take("Q")
    return keys, types


def read_folder(folder):
    """{name: (type, shape, bytes)} of all tensors of a Hugging Face folder."""
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        data = path.read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        for name, info in json.loads(data[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = info["data_offsets"]
                found[name] = (info["dtype"], info["shape"], data[8 + size + begin:8 + size + end])
    return found


def write_safetensors(path, tensors):
    """One file of {name: (type, shape, bytes)}."""
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    header = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(data for _, _, data in tensors.values()))


def tokenizer_files():
    """The smallest tokenizer that reads any text: a token for each byte, and one that ends an answer."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printing] + [chr(256 + i) for i in range(256 - len(printing))]
    end = {"id": 256, "content": "<|end|>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True}
    tokenizer = {"version": "1.0", "added_tokens": [end], "normalizer": None, "pre_tokenizer": byte_level,
                 "post_processor": None, "decoder": byte_level,
                 "model": {"type": "BPE", "vocab": {letter: i for i, letter in enumerate(letters)}, "merges": []}}
    return {"tokenizer.json": json.dumps(tokenizer),
            "tokenizer_config.json": json.dumps({"eos_token": "<|end|>", "chat_template": TEMPLATE})}
