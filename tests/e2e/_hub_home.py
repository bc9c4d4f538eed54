"""What the tests of pull, list and rm share: a models folder and a hub for each test, and how to look at what came."""
import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest

from _fathom import FATHOM
from _hub_server import Hub, Repository, sha256

NAME, TOKEN, MIB = "acme/tiny", "hf_secretsecretsecret", 1 << 20
NO_TOKEN = ("HF_TOKEN", "FATHOM_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_ENDPOINT", "XDG_CACHE_HOME",
            "SSL_CERT_FILE")


def content(size, seed):
    return random.Random(seed).randbytes(size)


def folder_model():
    """The files of a repository as they are on the hub: some to take, some to leave."""
    index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
    return {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}" * 500, "tokenizer_config.json": b"{}",
            "generation_config.json": b"{}", "chat_template.jinja": b"{{ messages }}", "README.md": b"# tiny\n",
            "LICENSE": b"MIT", "model.safetensors.index.json": index.encode(), "empty.json": b"",
            "model-00001-of-00002.safetensors": content(300_000, 1),
            "model-00002-of-00002.safetensors": content(200_001, 2),
            "pytorch_model.bin": content(1000, 3), "modeling_tiny.py": b"import os\n", ".gitattributes": b"x",
            "onnx/model.onnx": b"onnx", "flax_model.msgpack": b"flax", "original/consolidated.00.pth": b"p"}


TAKEN = {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
         "README.md", "LICENSE", "model.safetensors.index.json", "empty.json", "model-00001-of-00002.safetensors",
         "model-00002-of-00002.safetensors"}


class Home(unittest.TestCase):
    """Each test has its own models folder and hub."""

    def setUp(self):
        self.home = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.models = self.home / "models"

    def enterContext(self, context):  # noqa: N802 (unittest has it from Python 3.11 on)
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def hub(self, files, **options):
        server = {key: options.pop(key) for key in ("host", "tls", "store_tls") if key in options}
        return self.enterContext(Hub({NAME: Repository(files, **options)}, **server))

    def environment(self, hub=None, **more):
        env = {k: v for k, v in os.environ.items() if k not in NO_TOKEN}
        env |= {"FATHOM_HOME": str(self.home), "HOME": str(self.home), "NO_PROXY": "*", "no_proxy": "*"}
        if hub:
            env["HF_ENDPOINT"] = hub.url
        return {**env, **more}

    def start(self, hub, *arguments, env=None, **options):
        process = subprocess.Popen([str(FATHOM), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=self.environment(hub, **(env or {})), **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def run_fathom(self, hub, *arguments, env=None, **options):
        process = self.start(hub, *arguments, env=env, **options)
        out, err = process.communicate(timeout=120)
        self.assertNotIn(TOKEN, out + err)
        self.assertNotIn("SIGNATURE", out + err)
        return process.returncode, out, err

    def pull(self, hub, what=NAME, *arguments, **options):
        return self.run_fathom(hub, "pull", what, *arguments, **options)

    def pulled(self, hub, what=NAME, *arguments, **options):
        """A pull that must succeed; what it said on stderr."""
        code, out, err = self.pull(hub, what, *arguments, **options)
        self.assertEqual(code, 0, out + err)
        return err

    def listed(self):
        code, out, err = self.run_fathom(None, "list", "--json")
        self.assertEqual(code, 0, err)
        return {(model["name"], model["state"]): model for model in json.loads(out)["models"]}

    def assert_files(self, files, name=NAME):
        """The model's folder holds exactly these, and nothing else is left anywhere."""
        folder = self.models / name
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
                 if path.is_file() and ".fathom" not in path.parts}
        self.assertEqual(sorted(found), sorted(files))
        for path, data in files.items():
            self.assertEqual(found[path], data, path)
        record = json.loads((folder / ".fathom" / "pull.json").read_text())
        self.assertEqual(record["format"], "fathom.pull")
        self.assertEqual({f["path"]: (f["size"], f["sha256"]) for f in record["files"]},
                         {path: (len(data), sha256(data)) for path, data in files.items()})
        self.assertEqual([path.name for path in folder.parent.iterdir()], [folder.name])
        self.assertEqual([path.name for path in (folder / ".fathom").iterdir()], ["pull.json"])
        return record

    def assert_not_installed(self):
        self.assertFalse((self.models / NAME).exists())
        self.assertNotIn((NAME, "complete"), self.listed())
        code, _, err = self.run_fathom(None, "tokenize", NAME, "x")
        self.assertEqual(code, 1, err)
