#!/usr/bin/env python3
"""Writes src/text/testdata/jinja_cases.jsonl: small templates with what Python's Jinja2 makes of them.

Needs jinja2 (3.1); the environment is set up as transformers sets it up for chat templates. Each line is
{"template", "context", "output"} or {"template", "context", "error": true}. Run it again after adding a snippet.
"""
import copy
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

CONTEXT = {
    "a": 1, "b": -7, "f": 2.5, "big": 123456789012345678, "s": "Hello, World", "u": "äöü ßtraße 😀x", "empty": "",
    "t": True, "n": None, "l": [3, 1, 2], "names": ["bob", "Alice", "carol", "alice"], "nested": [[1, 2], [3, 4]],
    "d": {"x": 1, "y": {"z": [1, 2, {"w": "deep"}]}, "items": "shadow"}, "ws": "  \n padded\t ", "q": "it's \"q\"\n\\",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U1", "n": 3},
                 {"role": "assistant", "content": "<think>r</think>A1", "n": 1}, {"role": "user", "content": "U2", "n": 2}],
}

# Separated by ¦.
EXPRESSIONS = r"""
1 + 2 * 3 ¦ 7 // 2 ¦ -7 // 2 ¦ 7 % 3 ¦ -7 % 3 ¦ 7 % -3 ¦ 2 ** 10 ¦ 2 ** -1 ¦ 2 ** 3 ** 2 ¦ -2 ** 2 ¦ 7 / 2 ¦ 6 / 2 ¦ 1e3 ¦ 1.5e-7 ¦ 1e16 ¦ 123456789.0
0.1 + 0.2 ¦ 1_000 + 0x1f + 0b11 + 0o17 ¦ big * 1000 ¦ b // 2.0 ¦ -b ¦ +t ¦ t + t ¦ f * 2 ¦ 7.5 // 2 ¦ -7.5 % 2 ¦ 1 == 1.0 ¦ t == 1 ¦ n is none ¦ none
true ¦ [1, 'a', none, true, 1.0] ¦ {'a': 1, 'b': [1, {'c': none}]} ¦ (1,) ¦ (1, 2) ¦ () ¦ 1, 2 ¦ [] ¦ {} ¦ 'a' 'b' "c" ¦ 'a' ~ 1 ~ none ~ 2.0 ~ [1]
'x' * 3 ¦ 3 * 'ab' ¦ [0] * 3 ¦ [1] + [2] ¦ (1,) + (2,) ¦ '%s is %d' % ('a', 3) ¦ '%5.2f|%-5s|%05d|%x|%X|%o' % (3.14159, 'ab', 42, 255, 255, 8)
'%s' % 'x' ¦ '%r' % 'x' ¦ '%%' % () ¦ '%(k)s' % {'k': 1} ¦ '%s' % [1] ¦ '%+d' % 5 ¦ '%e' % 12345.678 ¦ '%g' % 0.0001 ¦ '{} {}'.format(1, 'a')
'{0}{1}{0}'.format('a', 'b') ¦ '{x:>5}|'.format(x='a') ¦ '{:.2f}'.format(3.14159) ¦ '{:05d}'.format(42) ¦ '{:,}'.format(1234567) ¦ '{{}}'.format()
'{:^7}'.format('mid') ¦ s[0] ¦ s[-1] ¦ s[1:4] ¦ s[::-1] ¦ s[::2] ¦ s[-3:] ¦ s[:-3] ¦ s[10:2:-2] ¦ s[100:] ¦ s[:100] ¦ u[1] ¦ u[::-1] ¦ u[-2:] ¦ l[0]
l[-1] ¦ l[5] ¦ l[1:] ¦ l[::-1] ¦ l[-1:0:-1] ¦ (1, 2, 3)[1:] ¦ s[none:2] ¦ l[::0] ¦ d.x ¦ d['x'] ¦ d.y.z[2].w ¦ d['y']['z'][0] ¦ d.missing
d.missing.more ¦ d['missing'] ¦ missing ¦ missing.x ¦ missing['x'] ¦ missing[1:] ¦ missing + 1 ¦ 1 + missing ¦ 'a' + missing ¦ 'a' ~ missing ¦ missing()
s.missing ¦ n.x ¦ n['x'] ¦ n.x.y ¦ a.b ¦ l.x ¦ nested.0.1 ¦ nested[1].0 ¦ d.items ¦ d['items'] ¦ d.keys() ¦ d.values() ¦ d.items() ¦ d.get('x')
d.get('q') ¦ d.get('q', 5)|d ¦ d.pop('x') ¦ l.append(1) ¦ names.index('bob') ¦ l.count(1) ¦ d.update({}) ¦ 1 < 2 < 3 ¦ 1 < 3 < 2 ¦ 'a' < 'b' ¦ 'a' < 1
[1, 2] < [1, 3] ¦ 1 in [1, 2] ¦ 1 not in [1, 2] ¦ 'ell' in s ¦ 'x' in d ¦ 1 in s ¦ missing in l ¦ 'x' in missing ¦ not 1 ¦ not '' and 1 ¦ 0 or 'x'
'' and 1 ¦ 1 and 2 ¦ none or missing ¦ 1 if t ¦ 1 if not t ¦ 1 if not t else 2 ¦ (1 if missing else 'no') ¦ 'yes' if a > 0 and b < 0 else 'no'
a if a is defined else 0 ¦ missing is defined ¦ missing is not defined ¦ a is defined and a ¦ missing is undefined ¦ n is none ¦ n is not none
s is string ¦ a is string ¦ a is number ¦ t is number ¦ t is integer ¦ a is integer ¦ f is float ¦ a is float ¦ t is boolean ¦ t is true ¦ a is true
t is false|d is mapping ¦ l is mapping ¦ l is sequence ¦ s is sequence|d is sequence ¦ a is sequence ¦ missing is sequence ¦ l is iterable
s is iterable ¦ a is iterable ¦ d.items() is sequence ¦ d.get is callable ¦ a is callable ¦ a is odd ¦ b is even ¦ 4 is divisibleby 2
4 is divisibleby(3) ¦ a is eq 1 ¦ a is equalto(1) ¦ a is ne 2 ¦ a is lt 2 ¦ a is ge 1 ¦ a is in [1, 2] ¦ a is not in [1] ¦ 'abc' is lower
'ABC' is upper ¦ a is sameas 1 ¦ n is sameas none ¦ 'upper' is filter ¦ 'nope' is filter ¦ 'odd' is test ¦ a is == 1 ¦ a is nope ¦ s|upper ¦ s|lower
u|upper ¦ u|capitalize ¦ s|title ¦ 'it\'s a-b (c)d'|title ¦ 'hello world'.title() ¦ 'hELLO'.capitalize() ¦ 'aBc'.swapcase() ¦ ws|trim ¦ ws.strip()
ws.lstrip() ¦ ws.rstrip() ¦ 'xxaxx'.strip('x') ¦ 'xyaxy'.lstrip('yx') ¦ 'xxaxx'|trim('x') ¦ n|trim ¦ a|trim ¦ missing|trim ¦ s|length ¦ u|length
l|length|d|length ¦ missing|length ¦ a|length ¦ n|length ¦ l|first ¦ l|last ¦ empty|first ¦ []|first ¦ names|join(', ') ¦ l|join ¦ l|join('-')
messages|join(', ', attribute='role') ¦ missing|join(',') ¦ u|join('.') ¦ names|join(d='/') ¦ l|sort ¦ l|sort(reverse=true) ¦ names|sort
names|sort(case_sensitive=true) ¦ messages|sort(attribute='content')|map(attribute='role')|list ¦ names|unique|list
names|unique(case_sensitive=true)|list ¦ l|min ¦ l|max ¦ names|max ¦ messages|selectattr('n')|list ¦ l|sum ¦ messages|sum(attribute='n') ¦ l|reverse|list
s|reverse ¦ l|list ¦ s|list|d|list ¦ missing|list ¦ nested|sum(start=[]) ¦ messages|map(attribute='role')|list
messages|map(attribute='n', default=0)|list ¦ names|map('upper')|list ¦ names|map('replace', 'a', 'x')|list ¦ l|map('string')|join('+')
l|select('odd')|list ¦ l|reject('odd')|list ¦ l|select|list ¦ [0, 1, '', none]|select|list
messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list ¦ messages|rejectattr('role', 'eq', 'user')|list|length
messages|selectattr('role', 'in', ['user', 'system'])|list|length ¦ messages|selectattr('n', 'defined')|list|length
messages|groupby('role')|map('first')|list ¦ l|select('odd') ¦ messages|selectattr('role', 'equalto', 'user')|length ¦ s|replace('l', 'L')
s|replace('l', 'L', 1) ¦ s.replace('o', '') ¦ s.replace('l', 'L', 1) ¦ 'aaa'.replace('', '-') ¦ s|default('x') ¦ missing|default('x')
empty|default('x') ¦ empty|default('x', true) ¦ n|default('x') ¦ n|default('x', boolean=true) ¦ missing|d('y') ¦ missing|default ¦ '12'|int ¦ '12.7'|int
'x'|int ¦ 'x'|int(5) ¦ f|int ¦ '0x1f'|int(base=16) ¦ '1f'|int(base=16) ¦ ' 42 '|int ¦ '-3'|int ¦ n|int ¦ '3.5'|float ¦ 'x'|float ¦ '1e3'|float ¦ a|float
a|string ¦ f|string ¦ n|string ¦ t|string ¦ b|abs ¦ f|round ¦ 2.567|round(2) ¦ 2.5|round ¦ 3.5|round ¦ 7|round ¦ 2.1|round(method='ceil')
2.9|round(method='floor') ¦ 1234.5|round(-2) ¦ s.split(', ') ¦ s.split() ¦ 'a,b,c'.split(',', 1) ¦ 'a,b,c'.rsplit(',', 1) ¦ ' a  b '.split()
'a b c'.split(none, 1) ¦ 'a b c'.rsplit(none, 1) ¦ ''.split() ¦ ''.split(',') ¦ 'a\nb\r\nc\n'.splitlines() ¦ 'a-b-c'.partition('-')
'a-b-c'.rpartition('-') ¦ 'abc'.partition('x') ¦ s.split('') ¦ 'a</think>b</think>c'.split('</think>')[-1] ¦ s.split('o')[-1].lstrip('r')
s.startswith('Hel') ¦ s.startswith(('x', 'H')) ¦ s.endswith('d') ¦ s.startswith('l', 2) ¦ s.find('o') ¦ s.rfind('o') ¦ s.find('zz') ¦ s.index('o')
s.index('zz') ¦ s.count('l') ¦ u.find('ß') ¦ 'abc'.center(9, '*') ¦ 'abc'.ljust(5) ~ '|' ¦ 'abc'.rjust(5) ¦ '-5'.zfill(4) ¦ 'abc'.removeprefix('a')
'abc'.removesuffix('c') ¦ ', '.join(['a', 'b']) ¦ ', '.join([1]) ¦ '-'.join('abc') ¦ 'abc'.isalpha() ¦ '12'.isdigit() ¦ ' '.isspace() ¦ 'abc1'.isalnum()
'Abc Def'.istitle() ¦ ''.isalpha() ¦ d|tojson|d|tojson(indent=2) ¦ l|tojson ¦ u|tojson ¦ q|tojson ¦ f|tojson ¦ 1e16|tojson ¦ 1.0|tojson ¦ n|tojson
t|tojson ¦ missing|tojson ¦ []|tojson(indent=4) ¦ {'b': 1, 'a': []}|tojson(sort_keys=true) ¦ {1: 2, none: 3, true: 4}|tojson ¦ '<&>'|tojson
u|tojson(ensure_ascii=true)|d|tojson(separators=(',', ':')) ¦ [[1, [2]], {}]|tojson(indent=1) ¦ (1, 2)|tojson ¦ d.items()|list|tojson
d|items|list|d|dictsort ¦ {'b': 1, 'A': 2}|dictsort ¦ {'b': 1, 'A': 2}|dictsort(true) ¦ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true)
missing|items|list ¦ l|items ¦ q ¦ u ¦ [q, u] ¦ ['\x00\x7f\u200b'] ¦ '\u00e9\x41\101\q' ¦ "a\tb" ¦ ws|string ¦ [ws] ¦ {'k': 'it\'s'} ¦ ['it\'s "x"']
range(3)|list ¦ range(1, 10, 3)|list ¦ range(5, 0, -2)|list ¦ range(0)|list ¦ range(3, step=1) ¦ range(3)[1] ¦ dict(a=1, b=2) ¦ namespace(a=1).a
l|batch(2)|list ¦ l|batch(2, 0)|list ¦ 'a b c'|wordcount ¦ 'abc'|center(7) ¦ 'a\nb\n\nc'|indent ¦ 'a\nb'|indent(2, true) ¦ 'a\n\nb'|indent(2, blank=true)
'a\nb'|indent('> ') ¦ 'foo bar baz qux'|truncate(9) ¦ 'foo bar baz qux'|truncate(9, true) ¦ 'foo bar baz qux'|truncate(11, false, '..', 0)
'<a href="x">&\''|e ¦ 'a b/c?d=ä'|urlencode ¦ '%s-%s'|format(1, 2) ¦ '%(a)s'|format(a=1) ¦ s|safe ¦ messages[0]|attr('role') ¦ messages[-1]['content']
messages[1:]|length ¦ messages[-1].content[::-1] ¦ messages|last ¦ (messages|first).role ¦ messages[0].role == 'system'
not(messages[0].content.startswith('S') and true) ¦ messages|length - 1 ¦ s|upper|lower|length ¦ -b|abs ¦ (b|abs) + 1 ¦ [1,2,][1] ¦ {'a':1,}.a
{'a': {'b': 2}}['a']['b'] ¦ '%c%c' % ('x', 65)|nope(1) ¦ s|nope ¦ raise_exception('no') ¦ 'a' if n is not none and n.x else 'b'
""".strip()

