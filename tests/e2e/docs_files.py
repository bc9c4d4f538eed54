#!/usr/bin/env python3
"""The commands of docs/files.md and docs/hub.md as a person follows them: every line of their sh blocks runs, in order,
against small models that stand for the named ones, exits with 0 and makes what the text promises. And what hub.md and
cli.md show of a terminal is what the program says."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, ROOT
from _hub_home import NO_TOKEN
from _hub_server import Hub, Repository
from _model_files import read_folder, read_gguf, tokenizer_files

DISTILL = "DeepSeek-R1-Distill-Qwen-1.5B"
# The pages' models, and the golden ones that stand for them here.
STANDINS = {DISTILL: "qwen2-wide", "DeepSeek-V3": "v3-fp8"}
ON_THE_HUB = f"deepseek-ai/{DISTILL}"


def commands(page):
    """The lines of the sh blocks of a page of docs/."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


class Made:
    """What one command printed, and what it made."""

    def __init__(self, test, work, line, out, err):
        self.test, self.work, self.out, self.err = test, work, out, err
        self.words = shlex.split(line, comments=True)

    def gguf(self):
        return read_gguf(self.work / self.words[3])

    def folder(self):
        return read_folder(self.work / self.words[3])

    def config(self, folder):
        return json.loads((self.work / folder / "config.json").read_text())


def matrices(types):
    """The types of what quantisers change."""
    return {kind for name, kind in types.items() if not re.search(r"norm|bias|gate_inp|exp_probs", name)}


def gguf_of(*kinds):
    """A GGUF file whose matrices have these types, and whose norms are F32."""
    def look(made):
        _, types = made.gguf()
        made.test.assertEqual(matrices(types), set(kinds))
        made.test.assertEqual({kind for name, kind in types.items() if "norm" in name}, {"F32"})
    return look


def fp8_file(*kinds):
    def look(made):
        keys, types = made.gguf()
        made.test.assertEqual(matrices(types), set(kinds))
        made.test.assertEqual(keys["general.architecture"], "deepseek2")
        if "Q8_0" in kinds:
            made.test.assertEqual(types["blk.0.attn_output.weight"], "Q8_0")
            made.test.assertEqual(types["token_embd.weight"], "BF16")
    return look


def trunk(made):
    keys, types = made.gguf()
    layers = made.config("DeepSeek-V3")["num_hidden_layers"]
    made.test.assertEqual(keys["deepseek2.block_count"], layers)
    made.test.assertFalse([name for name in types if ".nextn." in name or name.startswith(f"blk.{layers}.")])


def the_same_folder(made):
    """Everything comes back: tensors, config.json, tokenizer files."""
    made.test.assertEqual(made.folder(), read_folder(made.work / DISTILL))
    back = made.work / made.words[3]
    made.test.assertEqual((back / "config.json").read_bytes(), (made.work / DISTILL / "config.json").read_bytes())
    for name, text in tokenizer_files().items():
        made.test.assertEqual(json.loads((back / name).read_text()), json.loads(text), name)


def in_shards(made):
    made.test.assertEqual(made.folder(), read_folder(made.work / DISTILL))
    for path in (made.work / made.words[3]).glob("*.safetensors"):
        made.test.assertLess(path.stat().st_size, 2e9)


def halves(made):
    made.test.assertEqual({kind for kind, _, _ in made.folder().values()}, {"F16"})
    made.test.assertRegex(made.err, r"note: \d+ tensors were quantised \(Q4_K, Q6_K\)")


def wide_folder(made):
    made.test.assertEqual({kind for kind, _, _ in made.folder().values()} - {"F32"}, {"BF16"})
    made.test.assertFalse([name for name in made.folder() if name.endswith("_scale_inv")])
    made.test.assertNotIn("quantization_config", made.config(made.words[3]))


def fp8_folder(made):
    kinds = {name: kind for name, (kind, _, _) in made.folder().items()}
    projections = {kind for name, kind in kinds.items() if re.search(r"(self_attn|mlp)\..*_proj\.weight$", name)}
    made.test.assertEqual(projections, {"F8_E4M3"})
    made.test.assertEqual(kinds["model.layers.0.self_attn.o_proj.weight_scale_inv"], "F32")
    made.test.assertEqual({kinds["model.embed_tokens.weight"], kinds["lm_head.weight"]}, {"BF16"})
    made.test.assertIn("quantization_config", made.config(made.words[3]))


