#!/usr/bin/env python3
"""Makes train.jsonl and heldout.jsonl: notes of a kitchen or a workshop, in plain words, as one line of JSON.

  make_data.py FOLDER

The skill: "Ask Nadia for three bags of flour by Friday" -> {"who": "Nadia", "item": "flour", "count": 3, "unit": "bag", "due": "Friday"}.
Names, items and wordings of the held-out notes occur in none of the training ones, so that copying is no way through.
"""
import json
import pathlib
import random
import sys

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
           "twelve": 12, "a dozen": 12, "twenty": 20}
UNITS = {"bag": "bags", "box": "boxes", "bottle": "bottles", "crate": "crates", "roll": "rolls", "jar": "jars",
         "sheet": "sheets", "pack": "packs"}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
TRAIN = {
    "who": ["Nadia", "Tom", "Priya", "Luis", "Hana", "Greta", "Omar", "Ines", "Jakob", "Mei", "Paolo", "Ruth", "Sven", "Aiko"],
    "item": ["flour", "sugar", "olive oil", "screws", "sandpaper", "rice", "coffee", "paint", "nails", "tape", "honey",
             "oats", "glue", "lentils", "vinegar", "cable"],
    "form": ["Ask {who} for {count} {unit} of {item} by {due}.", "{who} should bring {count} {unit} of {item} on {due}.",
             "We need {count} {unit} of {item} from {who} before {due}.",
             "Please remind {who}: {count} {unit} of {item}, {due} at the latest.",
             "By {due}, {who} has to get {count} {unit} of {item}.",
             "{count} {unit} of {item} are missing; {who} will fetch them on {due}."],
}
HELDOUT = {
    "who": ["Marta", "Kofi", "Elena", "Bruno", "Yara", "Felix"],
    "item": ["salt", "varnish", "butter", "wire", "almonds", "soap"],
    "form": ["Can {who} deliver {count} {unit} of {item} until {due}?",
             "Note to self: {due}, {who}, {count} {unit} of {item}.",
             "It would help if {who} bought {count} {unit} of {item} for {due}.",
             "Before {due} we are waiting for {count} {unit} of {item}, which {who} promised."],
}
SYSTEM = "Turn the note into one line of JSON with the keys who, item, count, unit, due."


def example(words, draw):
    word, count = draw.choice(list(NUMBERS.items()))
    unit = draw.choice(list(UNITS))
    said = str(count) if draw.random() < 0.4 else word
    who, item, due = draw.choice(words["who"]), draw.choice(words["item"]), draw.choice(DAYS)
    note = draw.choice(words["form"]).format(who=who, item=item, due=due, count=said,
                                             unit=unit if count == 1 else UNITS[unit])
    note = note[0].upper() + note[1:]
    answer = {"who": who, "item": item, "count": count, "unit": unit, "due": due}
    return {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": note},
                         {"role": "assistant", "content": json.dumps(answer)}]}


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, words, n, seed in (("train", TRAIN, 400, 1), ("heldout", HELDOUT, 100, 2)):
        draw = random.Random(seed)
        with open(folder / f"{name}.jsonl", "w") as out:
            for _ in range(n):
                out.write(json.dumps(example(words, draw)) + "\n")


if __name__ == "__main__":
    main()
