"""What the tests of other people's clients share: they run in the Python of build/clients, against one server."""
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
import install  # noqa: E402
import _fathom  # noqa: E402
from _server import Server  # noqa: E402

main = _fathom.harness.main


def skip_file(why):
    """Ends this file as one skip."""
    print(f"skip: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def in_their_python():
    """Starts the file again in build/clients/python, which is made if it is missing."""
    if not _fathom.chat_model():
        skip_file("the server's clients need a small model that can chat")
    if pathlib.Path(sys.prefix) == install.CLIENTS / "python":
        return
    if failed := install.install_python():
        skip_file(f"the server's clients from PyPI: {failed}")
    os.execv(install.PYTHON, [str(install.PYTHON), *sys.argv])


def start(*arguments):
    """The small model as one that thinks; its alias deepseek-chat does not."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    return Server(_fathom.chat_model(), "--ctx", "2048", "--seed", "1", "--template", HERE / "thinking.jinja", *arguments)
