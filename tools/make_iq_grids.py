#!/usr/bin/env python3
"""Writes src/tensor/iq_grids.cc from golden/quants/grids.safetensors: the code tables of GGUF's IQ1, IQ2 and IQ3 types.

    tools/make_iq_grids.py tests/golden/quants/grids.safetensors > src/tensor/iq_grids.cc

Every entry becomes one 16-bit number: 8 values of 2 bits or 4 values of 3 bits, each an index into the type's levels.
"""
import json
import struct
import sys

TYPES = [("IQ1_S", "kIq1", 2), ("IQ2_XXS", "kIq2Xxs", 2), ("IQ2_XS", "kIq2Xs", 2), ("IQ2_S", "kIq2S", 2),
         ("IQ3_XXS", "kIq3Xxs", 3), ("IQ3_S", "kIq3S", 3)]


def read_tables(path):
    data = open(path, "rb").read()
    size = struct.unpack_from("<Q", data)[0]
    tables = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        width = entry["shape"][1]
        values = struct.unpack(f"{end - begin}{'b' if entry['dtype'] == 'I8' else 'B'}", data[begin:end])
        tables[name] = [values[i:i + width] for i in range(0, len(values), width)]
    return tables


def main():
    tables = read_tables(sys.argv[1])
    assert tables["IQ1_S"] == tables["IQ1_M"]
    print("// Made by tools/make_iq_grids.py from golden/quants/grids.safetensors; do not edit.")
    print('#include "tensor/iq_grids.h"\n\nnamespace fathom {\nnamespace {\n')
    for name, symbol, bits in TYPES:
        levels = sorted({value for entry in tables[name] for value in entry})
        codes = [sum(levels.index(value) << (bits * j) for j, value in enumerate(entry)) for entry in tables[name]]
        print(f"constexpr uint16_t {symbol}Codes[{len(codes)}] = {{")
        for i in range(0, len(codes), 16):
            print("    " + ", ".join(str(code) for code in codes[i:i + 16]) + ",")
        print(f"}};\nconstexpr IqGrid {symbol} = {{{symbol}Codes, {{{', '.join(map(str, levels))}}}, {bits}}};\n")
    print("}  // namespace\n")
    print("const IqGrid* iq_grid(DType type) {\n  switch (type) {")
    for name, symbol, _ in TYPES:
        cases = ["IQ1_S", "IQ1_M"] if name == "IQ1_S" else [name]
        for case in cases:
            print(f"    case DType::k{case}: return &{symbol};")
    print("    default: return nullptr;\n  }\n}\n\n}  // namespace fathom")


main()