STATEMENTS = [
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in missing %}a{% else %}none{% endfor %}", "{% for x in n %}a{% endfor %}", "{% for x in 5 %}a{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}", "{% for a, b in nested %}{{ a }}{{ b }};{% endfor %}", "{% for a, b in l %}x{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}no{% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}no{% endfor %}", "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in nested %}{{ loop.index }}{{ loop.parent }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for i in range(3) recursive %}{{ i }}{% if i > 0 and loop.depth < 3 %}({{ loop(range(i)) }}){% endif %}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% for i in l %}{{ x is defined }}{% set x = i %}{% endfor %}", "{% set ns = namespace(v=0) %}{% for i in l %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}",
    "{% set a.b = 1 %}", "{% set ns = namespace() %}{{ ns.x }}{{ ns.x is defined }}{% set ns.x = 1 %}{{ ns.x }}", "{% set ns = namespace({'k': 2}, j=3) %}{{ ns.k }}{{ ns.j }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = b, a %}{{ a }},{{ b }}", "{% set x = 1, 2 %}{{ x }}",
    "{% set x %}a{{ 1 + 1 }}b{% endset %}{{ x }}{{ x|length }}", "{% set x | upper | trim %} abc {% endset %}[{{ x }}]", "{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}",
    "{% macro m(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(a=5, b=6) }}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set s = 'in' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %}x{% endmacro %}{{ m()|upper }}{{ m() ~ m() }}{{ m()|length }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body{{ a }}{% endcall %}", "{% macro m(l) %}{% for x in l %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(y) m(l) %}({{ y }}){% endcall %}", "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aac{% endfilter %}",
    "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}", "{% generation %}abc{{ a }}{% endgeneration %}", "{% for x in l %}{% generation %}{{ loop.index }}{{ x }}{% endgeneration %}{% endfor %}", "{% if a %}1{% elif b %}2{% else %}3{% endif %}", "{% if n %}1{% elif b %}2{% else %}3{% endif %}", "{% if n %}1{% elif missing %}2{% else %}3{% endif %}", "{% if a == 1 and not n %}y{% endif %}",
    "{% raw %}{{ a }}{% if %}{% endraw %}", "{%- raw -%} {{ a }} {%- endraw -%} x", "x {# comment {{ a }} #} y", "x {#- c -#} y", "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \n  b\n  {% endif %}\nc\n\n", "  {{ a }}  \n  {{ b }}\n", "a  {%- if true -%}  b  {%- endif -%}  c", "a  {%+ if true %} b {%+ endif %} c", "  {%+ if true +%}\nb{% endif %}", "{% if true %}\n\n x{% endif %}", "x\r\ny\r{% if true %}\r\nz{% endif %}",
    "  {# c #}\nx\n  {# c #}  y", "{{ a -}}  \n b", "a \n {{- b }}", "{{ '}}' }}{{ \"{%\" }}{{ {'a': {'b': 1}} }}", "{{ a }}{{", "{% if %}", "{% endif %}", "{% if a %}", "{% for x in l %}{% endif %}", "{{ a b }}", "{{ 1 + }}", "{{ (1 }}", "{{ 'x }}", "{% unknown %}", "{% set x %}", "{% break %}", "{{ a | }}", "{{ a is }}", "{{ {1} }}", "{{ [1, 2 }}", "{% for x l %}{% endfor %}", "{{ f(a=1, 2) }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% set x = l %}{% set y = x|select('odd') %}{{ y|list }}{{ y|list }}", "{% set g = l|map('string') %}{{ g|first }}{{ g|list }}", "{% if l|select('equalto', 9) %}yes{% else %}no{% endif %}", "{% for m in messages|selectattr('role', 'equalto', 'user') %}{{ m.content }}{{ loop.last }}{% endfor %}", "{% for m in messages[::-1] %}{{ m.role[0] }}{{ loop.index0 }}{% endfor %}", "{% set messages = messages[1:] %}{{ messages|length }}", "{% for c in u %}{{ c }}.{% endfor %}",
    "{% set x = missing %}{{ x is defined }}{{ x }}", "{{ dict(a=1)|items|list }}", "{% set d2 = dict(d, k=5) %}{{ d2.k }}{{ d2.x }}", "{% for a in [1] %}{% for b in [2] %}{% set c = a + b %}{{ c }}{% endfor %}{{ c is defined }}{% endfor %}", "{% macro a1() %}{% for x in l %}{{ x }}{% if loop.last %}!{% endif %}{% endfor %}{% endmacro %}{{ a1() }}", "{{ loop is defined }}", "{% for x in l %}{{ loop is defined }}{% break %}{% endfor %}", "{{ strftime_now('%Y-%m-%d %H:%M %A %b %-d %j') }}",
    "{% set t = 'a' %}{% set t = t + 'b' %}{{ t }}", "{{ [1, 2] | map('string') | join(',') ~ 'x' }}", "{{ 'a' + 'b' | upper }}", "{{ ('a' + 'b') | upper }}", "{{ -1 | abs }}", "{{ not a in l }}", "{{ a ~ b ~ '!' }}", "{{ 1 ~ 2 + 3 }}", "{{ a.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ l.sort }}",
    "{{ missing in d }}{{ missing not in {} }}", "{{ n|map('upper')|list }}{{ 0|select|list }}", "{{ missing|int }}", "{{ 2.0 % -1 }}",
    "{% for x in l %}{% set ns2 = namespace(z=x) %}{{ ns2.z }}{% endfor %}", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ m['content'] | trim }};{% endfor %}",
]


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    import datetime
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(2025, 1, 20, 9, 30).strftime(f)
    return env


def expressions():
    return [e.strip() for line in EXPRESSIONS.split("\n") for e in line.split("¦")]


def main():
    env = environment()
    out = []
    for template in [*("{{ %s }}" % e for e in expressions()), *STATEMENTS]:
        record = {"template": template}
        try:
            record["output"] = env.from_string(template).render(**copy.deepcopy(CONTEXT))
        except Exception:  # whatever Python raises, rendering must fail
            record["error"] = True
        if " at 0x" in record.get("output", ""):  # an address
            continue
        out.append(json.dumps(record, ensure_ascii=False))
    path = pathlib.Path(__file__).resolve().parent.parent / "src/text/testdata/jinja_cases.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([json.dumps({"context": CONTEXT}, ensure_ascii=False), *out]) + "\n", encoding="utf-8")
    print(f"{path}: {len(out)} cases, {sum('error' in o[-20:] for o in out)} errors")


if __name__ == "__main__":
    main()
