#!/usr/bin/env python3
"""The app's server, besides chats: search, folders, templates, preferences, the exact prompt, exports, imports, files."""
import json
import pathlib
import shutil
import unittest
from urllib.parse import quote

import _fathom
from _app import API, AppTest

SAMPLES = pathlib.Path(__file__).resolve().parent / "app_imports"


def pdf(text):
    """A page with one line."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
               b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
               b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)]
    out, places = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (out + b"xref\n0 5\n0000000000 65535 f \n" + table +
            b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out))


class More(AppTest):
    def search(self, text, **fields):
        more = "".join(f"&{key}={value}" for key, value in fields.items())
        return self.app.call("GET", f"search?q={quote(text)}{more}")["hits"]

    def test_search(self):
        chat = self.app.new_chat(title="Crème brûlée at the Nordstrand")
        first = self.app.say(chat, "How long does the Überfahrt take? C++ and \"quotes\" too.")
        second = self.app.call("POST", f"chats/{chat['id']}/messages", {
            "parent": first["id"], "role": "assistant", "content": "Forty minutes.", "thinking": "The timetable zyzzyva."})
        hits = self.search("CREME nordst")
        self.assertEqual([(h["where"], h["message"], h["title"]) for h in hits], [("title", None, chat["title"])])
        self.assertEqual(hits[0]["snippet"], "\x01Crème\x02 brûlée at the \x01Nordstrand\x02")
        self.assertEqual([(h["where"], h["message"]) for h in self.search("uberf")], [("content", first["id"])])
        self.assertIn("\x01zyzzyva\x02", self.search("zyzz")[0]["snippet"])
        self.assertEqual([(h["where"], h["message"]) for h in self.search("zyzz timet")], [("thinking", second["id"])])
        self.assertEqual(self.search("zyzzyva überfahrt"), [], "not in one message")
        for text in ('"', "'", "* OR", "NEAR(", "zyzzyva AND (", "-title:x", "^", "{content}: a", "\x00", "+++", "   ", "a\x00b",
                     "ﷺ" * 300):
            self.search(text)
        self.assertEqual([h["message"] for h in self.search("c++ \"quotes\"")], [first["id"]])
        self.app.call("GET", "search?q=" + "x" * 1001, status=400)
        self.assertEqual(self.search(""), [])
        # What changes is found anew, what is gone is not found.
        self.app.call("PATCH", f"chats/{chat['id']}", {"title": "Süderoog"})
        self.assertEqual((self.search("nordstrand"), len(self.search("suderoog"))), ([], 1))
        self.app.call("DELETE", f"messages/{second['id']}")
        self.assertEqual(self.search("zyzzyva"), [])
        self.app.call("DELETE", f"chats/{chat['id']}")
        self.assertEqual((self.search("suderoog"), self.search("uberfahrt")), ([], []))
        self.app.call("POST", f"chats/{chat['id']}/restore")
        self.assertEqual(len(self.search("suderoog")), 1)
        answered = self.app.finished(chat, first, settings={"max_tokens": 5, "temperature": 0})
        word = answered["content"].split()[0].strip(".,!\"'")
        self.assertIn(answered["id"], [h["message"] for h in self.search(word)])

    def test_folders(self):
        one, two = (self.app.call("POST", "folders", {"name": n}) for n in ("Work", "Home"))
        self.assertLess(one["position"], two["position"])
        self.app.call("PATCH", f"folders/{two['id']}", {"name": "House", "position": one["position"] - 1})
        names = [f["name"] for f in self.app.call("GET", "folders")["folders"]]
        self.assertLess(names.index("House"), names.index("Work"))
        chat = self.app.new_chat(title="in a folder", folder=one["id"])
        self.assertEqual([c["id"] for c in self.app.call("GET", f"chats?folder={one['id']}")["chats"]], [chat["id"]])
        self.assertEqual(self.app.call("GET", f"chats?folder={two['id']}")["chats"], [])
        self.app.call("DELETE", f"folders/{one['id']}")
        self.assertIsNone(self.app.call("GET", f"chats/{chat['id']}")["folder"])
        self.app.call("DELETE", f"folders/{one['id']}", status=404)
        self.app.call("PATCH", f"folders/{one['id']}", {"name": "x"}, status=404)
        self.app.call("POST", "folders", {"name": ""}, status=400)

    def test_templates_and_preferences(self):
        made = self.app.call("POST", "templates", {"name": "Translate", "text": "Translate: {text}"})
        self.app.call("PATCH", f"templates/{made['id']}", {"text": "Translate to German: {text}"})
        self.assertEqual(self.app.call("GET", "templates")["templates"],
                         [{"id": made["id"], "name": "Translate", "text": "Translate to German: {text}"}])
        self.app.call("DELETE", f"templates/{made['id']}")
        self.assertEqual(self.app.call("GET", "templates")["templates"], [])
        self.assertEqual(self.app.call("PATCH", "preferences", {"theme": "dark", "nested": {"a": [1, None]}}),
                         {"theme": "dark", "nested": {"a": [1, None]}})
        self.assertEqual(self.app.call("PATCH", "preferences", {"theme": None}), {"nested": {"a": [1, None]}})
        self.app.call("PATCH", "preferences", {"big": "x" * 66000}, status=400)
        self.app.call("PATCH", "preferences", [], status=400)
        self.assertEqual(self.app.call("GET", "preferences"), {"nested": {"a": [1, None]}})

    def test_the_exact_prompt(self):
        chat = self.app.new_chat(system="You are brief.")
        question = self.app.say(chat, "Hello <|im_end|> there")
        answer = self.app.finished(chat, question, settings={"max_tokens": 4}, prefix={"content": "Well"})
        self.app.call("PATCH", f"chats/{chat['id']}", {"system": "Changed since."})
        shown = self.app.call("GET", f"messages/{answer['id']}/prompt")
        asked = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": question["content"]}]
        prefix = {"role": "assistant", "content": "Well", "prefix": True}
        self.assertEqual(shown["prompt"], self.app.post("/apply-template", messages=[*asked, prefix]).json()["prompt"])
        self.assertEqual(shown["tokens"], answer["info"]["prompt_tokens"])
        self.app.call("GET", f"messages/{question['id']}/prompt", status=400)
        asked[0]["content"] = "Changed since."
        asked += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "And?"}]
        counted = self.app.call("POST", "count", {"chat": chat["id"], "parent": answer["id"], "content": "And?"})
        tokens = self.app.post("/tokenize", messages=asked).json()["count"]
        self.assertEqual(counted, {"tokens": tokens, "ctx": 2048})
        alone = self.app.post("/tokenize", messages=[{"role": "user", "content": "Hi"}]).json()["count"]
        self.assertEqual(self.app.call("POST", "count", {"content": "Hi"})["tokens"], alone)

    def export(self, path):
        reply = self.app.get(f"{API}/{path}")
        self.assertEqual(reply.status, 200, reply.body)
        self.assertTrue(reply.headers["content-disposition"].startswith("attachment;"))
        return reply.body.decode()

    def test_exports_come_back_as_they_were(self):
        folder = self.app.call("POST", "folders", {"name": "Trips"})
        chat = self.app.new_chat(title="Zug/\"Fähre\" <b>", system="Be kind.", settings={"temperature": 0.5},
                                 folder=folder["id"], tags=["x"])
        first = self.app.say(chat, "<script>alert(1)</script> & more")
        self.app.finished(chat, first, settings={"max_tokens": 4, "seed": 1})
        self.app.call("POST", f"chats/{chat['id']}/messages",
                      {"parent": first["id"], "role": "assistant", "content": "**Yes**", "thinking": "one\ntwo"})
        page = self.export(f"chats/{chat['id']}/export?format=html")
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more", page)
        self.assertIn("one\ntwo", page)
        text = self.export(f"chats/{chat['id']}/export?format=md")
        self.assertIn("## Assistant\n\n> one\n> two\n\n**Yes**\n", text)
        self.assertNotIn("> one", self.export(f"chats/{chat['id']}/export?format=md&thinking=0"))
        self.app.call("GET", f"chats/{chat['id']}/export?format=exe", status=400)
        exported = json.loads(self.export("export?format=json"))
        mine = [c for c in exported["chats"] if c["id"] == chat["id"]][0]
        before = self.app.call("GET", f"chats/{chat['id']}")
        self.app.call("DELETE", f"chats/{chat['id']}?for_good=1")
        one = {**exported, "chats": [mine]}
        self.assertEqual(self.app.call("POST", "import", one), {"chats": 1, "left_out": 0})
        back = [c for c in self.app.call("GET", f"chats?folder={folder['id']}")["chats"] if c["title"] == chat["title"]][0]
        after = self.app.call("GET", f"chats/{back['id']}")
        names = {m["id"]: i for i, m in enumerate(after["messages"])}, {m["id"]: i for i, m in enumerate(before["messages"])}

        def plain(value, ids):
            value = {k: v for k, v in value.items() if k not in ("id", "chat", "messages")}
            return {k: ids[v] if k in ("parent", "leaf") and v else v for k, v in value.items()}
        self.assertEqual(plain(after, names[0]), plain(before, names[1]))
        self.assertEqual([plain(m, names[0]) for m in after["messages"]], [plain(m, names[1]) for m in before["messages"]])
        answered = [m for m in after["messages"] if m.get("info")][0]
        self.assertEqual(self.app.call("GET", f"messages/{answered['id']}/prompt")["tokens"], answered["info"]["prompt_tokens"])

    def test_a_long_text_of_one_word_is_searched(self):
        chat = self.app.new_chat()
        self.app.say(chat, "tick " * 200_000)
        self.assertTrue(self.search("tick")[0]["snippet"].startswith("\x01tick\x02 \x01tick\x02"))

    def test_imports_are_bounded(self):
        def file(chats):
            return {"format": "fathom.chats", "version": 1, "chats": chats}

        folders = self.app.call("GET", "folders")
        for chats in ([{}] * 100_001, [{"folder": str(i)} for i in range(1001)], [{"folder": "x" * 201}]):
            self.app.call("POST", "import", file(chats), status=400)
        self.assertEqual(self.app.call("GET", "folders"), folders)
        # A beginning of an answer that ends within a character.
        asked = {"role": "assistant", "content": "\u00e9a", "parent": "u", "asked": {"prefix": {"content": 1}}}
        self.app.call("POST", "import", file([{"title": "cut", "messages": [{"id": "u", "role": "user", "content": "Hi"}, asked]}]))
        chat = next(c for c in self.app.call("GET", "chats")["chats"] if c["title"] == "cut")
        answer = self.app.call("GET", f"chats/{chat['id']}")["messages"][1]
        self.assertTrue(self.app.call("GET", f"messages/{answer['id']}/prompt")["prompt"].endswith("assistant\n"))
        # A time that is still to come would be that of every later change; equal times become one each.
        self.app.call("POST", "import", file([{"title": "late", "updated": 2 ** 53}]))
        self.assertLess(self.app.new_chat()["updated"], 2 ** 52)
        self.app.call("POST", "import", file([{"title": "old", "created": 5, "updated": 5}] * 100))
        old = [c["updated"] for c in self.app.call("GET", "chats?limit=1000")["chats"] if c["title"] == "old"]
        self.assertEqual((len(old), len(set(old)), min(old)), (100, 100, 5))

    def imported(self, name):
        """The chats that a sample brings, by title: [(role, thinking, content, index of the parent)]."""
        before = {c["id"] for c in self.app.call("GET", "chats?limit=1000")["chats"]}
        count = self.app.call("POST", "import", json.loads((SAMPLES / name).read_text()))["chats"]
        new = [c for c in self.app.call("GET", "chats?limit=1000")["chats"] if c["id"] not in before]
        self.assertEqual(len(new), count)
        out = {}
        for chat in new:
            messages = self.app.call("GET", f"chats/{chat['id']}")["messages"]
            ids = [m["id"] for m in messages]
            out[chat["title"]] = chat, [(m["role"], m["thinking"], m["content"],
                                         ids.index(m["parent"]) if m["parent"] else None) for m in messages]
            out[chat["title"]][0]["leaf"] = ids.index(chat["leaf"]) if chat["leaf"] else None
        return out

    def test_other_programs_exports(self):
        chats = self.imported("chatgpt.json")
        chat, messages = chats["A tree"]
        self.assertEqual(messages, [("user", "", "Name a tree.", None), ("assistant", "Pick one\nOaks are common.", "Oak.", 0),
                                    ("assistant", "", "Beech.", 0), ("user", "", "Thanks", 1)])
        self.assertEqual((chat["leaf"], chat["created"]), (3, 1700000000500))
        self.assertEqual(chats["What hangs in a circle"][1][0][2], "What hangs in a circle")
        chat, messages = self.imported("deepseek.json")["Sky"]
        self.assertEqual(messages, [("user", "", "Why is the sky blue?", None),
                                    ("assistant", "Scattering.", "Because of scattering.", 0)])
        self.assertEqual(chat["created"], 1745899151635)
        chat, messages = self.imported("open_webui.json")["Soup"]
        self.assertEqual(messages, [("user", "", "A soup?", None), ("assistant", "Which one?\nTomato.", "Tomato soup.", 0)])
        self.assertEqual((chat["tags"], chat["archived"], chat["pinned"]), (["food"], False, True))
        for body in ({}, [], [{}], [1], {"format": "fathom.chats", "version": 2}, {"format": "other"}, [{"mapping": 1}],
                     {"format": "fathom.chats", "chats": [{"messages": [{"role": "root"}]}]}):
            if body != []:
                self.app.call("POST", "import", body, status=400)

    def test_files_become_text(self):
        def sent(name, body, status=200):
            reply = self.app.request("POST", f"{API}/text?name={quote(name)}", body, {"Content-Type": "application/octet-stream"})
            self.assertEqual(reply.status, status, reply.body)
            return reply.json()
        text = sent("ä.py", "print('ü')\n".encode())
        self.assertEqual((text["name"], text["text"]), ("ä.py", "print('ü')\n"))
        self.assertEqual(text["tokens"], self.app.post("/tokenize", content=text["text"]).json()["count"])
        sent("x.bin", b"\x00\x01", 415)
        sent("x.txt", b"\xff\xfe", 415)
        if shutil.which("pdftotext") and shutil.which("bwrap"):
            self.assertIn("Hello from a page", sent("a.pdf", pdf("Hello from a page"))["text"])
            self.assertEqual(sent("b.pdf", b"%PDF-1.4\n" + b"rubbish" * 1000, 422)["error"]["code"], "unreadable_file")
        else:
            self.assertEqual(sent("a.pdf", pdf("x"), 501)["error"]["code"], "no_pdf")


if __name__ == "__main__":
    _fathom.harness.main()
