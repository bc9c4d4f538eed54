#!/usr/bin/env python3
"""`fathom chat` as a person uses it: a real terminal (tmux), a real model, and looks at the screen."""
import json
import shutil
import unittest

import _fathom
from _fathom import Terminal

MODEL = _fathom.chat_model()
OPTIONS = ["--temperature", "0", "--profile", "exact", "--ctx", "1024", "--max-tokens", "60"]


@unittest.skipUnless(MODEL, "needs a chat model")
@unittest.skipUnless(shutil.which("tmux"), "needs tmux")
class Chat(unittest.TestCase):
    def start(self, *arguments, **settings):
        terminal = Terminal("chat", MODEL, *OPTIONS, *arguments, **settings)
        self.addCleanup(terminal.close)
        terminal.wait_for_prompt()
        return terminal

    def test_question_answer_and_end(self):
        t = self.start()
        self.assertIn("profile exact, cache f32", t.screen())
        t.ask("What is the capital of France?")
        t.wait_for("The capital of France is Paris.")
        t.wait_for_prompt()
        t.ask("/stats")
        t.wait_for("tok/s")
        t.wait_for("of 1024 tokens")
        t.keys("C-d")
        t.wait_for("EXIT 0")

    def test_editing_keys_and_history(self):
        t = self.start()
        t.type("Whot is the capitol of France?")
        t.keys("C-a", "Right", "Right", "C-d")
        t.type("a")
        t.wait_for("What is the capitol")
        t.keys("C-e", *["Left"] * 12, "BSpace")
        t.type("a")
        t.wait_for("What is the capital of France?")
        t.keys("Enter")
        t.wait_for("Paris.")
        t.wait_for_prompt()
        t.type("/systen")
        t.keys("C-u", "Up")
        t.wait(lambda s: s.split("\n")[-1].startswith("> What is the capital of France?"), "the question again")
        t.keys("C-u")
        t.type("Grüße, 世界x")
        t.keys("BSpace", "BSpace")
        t.wait(lambda s: s.split("\n")[-1].rstrip() == "> Grüße, 世", "one wide character less")
        t.keys("C-c")
        t.wait_for_empty_prompt()

    def test_history_stays_for_the_next_chat(self):
        home = self.start()
        home.ask("/system A short line.")
        home.wait_for("is set")
        home.keys("C-d")
        home.wait_for("EXIT 0")
        t = self.start(env={"FATHOM_HOME": str(home.folder)})
        t.keys("Up")
        t.wait_for("> /system A short line.")

    def test_messages_of_several_lines(self):
        t = self.start()
        for line in ('"""', "first", "second", '"""'):
            t.say(line)
        t.wait_for_prompt()
        t.say("one \\")
        t.say("two")
        t.wait_for_prompt()
        t.paste("three\nfour")
        t.wait_for("four")
        t.keys("Enter")
        t.wait_for_prompt()
        t.type("five")
        t.keys("M-Enter")
        t.type("six")
        t.keys("Enter")
        t.wait_for_prompt()
        file = t.folder / "chat.json"
        t.ask(f"/save {file}")
        t.wait_for("Saved")
        saved = json.loads(file.read_text())
        self.assertEqual((saved["format"], saved["version"]), ("fathom.chat", 1))
        asked = [m["content"] for m in saved["messages"] if m["role"] == "user"]
        self.assertEqual(asked, ["first\nsecond", "one \ntwo", "three\nfour", "five\nsix"])

    def test_ctrl_c_stops_the_answer_and_keeps_the_chat(self):
        t = self.start("--max-tokens", "900")
        t.ask("Write a very long story about the sea with many chapters.")
        t.wait(lambda s: len(s.split("long story about the sea with many chapters.")[-1]) > 80, "the story's beginning")
        t.keys("C-c")
        t.wait_for("[stopped]")
        t.wait_for_prompt()
        t.keys("C-c")
        t.wait_for("Leave with /quit or Ctrl-D.")
        t.ask("/new")
        t.wait_for("A new conversation.")
        t.ask("What is the capital of France?")
        t.wait_for("The capital of France is Paris.")

    def test_regen_undo_save_load(self):
        t = self.start("--temperature", "1")
        t.ask("Name an animal.")
        t.wait_for_prompt()
        file = t.folder / "a.json"
        t.ask(f"/save {file}")
        t.wait_for("Saved 2 messages")
        first = json.loads(file.read_text())["messages"]
        t.ask("/regen")
        t.wait_for_prompt()
        other = t.folder / "b.json"
        t.ask(f"/save {other}")
        t.wait(lambda s: s.count("Saved 2 messages") == 2, "a second file")
        second = json.loads(other.read_text())["messages"]
        self.assertEqual(first[0], second[0])
        self.assertNotEqual(first[1], second[1])
        t.ask("/undo")
        t.wait_for("0 questions are left")
        t.ask(f"/load {file}")
        t.wait_for("Loaded 2 messages")
        t.ask("/load /nonexistent.json")
        t.wait_for("/nonexistent.json:")
        t.ask("/model /nonexistent.gguf")
        t.wait_for("The model before is loaded again.")
        t.wait_for_prompt()
        t.ask("/undo")
        t.wait(lambda s: s.count("0 questions are left") == 2, "the conversation survived")

    def test_commands_and_mistakes(self):
        t = self.start(rows=50)
        t.ask("/help")
        screen = t.wait_for("Alt-Enter")
        for name in ("/think", "/budget", "/system", "/regen", "/undo", "/save", "/load", "/stats", "/model"):
            self.assertIn(name, screen)
        t.ask("/nonsense")
        t.wait_for("/help lists them")
        t.ask("/budget many")
        t.wait_for("expected a number of tokens or off, found 'many'")
        t.ask("/think off")
        t.wait_for("no switch for thinking")
        t.ask("/quit")
        t.wait_for("EXIT 0")

    def test_resize_while_typing(self):
        t = self.start()
        t.type("What is the capital of France? Answer in one short sentence, please")
        t.resize(40, 20)
        t.wait_for("please")
        t.type(".")
        t.keys("Enter")
        t.wait_for("Paris")
        t.wait_for_prompt()

    def test_full_context_asks(self):
        t = self.start("--ctx", "64", "--max-tokens", "20")
        t.ask("Name a colour.")
        t.wait_for_prompt()
        t.ask("Name another colour, and then tell me what it looks like when the sun goes down.")
        t.wait_for("does not fit")
        t.say("c")
        t.wait_for("Cancelled")
        t.ask("And another one, and then tell me what it looks like when the sun goes down?")
        t.wait_for("[d]rop the oldest exchange")
        t.say("d")
        t.wait_for_prompt()

    def test_thinking_folds(self):
        folder = Terminal("--version")
        self.addCleanup(folder.close)
        template = folder.folder / "think.jinja"
        template.write_text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                            "<|im_start|>assistant\n<think>\n")
        t = self.start("--template", template, "--budget", "8")
        t.ask("Count to ten.")
        screen = t.wait_for("[thought for ")
        self.assertIn("ended by the budget", screen)
        t.wait_for_prompt()


if __name__ == "__main__":
    _fathom.harness.main()
