"""Which tests a change needs: from git's changed paths over the folders' DEPS to test programs. For ./test quick."""
import subprocess

import check_layers


def git(root, *arguments):
    """git's output as lines; none where git fails (no repository, no such commit)."""
    result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    return result.stdout.splitlines() if result.returncode == 0 else []


def base_commit(root):
    """What the working tree is compared with: where the branch left main, on main itself the commit before; or None."""
    head = git(root, "rev-parse", "--verify", "HEAD")
    for main in ("origin/main", "main"):
        base = git(root, "merge-base", "HEAD", main)
        if base and base != head:
            return base[0]
    before = git(root, "rev-parse", "--verify", "--quiet", "HEAD~1")
    return before[0] if before else None


def changed_paths(root):
    """All paths that differ from base_commit, those in no commit yet included; None where git cannot tell."""
    base = base_commit(root)
    if base is None:
        return None
    untracked = git(root, "ls-files", "--others", "--exclude-standard")
    return sorted(set(git(root, "diff", "--name-only", base)) | set(untracked))


def with_dependents(folders, deps):
    """The folders whose DEPS reach one of `folders`, directly or not, without these, lowest level first."""
    found = set(folders)
    while more := {name for name, below in deps.items() if name not in found and found & set(below)}:
        found |= more
    return sorted(found - set(folders), key=lambda name: (check_layers.LEVELS.get(name, 99), name))


def needed(root):
    """(first, later, paths): folders of src/ to test first, those that depend on them, and what changed.

    What concerns everything (the build, the tests' helpers), or a clone whose history is cut, makes all folders change.
    """
    deps = check_layers.dependencies(root / "src")
    paths = changed_paths(root)
    everything = sorted(deps, key=lambda name: (check_layers.LEVELS.get(name, 99), name))
    if paths is None:
        return everything, [], None
    builds_all = ("CMakeLists.txt", "src/CMakeLists.txt", "tests/testing.", "tests/precompiled.h", "src/precompiled.h", "cmake/")
    if any(path.startswith(builds_all) for path in paths):
        return everything, [], paths
    first = {path.split("/")[1] for path in paths if path.startswith("src/") and path.count("/") >= 2} & set(deps)
    return sorted(first, key=everything.index), with_dependents(first, deps), paths
