# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's frame as Jinja templates: head, verdict, contents, summary. Their environment escapes every value."""

from __future__ import annotations

MACROS = """
{% macro mark(status) %}
{% set sign = {"ok": "✓", "ng": "✕", "skip": "–", "info": "·", "none": "?"} %}
{% set word = {"ok": "OK", "ng": "NG", "skip": "SKIP", "info": "INFO", "none": "NONE"} %}
<span class="st st-{{ status }}"><span aria-hidden="true">{{ sign[status] }}</span> {{ word[status] }}</span>
{%- endmacro %}

{% macro draw(d) %}
{% set id = next_id() %}
<svg class="{{ d.css }}" width="100%" height="{{ d.height }}"
{%- if d.title %} role="img" aria-labelledby="{{ id }}-t {{ id }}-d"{% else %} aria-hidden="true"{% endif %}>
{% if d.title %}
<title id="{{ id }}-t">{{ d.title }}</title><desc id="{{ id }}-d">{{ d.text }}</desc>
{% endif %}
{% for s in d.shapes %}
<{{ s.tag }} class="{{ s.css }}"{% for name, value in s.attributes %} {{ name }}="{{ value }}"{% endfor %}>
{%- if s.title %}<title>{{ s.title }}</title>{% endif %}{{ s.text }}</{{ s.tag }}>
{% endfor %}
</svg>
{%- endmacro %}

{% macro item(entry) %}
<a href="#i{{ entry.place }}" class="small">item {{ entry.seq }}</a>
{%- endmacro %}

{% macro transcript(x, label="Transcript") %}
<details><summary>{{ label }}<span class="file"> {{ x.path }}, {{ x.size | size }}</span></summary>
{% if x.note %}
<p class="muted">{{ x.note }}</p>
{% elif not x.head %}
<p class="muted">The file is empty.</p>
{% else %}
<pre>
{{ x.head }}</pre>
{% if x.tail %}
<p class="cut">{{ "{:,}".format(x.left) }} more bytes in {{ x.path }}</p>
<pre>
{{ x.tail }}</pre>
{% endif %}
{% endif %}
</details>
{%- endmacro %}

{% macro proof(p) %}
<div class="head"><h3>{{ p.title }}</h3>{{ mark(p.entry.status) }} {{ item(p.entry) }}</div>
{% if p.rows %}
{% for row in p.rows %}
<p class="said">{% if row.status != p.entry.status %}{{ mark(row.status) }} {% endif %}{{ row.reason }}</p>
{% endfor %}
{% elif p.entry.reason %}
<p class="said">{{ p.entry.reason }}</p>
{% endif %}
{{ transcript(p.excerpt) }}
{%- endmacro %}

{% macro section(id, title, lead="") %}
<section id="{{ id }}" aria-labelledby="{{ id }}-h">
<h2 id="{{ id }}-h">{{ title }}</h2>
{% if lead %}<p class="lead">{{ lead }}</p>{% endif %}
{{ caller() }}
</section>
{%- endmacro %}

{% macro table(label, caption, heads, css="wide") %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ label }}">
<table class="{{ css }}">
<caption>{{ caption }}</caption>
<thead><tr>
{% for head in heads %}
<th scope="col"{% if head[0] == ">" %} class="num"{% endif %}>{{ head.removeprefix(">") }}</th>
{% endfor %}
</tr></thead>
<tbody>
{{ caller() }}
</tbody>
</table>
</div>
{%- endmacro %}

{% macro failure(f, css, title) %}
<div class="box {{ css }}">
<h2>{{ title }}</h2>
<p>{% if f.step %}<strong>{{ f.step }}</strong> {% endif %}{{ f.title }}</p>
<p class="cause said">{{ f.cause or "No cause was given." }}</p>
{% if f.task or f.item %}
<p class="muted small">{% if f.task %}Task &ldquo;{{ f.task }}&rdquo;{% endif %}{% if f.task and f.item %}, {% endif %}
{%- if f.item %}item <code>{{ f.item }}</code>{% endif %}</p>
{% endif %}
</div>
{%- endmacro %}
"""

