#!/usr/bin/env python3
"""Kills a small training run at random moments and goes on with it, again and again; in the end its weights must be
those of a run that was left alone, bit for bit.

  tools/kill_training.py [--kills 1000] [--seed 1]

Runs of 60 steps that save every 5, of a llama and of a V3-shaped model with an average of the weights. Prints how many
kills fell where, after Ctrl-C too; exits with 1 at the first difference. ./test kills at a few fixed points (tests/e2e/train.py).
"""
import argparse
import collections
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from _fathom import FATHOM  # noqa: E402
from train import CONFIG, RECIPE, TEXT, V3  # noqa: E402

STEPS, SAVE = 60, 5


def start(arguments, home):
    return subprocess.Popen([str(FATHOM), "train", *map(str, arguments)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, env={"FATHOM_HOME": str(home), "PATH": "/usr/bin:/bin"})


def weights(run):
    checkpoint = run / "checkpoints" / f"step-{STEPS}"
    return [(checkpoint / name).read_bytes() for name in ("model.safetensors", "trainer.safetensors")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "text.txt").write_text(TEXT)
    recipe = RECIPE.replace("steps = 24", f"steps = {STEPS}").replace("save_every = 6", f"save_every = {SAVE}")
    (folder / "recipe.toml").write_text(recipe)
    whole, seconds = {}, {}
    for name, config in (("llama", CONFIG), ("v3", V3)):
        (folder / "config.json").write_text(json.dumps(config))
        begun = time.monotonic()
        if start((folder / "recipe.toml", "--out", folder / name), folder).wait() != 0:
            sys.exit(f"{name}: the run that is left alone failed")
        seconds[name], whole[name] = time.monotonic() - begun, weights(folder / name)
    killed, runs, reached = 0, 0, collections.Counter()
    process = None
    try:
        while killed < options.kills:
            name = ("llama", "v3")[runs % 2]
            (folder / "config.json").write_text(json.dumps(CONFIG if name == "llama" else V3))
            run = folder / f"{name}-{runs}"
            process = start((folder / "recipe.toml", "--out", run), folder)
            while True:
                time.sleep(draw.uniform(0, 0.6 * seconds[name]))
                if process.poll() is not None:
                    break
                process.kill()
                process.wait()
                killed += 1
                steps = [path.name for path in (run / "checkpoints").glob("step-*")] if run.exists() else []
                reached["before the first checkpoint" if not steps else "while one was written"
                        if any(step.endswith(".writing") for step in steps) else "between checkpoints"] += 1
                again = ("--resume", run) if (run / "recipe.toml").exists() else (folder / "recipe.toml", "--out", run)
                process = start(again, folder)
            if process.returncode != 0:
                sys.exit(f"{run}: ended with {process.returncode} after {killed} kills")
            if weights(run) != whole[name]:
                sys.exit(f"{run}: other weights after {killed} kills (kept in {folder})")
            shutil.rmtree(run)
            runs += 1
            if sys.stderr.isatty():
                print(f"\r{killed} kills, {runs} runs", end="", file=sys.stderr)
    except KeyboardInterrupt:
        if process:
            process.kill()
            process.wait()
        print(f"stopped after {killed} of {options.kills} kills", file=sys.stderr)
    shutil.rmtree(folder)
    print(f"{killed} kills in {runs} runs: the same weights and state in the end; "
          + ", ".join(f"{n} {where}" for where, n in sorted(reached.items())))


if __name__ == "__main__":
    main()