def mixture(name, base, others):
    def look(made):
        _, types = made.gguf()
        kinds = [kind for kind in types.values() if kind != "F32"]
        made.test.assertEqual(max(set(kinds), key=kinds.count), base)
        made.test.assertEqual(set(kinds), {base, *others})
        made.test.assertIn(f" tensors as {name}, ", made.err)
    return look


def same_bytes_with_one_thread(made):
    gguf_of("Q6_K")(made)
    words = [*made.words[1:3], "again.gguf", "Q6_K", "--threads", "1"]
    subprocess.run([FATHOM, *words], cwd=made.work, check=True, capture_output=True, timeout=60)
    made.test.assertEqual((made.work / "again.gguf").read_bytes(), (made.work / made.words[3]).read_bytes())
    (made.work / "again.gguf").unlink()


def nothing_written(made):
    made.test.assertIn("would write", made.err)
    made.test.assertEqual(list(made.work.glob("*Q2_K*")), [])


def chosen_types(made):
    _, types = made.gguf()
    made.test.assertEqual({kind for name, kind in types.items() if "ffn_down" in name}, {"Q8_0"})
    made.test.assertEqual(types["token_embd.weight"], "Q6_K")


def importances(made):
    keys, types = read_gguf(made.work / made.words[-1])
    made.test.assertEqual(keys["general.type"], "imatrix")
    made.test.assertIn("blk.0.attn_q.weight.in_sum2", types)


def with_importances(made):
    keys, types = made.gguf()
    made.test.assertEqual(keys["quantize.imatrix.file"], made.words[-1])
    made.test.assertEqual(types["blk.0.attn_q.weight"], "Q3_K")


def pulled(made):
    folder = made.work / "home" / "models" / ON_THE_HUB
    made.test.assertEqual(read_folder(folder), read_folder(made.work / DISTILL))
    made.test.assertIn(str(folder), made.out)


def inspected(made):
    made.test.assertIn("qwen2", made.out)
    made.test.assertIn("BF16", made.out)


def answered(made):
    made.test.assertRegex(made.err, r"answer \d+ tokens?\b")


CONVERT, QUANTIZE, V3 = f"fathom convert {DISTILL}", "fathom quantize r1-1.5b.gguf", "fathom convert DeepSeek-V3"
# Every command of the pages, and what it has to have made.
FILES = {
    f"{CONVERT} r1-1.5b.gguf": gguf_of("BF16"),
    f"{CONVERT} r1-1.5b-q8.gguf --type q8_0": gguf_of("Q8_0"),
    f"{CONVERT} r1-1.5b-f16.gguf --type f16": gguf_of("F16"),
    f"{V3} v3-bf16.gguf": fp8_file("BF16"),
    f"{V3} v3-q8.gguf --fp8-as-q8": fp8_file("BF16", "F16", "Q8_0"),
    f"{V3} v3-trunk.gguf --no-mtp": trunk,
    f"{QUANTIZE} r1-1.5b-Q4_K_M.gguf Q4_K_M": mixture("Q4_K_M", "Q4_K", ["Q6_K"]),
    f"{QUANTIZE} r1-1.5b-Q6_K.gguf Q6_K --threads 2": same_bytes_with_one_thread,
    f"{QUANTIZE} Q2_K --dry-run": nothing_written,
    f"{QUANTIZE} r1-1.5b-Q5_K.gguf Q5_K --pure": gguf_of("Q5_K"),
    f"{QUANTIZE} r1-1.5b-mine.gguf Q4_K_M --tensor-type ffn_down=Q8_0 --token-embedding-type Q6_K": chosen_types,
    "fathom quantize r1-1.5b-q8.gguf r1-1.5b-q8-Q4_0.gguf Q4_0 --allow-requantize": mixture("Q4_0", "Q4_0", ["Q6_K"]),
    "fathom imatrix r1-1.5b.gguf calibration.txt -o r1-1.5b-imatrix.gguf": importances,
    f"{QUANTIZE} r1-1.5b-Q3_K_M.gguf Q3_K_M --imatrix r1-1.5b-imatrix.gguf": with_importances,
    "fathom convert r1-1.5b.gguf r1-1.5b-back": the_same_folder,
    "fathom convert r1-1.5b-Q4_K_M.gguf r1-1.5b-f16 --type f16": halves,
    "fathom convert r1-1.5b.gguf r1-1.5b-shards --max-shard-size 2GB": in_shards,
    f"{V3} DeepSeek-V3-bf16 --type bf16": wide_folder,
    f"{V3}-bf16 DeepSeek-V3-fp8 --type fp8": fp8_folder,
    f"fathom pull {ON_THE_HUB}": pulled,
    f"fathom convert {ON_THE_HUB} r1.gguf": gguf_of("BF16"),
    "fathom inspect r1.gguf": inspected,
}
HUB = {
    f"fathom pull {ON_THE_HUB}": pulled,
    f'fathom run {ON_THE_HUB} "Why is the sky blue?"': answered,
}


