"""Model files that the tests make: GGUF from keys and tensors, DeepSeek-V3's whole tensor table in sparse shards."""
import json
import math
import os
import pathlib
import struct

V3 = {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "num_nextn_predict_layers": 1,
      "max_position_embeddings": 163840, "torch_dtype": "bfloat16",
      "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
      "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                       "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}}


def safetensors_header(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return header, 8 + size


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(keys, tensors=(), data=b""):
    """A GGUF file: keys {name: str, int or list of str}, tensors (name, ne, type, offset)."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            out += struct.pack("<II", 4, value)
    for name, ne, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne) + struct.pack("<IQ", kind, offset)
    return out + b"\0" * (-len(out) % 32) + data


def v3_tensors():
    """DeepSeek-V3's tensors as it is published, in FP8 with scales and the MTP module: (name, dtype, shape)."""
    def fp8(name, rows, columns):
        yield name, "F8_E4M3", [rows, columns]
        yield name + "_scale_inv", "F32", [-(-rows // 128), -(-columns // 128)]

    def mlp(prefix, width):
        for part in ("gate_proj", "up_proj"):
            yield from fp8(f"{prefix}.{part}.weight", width, 7168)
        yield from fp8(f"{prefix}.down_proj.weight", 7168, width)

    def layer(i):
        p, a = f"model.layers.{i}", f"model.layers.{i}.self_attn"
        yield f"{p}.input_layernorm.weight", "BF16", [7168]
        yield f"{p}.post_attention_layernorm.weight", "BF16", [7168]
        for name, rows, columns in (("q_a_proj", 1536, 7168), ("q_b_proj", 24576, 1536), ("kv_b_proj", 32768, 512),
                                    ("kv_a_proj_with_mqa", 576, 7168), ("o_proj", 7168, 16384)):
            yield from fp8(f"{a}.{name}.weight", rows, columns)
        yield f"{a}.q_a_layernorm.weight", "BF16", [1536]
        yield f"{a}.kv_a_layernorm.weight", "BF16", [512]
        if i < 3:
            yield from mlp(f"{p}.mlp", 18432)
            return
        yield f"{p}.mlp.gate.weight", "BF16", [256, 7168]
        yield f"{p}.mlp.gate.e_score_correction_bias", "F32", [256]
        yield from mlp(f"{p}.mlp.shared_experts", 2048)
        for e in range(256):
            yield from mlp(f"{p}.mlp.experts.{e}", 2048)

    for name in ("model.embed_tokens", "lm_head", "model.layers.61.embed_tokens", "model.layers.61.shared_head.head"):
        yield name + ".weight", "BF16", [129280, 7168]
    for name in ("model.norm", "model.layers.61.enorm", "model.layers.61.hnorm", "model.layers.61.shared_head.norm"):
        yield name + ".weight", "BF16", [7168]
    yield "model.layers.61.eh_proj.weight", "BF16", [7168, 14336]
    for i in range(62):
        yield from layer(i)


def write_sparse_shards(folder, tensors, count):
    """Shards and their index, with holes instead of data."""
    width = {"F8_E4M3": 1, "BF16": 2, "F32": 4}
    tensors, weight_map, total = list(tensors), {}, 0
    for shard in range(count):
        name, header, end = f"model-{shard + 1:05}-of-{count:06}.safetensors", {}, 0
        for tensor, dtype, shape in tensors[shard::count]:
            begin, end = end, end + math.prod(shape) * width[dtype]
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
            weight_map[tensor] = name
        text_of = json.dumps(header).encode()
        path = folder / name
        path.write_bytes(struct.pack("<Q", len(text_of)) + text_of)
        os.truncate(path, path.stat().st_size + end)
        total += end
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
