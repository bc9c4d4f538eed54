#!/usr/bin/env python3
"""SmolLM2's GGUF file, quantised long ago, as an F32 file that tells quantisers apart. Needs numpy and gguf.

    tools/make_quantizer_source.py SmolLM2-135M-Instruct.Q4_1.gguf source-f32.gguf

Two things are changed. Its weights lie on the grid of Q4_1, which Q4_1 would reproduce for nothing: each gets normal
noise of 0.3 steps of its block's grid, from a fixed seed. Its rows have 576 values, where no type in blocks of 256
applies: the hidden size becomes 768 (of 256 columns 192 real ones, then zeros), the heads 12 (3 of them zero), the key
and value heads 4. Norm weights and epsilon are scaled so that the function stays what it was.
"""
import argparse
import sys

import gguf
import numpy

HIDDEN, WIDE = 576, 768
HEAD_DIM, HEADS, KEY_HEADS = 64, 12, 4
SEED, STEPS = 20261128, 0.3
PLACE = numpy.array([256 * (column // 192) + column % 192 for column in range(HIDDEN)])
BLOCK_BYTES = {gguf.GGMLQuantizationType.Q4_1: 20, gguf.GGMLQuantizationType.Q8_0: 34}
SKIPPED = ("general.architecture", "general.file_type", "general.quantization_version")


def noisy(tensor, random):
    """F32 values; of a quantised tensor with noise."""
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
    if tensor.tensor_type not in BLOCK_BYTES:
        return values
    blocks = tensor.data.reshape(-1, BLOCK_BYTES[tensor.tensor_type])
    step = blocks[:, :2].copy().view(numpy.float16).astype(numpy.float32)
    noise = random.standard_normal(values.size, dtype=numpy.float32).reshape(-1, 32) * (STEPS * step)
    return (values.reshape(-1, 32) + noise).reshape(values.shape)


def spread(values, axis):
    """Hidden columns (or rows) at their new places."""
    shape = list(values.shape)
    shape[axis] = WIDE
    out = numpy.zeros(shape, numpy.float32)
    out[(slice(None),) * axis + (PLACE,)] = values
    return out


def padded(values, axis, size):
    """Zeros after the present ones."""
    after = [(0, 0)] * values.ndim
    after[axis] = (0, size - values.shape[axis])
    return numpy.pad(values, after)


def widened(name, values):
    """One tensor [out, in] of the wide model."""
    if name.endswith("_norm.weight"):
        return spread(values * numpy.float32(numpy.sqrt(HIDDEN / WIDE)), 0)
    if "attn_q." in name:
        return padded(spread(values, 1), 0, HEADS * HEAD_DIM)
    if "attn_k." in name or "attn_v." in name:
        return padded(spread(values, 1), 0, KEY_HEADS * HEAD_DIM)
    if "attn_output." in name:
        return padded(spread(values, 0), 1, HEADS * HEAD_DIM)
    return spread(values, 0 if "ffn_down." in name else 1)


def changed(field):
    """A key's value in the wide model."""
    value = field.contents()
    changes = {"llama.embedding_length": WIDE, "llama.attention.head_count": HEADS,
               "llama.attention.head_count_kv": KEY_HEADS}
    if field.name == "llama.attention.layer_norm_rms_epsilon":
        return value * HIDDEN / WIDE
    return changes.get(field.name, value)


def main():
    """0 done, 1 another model than expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("out", help="the file to write")
    parser.add_argument("--seed", type=int, default=SEED, help="of the noise (default: %(default)s)")
    args = parser.parse_args()
    reader = gguf.GGUFReader(args.model)
    hidden = reader.fields.get("llama.embedding_length")
    if hidden is None or hidden.contents() != HIDDEN:
        print(f"make_quantizer_source: {args.model}: expected SmolLM2-135M, of hidden size {HIDDEN}", file=sys.stderr)
        return 1
    writer, random = gguf.GGUFWriter(args.out, "llama"), numpy.random.default_rng(args.seed)
    for field in reader.fields.values():
        if field.name not in SKIPPED and not field.name.startswith("GGUF."):
            writer.add_key_value(field.name, changed(field), field.types[0],
                                 field.types[-1] if len(field.types) > 1 else None)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, widened(tensor.name, noisy(tensor, random)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
