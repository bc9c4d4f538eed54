#!/usr/bin/env python3
"""How many held-out notes a model turns into exactly the right JSON.

  score.py MODEL [--adapter DIR] [--fathom PROGRAM] [--notes N]
"""
import argparse
import json
import pathlib
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--fathom", default="fathom")
    parser.add_argument("--notes", type=int, default=100)
    options = parser.parse_args()
    lines = (pathlib.Path(__file__).parent / "heldout.jsonl").read_text().splitlines()[:options.notes]
    notes = [json.loads(line)["messages"] for line in lines]
    asked = "".join(json.dumps({"messages": note[:-1], "max_tokens": 80, "temperature": 0}) + "\n" for note in notes)
    command = [options.fathom, "run", options.model, "--jsonl", *(["--adapter", options.adapter] if options.adapter else [])]
    answers = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    right = 0
    for note, answer in zip(notes, answers, strict=True):
        try:
            right += json.loads(json.loads(answer)["text"]) == json.loads(note[-1]["content"])
        except (KeyError, ValueError):
            pass
    print(f"{right} of {len(notes)} right")


if __name__ == "__main__":
    main()
