#!/usr/bin/env python3
"""The app's server, besides chats: search, folders, templates, preferences."""
from urllib.parse import quote

import _fathom
from _app import AppTest


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


if __name__ == "__main__":
    _fathom.harness.main()