PAGE = """
{% from "macros" import draw, failure, item, mark, proof, section, table, transcript with context %}
<!doctype html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ csp }}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ s.result }}: {{ s.service or "unknown service" }}, run {{ s.run_id }} (papyrus.ops)</title>
<style>STYLE</style>
</head>
<body>
<a class="skip-link" href="#summary">Skip to the summary</a>
<header class="top {{ s.tone }}">
<div class="wrap">
<p class="kicker">papyrus.ops {{ s.playbook }}, run <code>{{ s.run_id }}</code></p>
<h1><span class="verdict"><svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
{%- if s.tone == "pass" %}<path d="M4 13l5 5L20 6"/>
{%- elif s.tone == "warn" %}<path d="M12 4v10M12 20v.01"/>
{%- elif s.tone == "fail" %}<path d="M5 5l14 14M19 5L5 19"/>
{%- else %}<path d="M5 12h14"/>{% endif %}</svg>{{ s.result }}</span>
<span>{{ s.service or "unknown service" }}</span></h1>
<p class="answer"><span class="question">{{ s.question }}</span> {{ s.answer }}</p>
<ul class="chips">
{% for css, text in s.chips %}<li class="chip {{ css }}">{{ text }}</li>{% endfor %}
</ul>
{% if s.image %}
<p class="image"><span class="muted">Image</span> <code class="digest">{{ s.image.digest }}</code>
<span class="muted small">in {{ s.image.name }}
{%- if s.image.platform %}; platform {{ s.image.platform }}{% endif %}</span></p>
{% endif %}
</div>
</header>
<div class="wrap page">
<nav aria-label="Contents">
<ul>
{% for id, title in contents %}
<li><a href="#{{ id }}">{{ title }}</a></li>
{% endfor %}
</ul>
</nav>
<main>
<p class="print-only small muted">Folded parts are printed unfolded where the browser can do that; the files of the
bundle have all of it.</p>
{% if missing %}
<div class="box skip" role="note"><h2>This bundle is incomplete</h2>
<ul>{% for text in missing %}<li>{{ text }}</li>{% endfor %}</ul></div>
{% endif %}
{% if broken %}
<div class="box skip" role="note"><h2>Parts of this page could not be made</h2>
<ul>{% for text in broken %}<li>{{ text }}</li>{% endfor %}</ul></div>
{% endif %}
{% if s.first %}{{ failure(s.first, "ng", "What failed first") }}{% endif %}
{% if s.destroy %}{{ failure(s.destroy, "ng", "The teardown failed as well") }}{% endif %}
{% if s.tone == "fail" %}
{% if s.release %}
<div class="box {{ "info" if "serves" in s.release else "skip" }}"><h2>What became of the release</h2>
<p class="said">{{ s.release }}</p></div>
{% endif %}
<div class="box {{ "ok" if s.left.known and not s.left.resources else "ng" }}"><h2>What is left behind</h2>
{% if not s.left.resources %}
<p class="said">{{ s.left.text }}</p>
{% else %}
<ul>{% for kind, id in s.left.resources %}<li>{{ kind }} <code>{{ id }}</code></li>{% endfor %}</ul>
{% endif %}
{% if s.left.commands %}
<p>Delete it by hand, in this order:</p>
<pre>
{{ s.left.commands | join("\\n") | block }}</pre>
{% endif %}
</div>
{% endif %}
{% if s.others %}
<details class="box">
<summary>{{ s.others | length }} further {{ "failure" if s.others | length == 1 else "failures" }}</summary>
<ul>{% for f in s.others[:50] %}<li class="said"><strong>{{ f.step }}</strong> {{ f.cause }}
{%- if f.item %} (<code>{{ f.item }}</code>){% endif %}</li>{% endfor %}</ul></details>
{% endif %}

<section id="summary" aria-labelledby="summary-h" tabindex="-1">
<h2 id="summary-h">Summary</h2>
<div class="columns">
<div>
<h3 class="first">{{ "What proves it" if s.tone in ("pass", "warn") else "What was proved, and what was not" }}</h3>
<ul class="claims">
{% for c in s.claims %}
<li>{{ mark(c.status) }}<div>
{% if c.anchor in anchors %}<a href="#{{ c.anchor }}">{{ c.title }}</a>
{%- else %}<strong>{{ c.title }}</strong>{% endif %}
<p class="said">{{ c.text }}</p></div></li>
{% endfor %}
</ul>
{% for text in s.warnings[:20] %}
<p class="box skip said"><strong>Warning:</strong> {{ text }}</p>
{% endfor %}
</div>
<dl class="facts">
{% if not s.image %}<dt>Image</dt><dd>The bundle ties the run to no image.</dd>{% endif %}
{% if s.task_definition %}<dt>Task definition</dt><dd><code>{{ s.task_definition }}</code></dd>{% endif %}
<dt>When</dt>
<dd>{{ s.started or "not known" }}
{%- if s.ended %}<small>until {{ s.ended }}, <span class="keep">{{ s.took }}</span></small>{% endif %}</dd>
<dt>Checks</dt><dd>{{ s.counts }}</dd>
<dt>Who</dt>
<dd>{% if s.caller %}<code>{{ s.caller }}</code>{% else %}not known{% endif %}
<small>account {{ s.account or "not known" }},
<span class="keep">{{ s.region or "region not known" }}</span></small></dd>
<dt>Where</dt>
<dd>{% if s.local %}<strong>Not AWS:</strong> a local stand-in<small><code>{{ s.endpoint }}</code></small>
{%- elif s.endpoint %}AWS<small>through <code>{{ s.endpoint }}</code></small>{% else %}AWS{% endif %}</dd>
<dt>Source</dt>
<dd>{% if s.commit %}<code>{{ s.commit }}</code>{% else %}commit not known{% endif %}
<small>{{ s.tree }}</small></dd>
<dt>Signature</dt>
<dd><strong>{{ s.trust.title }}</strong>
{% if s.trust.keyid %}<small>key <code>{{ s.trust.keyid }}</code></small>{% endif %}
{% if s.trust.identity %}<small>{{ s.trust.identity }}</small>{% endif %}
<small>This page cannot check itself: <a href="#verify">how to verify</a></small></dd>
</dl>
</div>
</section>
{% include "parts" %}
</main>
</div>
<footer><div class="wrap">
<p>Made by papyrus.ops from the bundle <code>{{ s.run_id }}</code>: one file, no network, nothing that runs.
Its own hash is in SHA256SUMS, which the signed statement names.</p>
{% if s.versions %}<p>The run had {{ s.versions | join(", ") }}.</p>{% endif %}
</div></footer>
</body>
</html>
"""
