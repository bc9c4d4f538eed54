#!/usr/bin/env python3
"""Checks that includes and links in src/ follow the levels of the layout.

A file includes only from its own folder and from folders with a smaller level; server, eval and cli see models only
through engine; a folder's DEPS in src/CMakeLists.txt name only smaller levels, and every folder that its files include
is among them. Prints each violation as FILE:LINE: what; exits with 1 if there was one.
Usage: tools/check_layers.py [SOURCE_TREE]
"""
import pathlib
import re
import sys

LEVELS = {
    "base": 0,
    "tensor": 1, "text": 1,
    "formats": 2, "hub": 2, "kernels": 2, "comm": 2, "tasks": 2,
    "quant": 3, "autograd": 3, "cache": 3, "sampling": 3,
    "ops": 4,
    "models": 5,
    "engine": 6,
    "eval": 7,
    "train": 8, "server": 8,
    "cli": 9,
}  # fmt: skip
# Folders that would be low enough, but are seen only through engine/.
HIDDEN = {folder: {"models", "ops", "autograd", "cache"} for folder in ("server", "eval", "cli")}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
LIBRARY = re.compile(r"fathom_library\(([^)]*)\)")


def why_forbidden(folder, target):
    """Why a file of `folder` must not include from `target`, or None where it may."""
    if target == folder:
        return None
    if LEVELS[target] >= LEVELS[folder]:
        return f"{folder}/ (level {LEVELS[folder]}) must not see {target}/ (level {LEVELS[target]})"
    if target in HIDDEN.get(folder, ()):
        return f"{folder}/ sees {target}/ only through engine/"
    return None


def includes(src):
    """Yields (path, line number, own folder, included folder, its text) for every quoted include below `src`."""
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".cc", ".h", ".cu", ".cuh", ".inc") or len(path.relative_to(src).parts) < 2:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if found := INCLUDE.match(line):
                yield path, number, path.relative_to(src).parts[0], found[1].split("/")[0], found[1]


def dependencies(src):
    """{folder: [DEPS]} of src/CMakeLists.txt; a folder that is no library there is absent, and so are PARTs of one."""
    result = {}
    path = src / "CMakeLists.txt"
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8")) if path.is_file() else ""
    for call in LIBRARY.finditer(text):
        words, kind, deps = call[1].split(), "", []
        if "PART" in words:
            continue
        for word in words[1:]:
            if word in ("DEPS", "LINK", "EXCEPT"):
                kind = word
            elif kind == "DEPS":
                deps.append(word)
        result[words[0]] = deps
    return result


def violations(root):
    """The list of all violations in the tree `root`, each one line."""
    src, found = root / "src", []
    deps = dependencies(src)
    for folder in sorted({p.name for p in src.iterdir() if p.is_dir() and any(p.rglob("*.*"))} | set(deps)):
        if folder not in LEVELS:
            found.append(f"src/{folder}: has no level; tools/check_layers.py lists them")
    for folder, names in deps.items():
        for name in names:
            where = f"src/CMakeLists.txt: DEPS of {folder}"
            if name not in LEVELS:
                found.append(f"{where}: {name} has no level")
            elif folder in LEVELS and LEVELS[name] >= LEVELS[folder]:
                found.append(f"{where}: {why_forbidden(folder, name)}")
    for path, number, folder, target, text in includes(src):
        where = f"{path.relative_to(root)}:{number}"
        if folder not in LEVELS:
            continue
        if target not in LEVELS:
            if not (target == "tests" and path.stem.endswith(("_test", "_testing"))):
                found.append(f'{where}: "{text}": expected FOLDER/FILE below src/')
        elif reason := why_forbidden(folder, target):
            found.append(f"{where}: {reason}")
        elif folder in deps and target not in (folder, *deps[folder]):
            found.append(f"{where}: {target}/ is not among the DEPS of {folder} in src/CMakeLists.txt")
    return found


def main():
    default = pathlib.Path(__file__).resolve().parent.parent
    found = violations(pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else default)
    print("\n".join(found) if found else "layers: every include goes down")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
