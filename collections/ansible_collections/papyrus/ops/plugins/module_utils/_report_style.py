# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's style sheet: light, dark, phone and print. Nothing in it loads anything."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light;
  --bg: #ffffff; --raised: #f6f7f9; --text: #1a1f26; --muted: #545e6b; --line: #d5dae1; --strong: #8a94a3;
  --link: #0a54a3; --focus: #0a54a3;
  --ok: #0f6b34; --ok-bg: #e7f5ec; --ng: #a8132a; --ng-bg: #fdebee; --skip: #7a4a00; --skip-bg: #fff3d9;
  --info: #40566e; --info-bg: #e9eff6; --bar: #5b7ea6; --shade: #0000000f;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --bg: #10141a; --raised: #181d25; --text: #e4e8ee; --muted: #a2adba; --line: #303843; --strong: #6c7786;
    --link: #8cc0ff; --focus: #8cc0ff;
    --ok: #7fdca0; --ok-bg: #11301d; --ng: #ff9dab; --ng-bg: #3b141c; --skip: #f1c66b; --skip-bg: #35290c;
    --info: #abc4df; --info-bg: #1c2a3a; --bar: #6f95c0; --shade: #ffffff12;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--bg); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1, h2, h3, p, dl, dd, ul, ol, figure, pre { margin: 0; padding: 0; }
h1, h2, h3, summary, th { text-wrap: balance; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; font-weight: 650; letter-spacing: -.005em; }
h3 { font-size: 1rem; line-height: 1.4; font-weight: 650; }
code, pre, .mono, .value {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace;
  font-size: .875em;
}
/* What the evidence says is shown in the order of its characters, whatever script it claims to be. */
code, pre, td, dd, .said { unicode-bidi: isolate-override; direction: ltr; }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
.skip-link { position: absolute; left: -100rem; top: 0; padding: .6rem 1rem; background: var(--bg); z-index: 2; }
.skip-link:focus { left: 0; }
.muted { color: var(--muted); }
.small { font-size: .875rem; }
.wrap { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }

/* The verdict */
.top { border-bottom: 1px solid var(--line); background: var(--raised); padding: 1.6rem 0 1.5rem; }
.top .kicker { color: var(--muted); font-size: .9rem; }
.top h1 { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .9rem; margin: .45rem 0 .6rem; }
.verdict {
  display: inline-flex; align-items: center; gap: .5rem; padding: .2rem .85rem .2rem .6rem; border: 2px solid;
  border-radius: .5rem; letter-spacing: .02em; white-space: nowrap;
}
.verdict svg { width: 1.35rem; height: 1.35rem; fill: none; stroke: currentColor; stroke-width: 3;
  stroke-linecap: round; stroke-linejoin: round; }
.pass .verdict { color: var(--ok); background: var(--ok-bg); }
.warn .verdict { color: var(--skip); background: var(--skip-bg); }
.fail .verdict { color: var(--ng); background: var(--ng-bg); }
.none .verdict { color: var(--info); background: var(--info-bg); }
.answer { font-size: 1.15rem; max-width: 62rem; text-wrap: balance; }
.answer .question { color: var(--muted); }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem .6rem; margin-top: .8rem; }
.chip { border: 1px solid var(--strong); border-radius: 1rem; padding: .05rem .75rem; font-size: .875rem; }
.chip.skip { color: var(--skip); background: var(--skip-bg); border-color: currentColor; font-weight: 650; }
.image { margin-top: .8rem; }
.image code { font-size: .95rem; margin-right: .4rem; }

/* Page */
.page { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 2.5rem; }
nav { padding: 1.25rem 0 0; font-size: .9rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; }
nav a { display: inline-block; padding: .2rem 0; }
main { padding-bottom: 4rem; }
@media screen and (min-width: 72rem) {
  .page { grid-template-columns: 11.5rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; padding: 1.7rem 0; }
  nav ul { display: block; }
  nav a { display: block; padding: .22rem 0; color: var(--muted); text-decoration: none; }
  nav a:hover, nav a:focus-visible { color: var(--link); text-decoration: underline; }
}
section { padding-top: 2.5rem; }
#summary { padding-top: 1.6rem; }
section > h2 { padding-bottom: .5rem; border-bottom: 1px solid var(--line); margin-bottom: 1rem; }
section > h2 + .lead { margin-top: -.25rem; }
.lead { color: var(--muted); max-width: 60rem; margin-bottom: 1rem; }
section h3 { margin: 1.6rem 0 .5rem; }
section h3.first { margin-top: 0; }
.columns { display: grid; gap: 1.25rem 2.5rem; grid-template-columns: minmax(0, 1fr); }
@media (min-width: 60rem) { .columns { grid-template-columns: minmax(0, 6fr) minmax(0, 5fr); } }

