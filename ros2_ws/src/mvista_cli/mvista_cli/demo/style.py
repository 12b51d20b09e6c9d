"""The page's style sheet."""

from __future__ import annotations

CSS = """
:root { color-scheme: light; --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --card: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f4f6; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.5rem 1.75rem; margin-bottom: 1.25rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: .1rem 0 .6rem; }
h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h3 small { font-weight: 400; color: var(--soft); margin-left: .5rem; }
p { margin: .3rem 0 .9rem; max-width: 78ch; }
img { display: block; max-width: 100%; }
.eyebrow { color: var(--soft); text-transform: uppercase; letter-spacing: .08em;
  font-size: .78rem; margin: 0; }
.lead { color: #374151; margin-bottom: 0; }
.meta { color: var(--soft); }
.badge { display: inline-block; padding: .1rem .7rem; border-radius: 99px; font-size: .88rem;
  font-weight: 600; margin-right: .6rem; }
.good { background: #d1fae5; color: #065f46; }
.bad { background: #fee2e2; color: #991b1b; }
.none { background: #e5e7eb; color: #374151; }
.error { background: #fef2f2; border-left: 4px solid #dc2626; padding: .6rem .9rem;
  overflow-wrap: anywhere; }
.cameras { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: .8rem; }
figure { margin: 0; }
figure img { width: 100%; border-radius: 6px; margin-bottom: .3rem; }
figcaption { color: var(--soft); font-size: .88rem; text-align: center; }
.scale { color: var(--soft); font-size: .88rem; display: flex; align-items: center; gap: .6rem;
  flex-wrap: wrap; margin: .9rem 0 0; }
.scale img { width: 220px; height: 10px; border-radius: 5px; }
.view { border-top: 1px solid var(--line); }
.view:first-of-type { border-top: 0; }
.row, .times { display: grid; grid-template-columns: 6.6rem 1fr; gap: .6rem; align-items: center;
  margin-bottom: .3rem; }
.row b { font-weight: 500; font-size: .86rem; text-align: right; color: #374151; }
.row img { width: 100%; border-radius: 4px; }
.times div { display: flex; }
.times span { flex: 1; text-align: center; color: var(--soft); font-size: .8rem; }
.wide { width: 100%; }
.narrow { width: min(100%, 620px); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line);
  font-weight: 400; vertical-align: top; }
th { white-space: nowrap; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { width: 45%; vertical-align: middle; }
.bar span { display: block; height: .7rem; min-width: 2px; background: #2563eb;
  border-radius: 4px; }
.total th, .total td { border-bottom: 0; font-weight: 600; }
.facts th { width: 12rem; }
code { overflow-wrap: anywhere; font-size: .9em; }
@media (max-width: 640px) { .row, .times { grid-template-columns: 1fr; }
  .row b { text-align: left; }
  .times i { display: none; } }
"""
