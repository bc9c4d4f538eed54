"""The app's API for the tests: a server with a store of its own, and its streams of events."""
import contextlib
import http.client
import json

from _server import PATIENCE_S, Server, ServerTest

API = "/app/api"
# Opens a thinking that the small model never closes by itself.
THINKING = ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: <think>\n{% endif %}{# </think> #}")


class App(Server):
    """`fathom serve` as the page sees it."""

    def call(self, method, path, body=None, status=None, **headers):
        """The answer's JSON; `status`: the expected one, else any success."""
        reply = self.request(method, f"{API}/{path}", body, headers)
        if status is None:
            assert reply.status in (200, 201), (method, path, reply.status, reply.body)
        else:
            assert reply.status == status, (method, path, reply.status, reply.body)
        return reply.json()

    def new_chat(self, **fields):
        return self.call("POST", "chats", fields)

    def say(self, chat, text, parent=None, **fields):
        """A message of the user."""
        return self.call("POST", f"chats/{chat['id']}/messages",
                         {"parent": parent and parent["id"], "role": "user", "content": text, **fields})

    def answer(self, chat, parent, **fields):
        """An answer, begun."""
        return self.call("POST", f"chats/{chat['id']}/answers", {"parent": parent["id"], **fields})

    def whole(self, message, **headers):
        """What the stream of a message says: (thinking, text, the message that ended it)."""
        with self.watch(message, **headers) as events:
            return gathered(events)

    def finished(self, chat, parent, **fields):
        """An answer, complete."""
        return self.whole(self.answer(chat, parent, **fields))[2]

    def watch(self, message, query="", **headers):
        return self.follow(f"messages/{message['id']}/stream{query}", **headers)

    @contextlib.contextmanager
    def follow(self, path, **headers):
        """The events of a stream, as they come: (id, data). Leaving ends the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", f"{API}/{path}", headers=headers)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            yield read_events(response)


def read_events(response):
    number, data = None, None
    for line in response:
        line = line.decode().rstrip("\n")
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            data = json.loads(line[6:])
        elif not line and data is not None:
            yield number, data
            number, data = None, None


def gathered(events):
    """(thinking, text, message) of a stream to its end."""
    said = {"thinking": "", "text": ""}
    for _, event in events:
        if event["type"] in said:
            said[event["type"]] += event["text"]
        if event["type"] in ("done", "failed"):
            return said["thinking"], said["text"], event["message"]
    raise AssertionError(f"the stream ended without a last event after {said}")


class AppTest(ServerTest):
    """Tests against one server, whose store is a file of its own."""
    arguments = ()
    template = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.folder / "store.sqlite"
        if cls.template:
            (cls.folder / "template.jinja").write_text(cls.template)
            cls.arguments = (*cls.arguments, "--template", str(cls.folder / "template.jinja"))
        cls.app = cls.start()

    @classmethod
    def start(cls):
        """A server over the class's store."""
        app = App(cls.model, "--ctx", "2048", "--store", str(cls.store), *cls.arguments)
        cls.addClassCleanup(app.close)
        return app