/* Facts */
#summary .facts { gap: .4rem 1rem; }
.facts { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .55rem 1rem; align-content: start; }
#summary .facts { grid-template-columns: 6.5rem minmax(0, 1fr); }
.facts dt { color: var(--muted); }
.facts code, td code, th code { word-break: break-all; }
.facts dd small { display: block; color: var(--muted); font-size: .875rem; }
.digest { user-select: all; }
.claims { list-style: none; display: grid; gap: .9rem; align-content: start; }
.claims li { display: grid; grid-template-columns: 4.5rem minmax(0, 1fr); gap: 0 .75rem; align-items: start; }
.claims .st { margin-top: .15rem; padding-left: 0; padding-right: 0; }
.claims p { color: var(--muted); font-size: .9rem; }
.claims a { font-weight: 600; }

/* Status words */
.st { display: inline-block; min-width: 3.7rem; padding: .08rem .45rem; border-radius: .3rem; font-size: .8rem;
  font-weight: 650; line-height: 1.45; white-space: nowrap; text-align: center; border: 1px solid; }
.st-ok { color: var(--ok); background: var(--ok-bg); }
.st-ng { color: var(--ng); background: var(--ng-bg); border-width: 2px; }
.st-skip { color: var(--skip); background: var(--skip-bg); border-style: dashed; }
.st-info, .st-none { color: var(--info); background: var(--info-bg); border-color: transparent; }

/* Boxes */
.box { border: 1px solid var(--line); border-left: .35rem solid var(--strong); border-radius: .4rem;
  padding: 1rem 1.25rem; margin-top: 1rem; background: var(--raised); }
.box h2, .box h3 { margin: 0 0 .35rem; font-size: 1.1rem; }
section > p, section > .scroll + p { margin-top: .6rem; }
.box p + p, .box p + ul, .box ul + p, .box p + pre, .box pre + p { margin-top: .5rem; }
.box.ng { border-left-color: var(--ng); }
.box.skip { border-left-color: var(--skip); }
.box.ok { border-left-color: var(--ok); }
.box.info { border-left-color: var(--info); }
.box ul { padding-left: 1.2rem; }
.cause { font-size: 1.05rem; }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: 1rem 1.25rem 1.1rem; margin-top: 1rem; }
.card > h3:first-child, .card > .head + h3 { margin-top: 0; }
.card .head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
.card .head h3 { margin: 0; }
.card p { margin-top: .4rem; }
.stack > div { padding: .9rem 0 1rem; border-bottom: 1px solid var(--line); }
.stack > div:first-child { padding-top: .2rem; }
.stack .head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
.stack .head h3 { margin: 0; }
.stack p { margin-top: .25rem; }
.stack details { margin-top: .25rem; }

/* Transcripts */
details { margin-top: .75rem; }
.files { margin-top: .75rem; }
.files details { margin-top: 0; }
summary { cursor: pointer; padding: .25rem .2rem; font-size: .95rem; }
summary .file { color: var(--muted); font-size: .875rem; margin-left: .4rem; }
summary:hover { background: var(--shade); }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: .3rem; padding: .75rem .9rem;
  margin-top: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.45; overflow: hidden; tab-size: 8; }
.cut { color: var(--muted); font-size: .875rem; margin-top: .4rem; }
.cut::before { content: "⋮ "; }
.frames { display: grid; grid-template-columns: 5rem minmax(0, 1fr); gap: 0 .75rem; margin-top: .5rem;
  background: var(--raised); border: 1px solid var(--line); border-radius: .3rem; padding: .75rem .9rem; }
.frames dt { color: var(--muted); font-size: .8rem; text-align: right; padding-top: .15rem; }
.frames dd { white-space: pre-wrap; }

/* Tables */
.scroll { overflow-x: auto; margin-top: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--muted); padding-bottom: .4rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 600; border-bottom-color: var(--strong); white-space: nowrap; }
tbody th { font-weight: 600; }
td.num, th.num { text-align: right; white-space: nowrap; }
.narrow { width: auto; }
.wide { min-width: 46rem; }
.hashes { min-width: 44rem; font-size: .85rem; }
.sha { user-select: all; color: var(--muted); font-weight: 400; }
th code { font-weight: 400; }
td.lines { white-space: pre-wrap; }
.nowrap { white-space: nowrap; }
.keep { display: inline-block; }
tr.ng td, tr.ng th { background: var(--ng-bg); }

