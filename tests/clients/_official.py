"""A running `fathom serve` with a template that thinks and calls tools, for the anthropic and ollama packages."""
import os
import pathlib
import re
import subprocess
import sys
import threading

import _fathom

# Two turns before the conversation show the small model what a call of a tool looks like.
TEMPLATE = """{%- if tools %}{% for city in ['Rome', 'Oslo', 'Madrid'] %}<|im_start|>user
What is the weather in {{ city }}?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "get_weather", "arguments": {"city": "{{ city }}"}}
</tool_call><|im_end|>
{% endfor %}{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>
{% endif %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>
{{ c.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking %}<think>
{% endif %}{% endif %}"""

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ALIAS = "claude-small"


class Server:
    """`fathom serve` on a port that the system chooses."""

    def __init__(self):
        model = _fathom.chat_model()
        template = pathlib.Path(_fathom.FATHOM_HOME) / "small.jinja"
        template.write_text(TEMPLATE)
        self.name = model.stem
        self.process = subprocess.Popen(
            [str(_fathom.FATHOM), "serve", str(model), "--port", "0", "--seed", "1", "--ctx", "2048", "--template", str(template),
             "--alias", f"{ALIAS}={self.name}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "FATHOM_HOME": _fathom.FATHOM_HOME})
        log = []
        for line in self.process.stderr:
            log.append(line)
            if found := re.match(r"listening on (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                break
        else:
            raise AssertionError(f"no server: exit code {self.process.wait()}\n{''.join(log)}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def close(self):
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.process.stderr.close()