class Pages(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        for name, golden in STANDINS.items():
            (self.work / name).mkdir()
            for file in ("config.json", "model.safetensors"):
                shutil.copy(GOLDEN / "models" / golden / file, self.work / name)
        for name, text in tokenizer_files().items():
            (self.work / DISTILL / name).write_text(text)
        (self.work / "calibration.txt").write_text("The quick brown fox jumps over the lazy dog. " * 30)

    def hub(self, repositories):
        hub = Hub({name: Repository(files) for name, files in repositories.items()})
        self.addCleanup(hub.close)
        self.environment = {key: value for key, value in os.environ.items() if key not in NO_TOKEN}
        self.environment |= {"FATHOM_HOME": str(self.work / "home"), "HOME": str(self.work), "NO_PROXY": "*",
                             "no_proxy": "*", "HF_ENDPOINT": hub.url}

    def fathom(self, line):
        words = shlex.split(line, comments=True)
        self.assertEqual(words[0], "fathom", line)
        return subprocess.run([str(FATHOM), *words[1:]], cwd=self.work, capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, env=self.environment)

    def follow(self, page, promises):
        self.hub({ON_THE_HUB: {path.name: path.read_bytes() for path in (self.work / DISTILL).iterdir()}})
        lines = [shlex.join(shlex.split(line, comments=True)) for line in commands(page)]
        wanted = [shlex.join(shlex.split(line)) for line in promises]
        self.assertEqual(lines, wanted, "the page's commands and this test's are not the same")
        for line, look in zip(lines, promises.values()):
            with self.subTest(line):
                result = self.fathom(line)
                self.assertEqual(result.returncode, 0, result.stderr)
                look(Made(self, self.work, line, result.stdout, result.stderr))

    def test_files(self):
        self.follow("files.md", FILES)

    def test_hub(self):
        self.follow("hub.md", HUB)

    def shown(self, page, begins):
        """The block of a page that begins so, and what its commands say here: (block, said, exit codes)."""
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        shown = re.search(rf"^```\n(\$ {begins}.*?)^```", text, flags=re.M | re.S)[1]
        said, codes = "", []
        for line in re.findall(r"^\$ (.*)$", shown, flags=re.M):
            result = self.fathom(line.replace("tests/golden", str(GOLDEN)))
            codes.append(result.returncode)
            said += f"$ {line}\n{result.stdout}{result.stderr}"
        return shown, said, codes

    def test_what_hub_md_shows_of_a_choice(self):
        self.hub({"acme/tiny": {"x-Q4_K_M.gguf": bytes(4000), "x-Q8_0.gguf": bytes(8000)}})
        shown, said, codes = self.shown("hub.md", "fathom pull")
        self.assertEqual(codes, [2, 0])
        self.assertEqual(said.replace(str(self.work / "home"), "/home/ann/.local/share/fathom"), shown)

    def test_what_cli_md_shows_of_files(self):
        self.hub({})
        shown, said, codes = self.shown("cli.md", "fathom convert")
        self.assertEqual(codes, [0, 0])
        self.assertEqual(said, shown)

    def test_cli_md_names_every_command(self):
        self.hub({})
        page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
        listed = self.fathom("fathom --help").stdout.split("Subcommands:\n", 1)[1].split("\n\n", 1)[0]
        names = [line.split()[0] for line in listed.splitlines()]
        self.assertGreater(len(names), 10)
        for name in names:
            self.assertRegex(page, rf"(?m)`{name}\b|^## {name}$|fathom {name}\b", name)
            help_text = self.fathom(f"fathom {name} --help").stdout
            self.assertIn("Example:", help_text, name)


if __name__ == "__main__":
    _fathom.harness.main()