/* Drawings */
svg { display: block; overflow: visible; }
svg text { fill: var(--text); font-size: .8rem; }
figure { margin-top: .75rem; }
.chain-down { display: none; }
.chain-across { max-width: 100%; }
.way { stroke-width: 3; stroke: var(--ok); }
.way.ng { stroke: var(--ng); }
.way.skip { stroke: var(--skip); stroke-dasharray: 2 6; stroke-linecap: round; }
.way.none { stroke: var(--strong); stroke-dasharray: 2 6; stroke-linecap: round; }
.station { fill: var(--ok-bg); stroke: var(--ok); stroke-width: 2; }
.station.ng { fill: var(--ng-bg); stroke: var(--ng); }
.station.skip { fill: var(--skip-bg); stroke: var(--skip); }
.station.none { fill: var(--info-bg); stroke: var(--strong); }
svg .name { font-weight: 650; font-size: .875rem; }
svg .value { font-size: .8rem; }
svg .extra { fill: var(--muted); }
svg .sign { font-weight: 700; font-size: .75rem; fill: var(--ok); }
svg .sign.ng, svg .cross { fill: var(--ng); font-weight: 700; }
svg .cross { font-size: 1rem; }
svg .sign.skip { fill: var(--skip); }
svg .sign.none { fill: var(--info); }
@media screen and (max-width: 62rem) { .chain-down { display: block; } .chain-across { display: none; } }
.lanes { list-style: none; }
.lanes li { display: grid; grid-template-columns: 12.5rem minmax(0, 1fr) 9rem; gap: 0 .9rem; align-items: center;
  font-size: .875rem; }
.lanes svg { height: 100%; min-height: 30px; }
.lanes .scale svg { min-height: 18px; }
.lanes .took { text-align: right; color: var(--muted); white-space: nowrap; }
.lanes .scale { color: var(--muted); }
@media screen and (max-width: 48rem) {
  .lanes li { grid-template-columns: minmax(0, 1fr) auto; padding-top: .35rem; }
  .lanes li svg { grid-column: 1 / -1; order: 3; }
  .lanes .scale .what, .lanes .scale .took { display: none; }
}
.grid { stroke: var(--line); stroke-width: 1; }
.bar { fill: var(--bar); }
.bar.ok { fill: var(--ok); }
.bar.ng { fill: var(--ng); }
.bar.skip { fill: var(--skip); }
.bar.most { fill: var(--line); }
.bar.open { fill: none; stroke: var(--ng); stroke-width: 2; stroke-dasharray: 4 3; }
.tick { fill: var(--bg); stroke: var(--strong); stroke-width: 2; }
.tick.ok { stroke: var(--ok); }
.tick.ng { fill: var(--ng); stroke: var(--ng); }
.tick.skip { stroke: var(--skip); }
svg .mark { fill: var(--muted); font-size: .75rem; }
.health { fill: var(--strong); stroke: var(--bg); stroke-width: 1; }
.health.healthy { fill: var(--ok); }
.health.unhealthy { fill: var(--ng-bg); stroke: var(--ng); }
.health.initial { fill: var(--bar); }
.health.draining { fill: var(--skip); }
.base { stroke: var(--strong); stroke-width: 1; }
footer { border-top: 1px solid var(--line); padding: 1.25rem 0 3rem; color: var(--muted); font-size: .875rem; }
.print-only { display: none; }

@media screen and (max-width: 30rem) {
  .wrap { padding: 0 1rem; }
  h1 { font-size: 1.5rem; }
  .facts, #summary .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: .7rem; }
  .box, .card { padding: .85rem .9rem; }
  .frames { grid-template-columns: minmax(0, 1fr); }
  .frames dt { text-align: left; }
}
@media screen and (max-width: 40rem) {
  nav ul { flex-wrap: nowrap; overflow-x: auto; white-space: nowrap; padding-bottom: .4rem; }
  .rows, .hashes { min-width: 0; }
  .rows thead, .hashes thead { position: absolute; left: -100rem; }
  .rows tr { display: grid; grid-template-columns: 4.4rem 3rem minmax(0, 1fr); border-bottom: 1px solid var(--line); }
  .rows td:last-child { grid-column: 2 / -1; }
  .rows td, .rows th { border: 0; padding: .2rem .5rem .2rem 0; }
  .hashes tr { display: flex; flex-wrap: wrap; gap: 0 .75rem; border-bottom: 1px solid var(--line); }
  .hashes td, .hashes th { border: 0; padding: .1rem 0; }
  .hashes th { flex: 1 0 calc(100% - 3rem); }
  .hashes td:first-child { width: 2rem; }
}
@page { margin: 16mm 14mm; }
@media print {
  html { font-size: 80%; }
  nav, .skip-link { display: none; }
  .print-only { display: block; }
  .top { background: none; padding-top: 0; }
  .wrap { max-width: none; padding: 0; }
  .page { display: block; }
  .scroll { overflow: visible; }
  .wide, .hashes { min-width: 0; }
  section > h2, h3, summary, caption, thead { break-after: avoid; }
  .box, .card .head, figure, tr, .claims li, .facts dd { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; display: block; }
  details:not([open]) > *:not(summary) { display: block; }
  a { color: inherit; text-decoration: none; }
  .st, .verdict, .bar, .tick, .health, .station, .way, pre {
    -webkit-print-color-adjust: exact; print-color-adjust: exact;
  }
}
@media (forced-colors: active) {
  .st, .verdict, .box { border-color: CanvasText; }
  .bar, .health { fill: CanvasText; }
  .way, .station { stroke: CanvasText; }
}
"""
