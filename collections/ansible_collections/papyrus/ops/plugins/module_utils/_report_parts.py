# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's parts behind its first screen, as a Jinja template."""

from __future__ import annotations

CONTENTS = (
    ("summary", "Summary"),
    ("identity", "Identity chain"),
    ("timeline", "Timeline"),
    ("preflight", "Preflight"),
    ("trail", "Audit trail"),
    ("rollout", "Release"),
    ("running", "Running tasks"),
    ("health", "Target health"),
    ("probes", "Probes"),
    ("database", "Database"),
    ("gone", "Created and gone"),
    ("casts", "Recordings"),
    ("crash", "Interruptions"),
    ("limits", "What is not proved"),
    ("verify", "How to verify"),
    ("items", "Items and hashes"),
    ("rest", "Other items"),
)
"""Ids and titles of the parts in their order; one without content is left out."""

PARTS = """
{% from "macros" import draw, item, mark, proof, section, table, transcript with context %}

{% if chain %}
{% call section("identity", "Identity chain",
  "The digest in the registry, tied link by link to the task that answered.") %}
{% if chain.note %}<p class="box skip said">{{ chain.note }}</p>{% endif %}
{% for path in chain.paths %}
<h3>Task <code>{{ path.task or "unknown" }}</code> {{ mark(path.status) }}</h3>
<figure>{{ draw(path.across) }}{{ draw(path.down) }}</figure>
{% endfor %}
{% if chain.more_paths %}<p class="muted">{{ chain.more_paths }} more tasks are in binding.json.</p>{% endif %}
{% if chain.links %}
<details{% if chain.entry.status != "ok" %} open{% endif %}><summary>Both values of every link</summary>
{% call table("Links of the identity chain", "What was expected and what was found; broken links first",
  ["Result", "Link", "Expected", "Found"]) %}
{% for link in chain.links %}
<tr{% if link.status == "ng" %} class="ng"{% endif %}><td>{{ mark(link.status) }}</td>
<th scope="row">{{ link.title }}
{% if link.task %}<br><span class="muted small">task {{ link.task }}</span>{% endif %}
{% if link.status != "ok" %}<br><span class="said">{{ link.text }}</span>{% endif %}</th>
<td><code>{{ link.expected }}</code></td><td><code>{{ link.found or "nothing" }}</code></td></tr>
{% endfor %}
{% endcall %}
{% if chain.more_links %}<p class="muted">{{ chain.more_links }} more links are in binding.json.</p>{% endif %}
</details>
{% endif %}
{% if chain.answers %}
<details><summary>Who answered</summary>
{% call table("Answers and who gave them", "Answers as they name their task and image",
  [">Answers", "Status", "Asked", "From", "Task", "Image"]) %}
{% for a in chain.answers %}
<tr><td class="num">{{ a.count }}</td><td>{{ a.status }}</td><td>{{ a.url }}</td><td>{{ a.remote }}</td>
<td><code>{{ a.task }}</code></td><td><code>{{ a.image }}</code></td></tr>
{% endfor %}
{% endcall %}
</details>
{% endif %}
{% if chain.entry %}<p class="small muted">From {{ item(chain.entry) }}, binding.json.</p>{% endif %}
{% endcall %}
{% endif %}

{% if timeline %}
{% call section("timeline", "Timeline",
  "To scale. A bar was measured, a pale one is the longest that it can have been, a circle is an item.") %}
{% if timeline.note %}<p class="muted">{{ timeline.note }}</p>{% endif %}
{% if timeline.lanes %}
<ul class="lanes">
{% for lane in timeline.lanes %}
<li><span class="what">{{ lane.name }}</span>{{ draw(lane.drawing) }}<span class="took">{{ lane.took }}</span></li>
{% endfor %}
<li class="scale" aria-hidden="true"><span class="what">since the beginning</span>{{ draw(timeline.axis) }}
<span class="took"></span></li>
</ul>
{% endif %}
{% for text in timeline.overlaps %}<p class="small muted">{{ text }}</p>{% endfor %}
{% if timeline.rows %}
<details><summary>Durations as a table</summary>
{% call table("Durations", "Everything that was measured, in the order of its beginning",
  ["What", "Part of", ">Began", "At", ">Took", "Item"]) %}
{% for row in timeline.rows %}
<tr><th scope="row">{{ row.name }}</th><td>{{ row.lane }}</td><td class="num">{{ row.start }}</td>
<td class="nowrap">{{ row.at }}</td><td class="num">{{ row.took }}</td><td>{{ row.status | upper }}</td></tr>
{% endfor %}
{% endcall %}
{% if timeline.more %}<p class="muted">{{ timeline.more }} more are in the items.</p>{% endif %}
</details>
{% endif %}
{% endcall %}
{% endif %}

{% macro preflight(p) %}
{% call table("Preflight rows, item " ~ p.entry.seq, p.rows | length ~ " rows of preflight.json, item " ~ p.entry.seq,
  ["Result", "Row", "Question", "Answer"], "wide rows") %}
{% for row in p.rows %}
<tr{% if row.status == "ng" %} class="ng"{% endif %}><td>{{ mark(row.status) }}</td><th scope="row">{{ row.id }}</th>
<td>{{ row.title }}</td><td>{{ row.reason }}</td></tr>
{% endfor %}
{% endcall %}
{% if p.more %}<p class="muted">{{ p.more }} more rows are in {{ p.entry.path }}.</p>{% endif %}
{% endmacro %}
{% if preflights %}
{% call section("preflight", "Preflight",
  "Asked before anything is created, of a release again after its rollout; one NG ends the run.") %}
{{ preflight(preflights[0]) }}
{% for p in preflights[1:] %}
<details><summary>The same, asked earlier in the run</summary>{{ preflight(p) }}</details>
{% endfor %}
{% endcall %}
{% endif %}

{% if trail %}
{% call section("trail", "Audit trail",
  "What CloudTrail, Config or a log had of a span of time, read once and wholly.") %}
{% if trail.added %}
<div class="card">
<div class="head"><h3>Added to the bundle of another run</h3>{{ mark(trail.added.entry.status) }}
{{ item(trail.added.entry) }}</div>
{% for status, reason in trail.added.rows %}<p class="said">{{ mark(status) }} {{ reason }}</p>{% endfor %}
<dl class="facts">
{% for name, value in trail.added.facts %}<dt>{{ name }}</dt><dd><code class="sha">{{ value }}</code></dd>{% endfor %}
</dl>
<p class="small muted">Verified together (papyrus_verify_bundles), it is checked that that bundle is the very one.</p>
{% if trail.added.created %}
<details><summary>What the run created, as CloudTrail has it</summary>
{% call table("Created and deleted", "Each creation of that run and what ended it",
  ["Gone", "Resource", "Created", "Deleted"]) %}
{% for status, resource, created, deleted in trail.added.created %}
<tr{% if status == "ng" %} class="ng"{% endif %}><td>{{ mark(status) }}</td>
<th scope="row"><code>{{ resource }}</code></th>
<td class="nowrap">{{ created }}</td><td class="nowrap">{{ deleted }}</td></tr>
{% endfor %}
{% endcall %}
{% if trail.added.more %}<p class="muted">{{ trail.added.more }} more are in addendum.json.</p>{% endif %}
</details>
{% endif %}
</div>
{% endif %}
{% for e in trail.exports %}
<div class="card">
<div class="head"><h3>{{ e.title }}</h3>{{ mark(e.entry.status) }} {{ item(e.entry) }}</div>
{% for status, reason in e.rows %}<p class="said">{{ mark(status) }} {{ reason }}</p>{% endfor %}
<dl class="facts">
<dt>From, to</dt><dd>{{ e.span }}</dd><dt>In it</dt><dd>{{ e.counted }}</dd><dt>Asked</dt><dd>{{ e.asked }}</dd>
{% for gap in e.gaps %}<dt>Gap</dt><dd>{{ gap }}</dd>{% endfor %}
{% for name, bytes, lines, sha in e.files %}
<dt>File</dt><dd>{{ name }}, {{ bytes }}, {{ lines }} lines<br><code class="sha">{{ sha }}</code></dd>
{% endfor %}
</dl>
</div>
{% endfor %}
{% endcall %}
{% endif %}

{% if release %}
{% call section("rollout", "Release") %}
{% if s.release %}
<p class="box {{ "ok" if s.release_proven else "info" }} said">{{ s.release }}</p>
{% endif %}
<div class="columns">
{% for title, facts in (("Image", release.image), ("Task definition", release.revision)) %}
{% if facts %}
<div><h3>{{ title }}</h3><dl class="facts">
{% for name, value in facts %}
<dt>{{ name }}</dt><dd>{% if " " in value %}{{ value }}{% else %}<code>{{ value }}</code>{% endif %}</dd>
{% endfor %}
</dl></div>
{% endif %}
{% endfor %}
</div>
{% if release.differences %}
{% call table("Differences of the task definition", "What the new revision changes", ["Member", "Before", "After"]) %}
{% for d in release.differences %}
<tr><th scope="row">{{ d.place }}</th><td><code>{{ d.before }}</code></td><td><code>{{ d.after }}</code></td></tr>
{% endfor %}
{% endcall %}
{% endif %}
{% for r in release.rollouts %}
<div class="card">
<div class="head"><h3>Rollout: {{ r.result or "no result" }}</h3>{{ mark(r.entry.status) }} {{ item(r.entry) }}</div>
{% if r.entry.reason %}<p class="said">{{ r.entry.reason }}</p>{% endif %}
{% if r.events %}
<details><summary>How it went</summary>
{% call table("Rollout, item " ~ r.entry.seq, r.caption, [">After", "What", "Said"]) %}
{% for e in r.events %}
<tr{% if e.kind == "task stopped" %} class="ng"{% endif %}><td class="num">{{ e.at }}</td>
<th scope="row">{{ e.kind }}</th>
<td class="lines">{{ e.text }}{% if e.repeats %}<br><span class="muted">{{ e.repeats }}</span>{% endif %}</td></tr>
{% endfor %}
{% endcall %}
</details>
{% endif %}
</div>
{% endfor %}
{% endcall %}
{% endif %}

{% if running %}
{% call section("running", "Running tasks", "Seen inside the containers through ECS Exec.") %}
<div class="stack">{% for p in running %}<div>{{ proof(p) }}</div>{% endfor %}</div>
{% endcall %}
{% endif %}

{% if health %}
{% call section("health", "Target health", "Each poll of the load balancer's own health check, in its order.") %}
{% for h in health %}
<div class="card">
<div class="head"><h3>{{ h.entry.reason or "Health of the targets" }}</h3>
{{ mark(h.entry.status) }} {{ item(h.entry) }}</div>
{% for name, drawing in h.strips %}
<figure><figcaption class="small muted"><code>{{ name }}</code>, {{ h.polls }} polls</figcaption>
{{ draw(drawing) }}</figure>
{% endfor %}
{% if h.changes %}
{% call table("Changes of health, item " ~ h.entry.seq, "Every change of state or reason",
  ["Target", "State", ">From poll", ">Polls", ">After", "At", "Reason"]) %}
{% for c in h.changes %}
<tr><th scope="row"><code>{{ c.target }}</code></th><td>{{ c.state }}</td><td class="num">{{ c.poll }}</td>
<td class="num">{{ c.polls }}</td><td class="num">{{ c.elapsed }}</td><td class="nowrap">{{ c.at }}</td>
<td>{{ c.reason }}</td></tr>
{% endfor %}
{% endcall %}
{% endif %}
{% if h.more %}<p class="muted">{{ h.more }} more changes are in {{ h.entry.path }}.</p>{% endif %}
</div>
{% endfor %}
{% endcall %}
{% endif %}

{% if probes %}
{% call section("probes", "Probes", "Requests through the temporary load balancer, answers as they came.") %}
<div class="stack">
{% for p in probes %}
<div>
<div class="head"><h3>{{ p.name }}</h3>{{ mark(p.proof.entry.status) }} {{ item(p.proof.entry) }}</div>
<p class="said">{{ p.proof.entry.reason or p.url }}</p>
{% for answer in p.answers %}<p><code>{{ answer }}</code></p>{% endfor %}
{% for remote, times in p.timings %}<p class="small muted">{{ remote }}: {{ times }}</p>{% endfor %}
{{ transcript(p.proof.excerpt, "The answer as it came") }}
</div>
{% endfor %}
</div>
{% endcall %}
{% endif %}

{% if database.proofs or database.tls %}
{% call section("database", "Database", "Written by independent paths, read back, and only over TLS." if database.proofs
  else "Nothing was written in this run; this is what was seen of encryption before.") %}
{% if database.rows %}<p class="box ok said">Rows read back: <code>{{ database.rows }}</code></p>{% endif %}
{% if database.marks %}
{% call table("Marks of this run", "This run's marks in the database", ["Path", "Written at", "By task", "Of image"]) %}
{% for m in database.marks %}
<tr><th scope="row">{{ m.path }}</th><td><span class="keep">{{ m.at }}</span></td><td><code>{{ m.task }}</code></td>
<td><code>{{ m.image }}</code></td></tr>
{% endfor %}
{% endcall %}
{% endif %}
<div class="stack">{% for p in database.proofs %}<div>{{ proof(p) }}</div>{% endfor %}</div>
{% if database.tls %}
{% call table("Encryption of the database's sessions", "How sessions were encrypted, and which item says so",
  ["Session or setting", "Seen", "Item"]) %}
{% for who, what, where in database.tls %}
<tr><th scope="row">{{ who }}</th><td>{{ what }}</td><td class="nowrap">{{ where }}</td></tr>
{% endfor %}
{% endcall %}
{% endif %}
{% endcall %}
{% endif %}

{% if gone %}
{% call section("gone", "Created and gone",
  "What Terraform created for the proof, and what shows that each of it is gone.") %}
{% if gone.note %}<p class="box {{ "ng" if gone.created or gone.left else "info" }} said">{{ gone.note }}</p>{% endif %}
{% if gone.created %}
{% call table("Resources that were created", gone.caption, ["Gone", "Resource", "Proof"]) %}
{% for r in gone.created %}
<tr{% if r.status == "ng" %} class="ng"{% endif %}><td>{{ mark(r.status) }}</td>
<th scope="row">{{ r.address }}<br><code class="muted">{{ r.id }}</code></th><td>{{ r.proof }}
{% if r.request_ids %}<br><span class="muted small">request {{ r.request_ids }}</span>{% endif %}</td></tr>
{% endfor %}
{% endcall %}
{% if gone.more %}<p class="muted">{{ gone.more }} more are in terraform.tfstate.</p>{% endif %}
{% endif %}
{% if gone.attempts %}
<p class="small muted">Destroy:
{% for number, seconds, outcome in gone.attempts %}
attempt {{ number }} {{ outcome }} after {{ seconds }}{{ "." if loop.last else ";" }}
{% endfor %}</p>
{% endif %}
{% if gone.calls %}
<details><summary>{{ gone.calls | length }} Describe calls of the gone-check</summary>
{% call table("Describe calls of the gone-check", "Asked of AWS after the destroy",
  ["Call", "Asked for", "Answer", "Request ids"]) %}
{% for c in gone.calls %}
<tr><th scope="row">{{ c.operation }}</th><td>{{ c.asked }}</td><td>{{ c.answer }}</td>
<td><code>{{ c.request_ids }}</code></td></tr>
{% endfor %}
{% endcall %}
</details>
{% endif %}
<div class="files">{% for p in gone.proofs %}{{ transcript(p.excerpt, p.title) }}{% endfor %}</div>
{% endcall %}
{% endif %}

{% if casts %}
{% call section("casts", "Recordings",
  "Terminal recordings as text, with the time of each piece of output. asciinema plays the files.") %}
{% for c in casts %}
<div class="card"><div class="head"><h3>{{ c.entry.name }}</h3> {{ item(c.entry) }}</div>
{% if c.note %}<p class="muted">{{ c.note }}</p>{% endif %}
{% if c.command %}<p><code>$ {{ c.command }}</code></p>{% endif %}
{% if c.title %}<p class="small muted said">{{ c.title }}</p>{% endif %}
{% if c.frames %}
<dl class="frames">{% for at, text in c.frames %}<dt>{{ at }}</dt><dd class="mono">{{ text }}</dd>{% endfor %}</dl>
{% endif %}
{% if c.left_out %}<p class="cut">{{ c.left_out }} more pieces in {{ c.entry.path }}</p>{% endif %}
{% if c.sequences %}<p class="small muted">{{ c.sequences }} terminal sequences are left out here.</p>{% endif %}
</div>
{% endfor %}
{% endcall %}
{% endif %}

{% if crash %}
{% call section("crash", "Interruptions", "What ended early, and who went on.") %}
{% if s.trust.after_crash %}
<p class="box skip">The bundle was sealed after a crash, not at the regular end of its run.</p>
{% endif %}
{% for c in crash.continued %}
<div class="card"><h3>Continued {{ c.at }}</h3>
<p>A writer ended in the middle of an append, and the next one went on here.
{{ c.torn }}{% if c.files %}, and files without a line:{% else %}, and no file without a line.{% endif %}</p>
{% if c.line %}<pre>
{{ c.line }}</pre>{% endif %}
{% for path, sha, word in c.files %}
<p><code>{{ path }}</code> {{ word }}<br><span class="small muted">sha256 {{ sha }}</span></p>
{% endfor %}
</div>
{% endfor %}
{% if crash.guard %}<div class="card">{{ proof(crash.guard) }}</div>{% endif %}
{% endcall %}
{% endif %}

{% if limits %}
{% call section("limits", "What is not proved") %}
<dl class="facts">
{% for l in limits.limits %}<dt>{{ l.title }}</dt><dd>{{ l.text }}</dd>{% endfor %}
</dl>
{% if limits.skips %}
{% call table("Skipped checks", "Checks that were skipped", ["Check", "Reason", "The inventory allows it"], "") %}
{% for k in limits.skips %}
<tr><th scope="row">{{ k.id }}</th><td>{{ k.reason }}</td><td>{{ "yes" if k.allowed else "no" }}</td></tr>
{% endfor %}
{% endcall %}
{% endif %}
{% endcall %}
{% endif %}

{% call section("verify", "How to verify",
  "This page is one of the files that are signed. It cannot vouch for itself: do not trust it, verify it.") %}
<p><strong>{{ s.trust.title }}.</strong> {{ s.trust.text }} {{ s.trust.sealed }}</p>
{% if s.trust.note %}<p class="said">Note of the seal: {{ s.trust.note }}</p>{% endif %}
<h3>That no file has changed since it was sealed</h3>
<pre>
{{ verify.files }}</pre>
<h3>That nothing is missing, and who signed: with a public key from elsewhere than this bundle</h3>
<pre>
{{ verify.signature }}</pre>
<p class="small muted">Any DSSE verifier reads attestation.dsse.json as well. A ledger (papyrus_verify_ledger) shows
runs that were opened and never shown; papyrus_verify_online asks CloudTrail whether AWS saw this run.</p>
{% if items %}
{% if items.requests %}
<p class="small muted">The manifest names {{ items.requests }} request ids of AWS calls; the online verification looks
them up in CloudTrail with the auditor's credentials.</p>
{% endif %}
<p>Last hash of the chain, which names every line before it:
<code class="digest">{{ items.head or "none" }}</code></p>
{% endif %}
{% endcall %}

{% if items %}
{% call section("items", "Items and hashes", items.lead) %}
{% if items.problems %}<p class="box ng">{{ items.problems }} items are not as the manifest says.</p>{% endif %}
{% if items.left_out %}<p class="muted">{{ items.left_out }} lines in the middle are in manifest.jsonl.</p>{% endif %}
{% call table("Items of the bundle", "SHA-256 of each item, as its manifest line has it",
  [">No.", "File and SHA-256", "Status", "Step", "At (UTC)", ">Bytes"], "hashes") %}
{% for i in items.items %}
<tr id="i{{ i.place }}"{% if i.problem %} class="ng"{% endif %}><td class="num">{{ i.seq }}</td>
<th scope="row">{{ i.path or i.name }}{% if i.problem %}<br>{{ i.problem }}{% endif %}
{% if i.note %}<span class="muted"> {{ i.note }}</span>{% endif %}
<br><code class="sha">{{ i.sha256 }}</code></th>
<td>{{ i.status | upper }}</td><td>{{ i.step }}</td><td class="nowrap">{{ i.at }}</td>
<td class="num">{{ i.size }}</td></tr>
{% endfor %}
{% endcall %}
{% endcall %}
{% endif %}

{% if rest %}
{% call section("rest", "Other items", "Items that no part above has shown.") %}
<div class="files">{% for p in rest.proofs %}{{ transcript(p.excerpt, p.title) }}{% endfor %}</div>
{% if rest.more %}<p class="muted">{{ rest.more }} more items are in the folder.</p>{% endif %}
{% endcall %}
{% endif %}
"""
