"""The HTML report in a real browser: headless Chromium renders it, a page around it looks inside.

Without Chromium these tests fail: a report that nobody rendered is not known to be good.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit/report"))

import factory  # noqa: E402

LIGHT, DARK = 1, 0  # Blink's numbers for preferredColorScheme
ALLOWED = r"(?:#[\w-]+|data:,?|report-hosts/\d{4}\.html|\d{4}\.html|\.\./report\.html)"

# Runs around the report, in a page of its own: the report's Content Security Policy lets nothing in.
CHECKS = r"""
function luminance(c) {
  return [0.2126, 0.7152, 0.0722].reduce(function (sum, weight, i) {
    var v = c[i] / 255;
    return sum + weight * (v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4));
  }, 0);
}
function ratio(a, b) {
  var x = luminance(a), y = luminance(b);
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}
function rgb(text) {
  var m = text.match(/rgba?\(([^)]+)\)/);
  if (!m) { return null; }
  var p = m[1].split(/[ ,\/]+/).map(Number);
  return p.length === 4 && p[3] < 0.5 ? null : p.slice(0, 3);
}
function background(element, view) {
  for (var e = element; e; e = e.parentElement) {
    var c = rgb(view.getComputedStyle(e).backgroundColor);
    if (c) { return c; }
  }
  return [255, 255, 255];
}
function look(doc, view) {
  var all = Array.prototype.slice.call(doc.querySelectorAll("*"));
  var ids = all.map(function (e) { return e.id; }).filter(Boolean);
  var low = [], pairs = 0;
  all.forEach(function (e) {
    var own = Array.prototype.some.call(e.childNodes, function (n) { return n.nodeType === 3 && n.data.trim(); });
    if (!own || e.closest("head, script, style, title, .hidden-text, .skip")) { return; }
    var style = view.getComputedStyle(e);
    if (style.visibility === "hidden" || style.display === "none") { return; }
    var ink = rgb(e instanceof view.SVGElement ? style.fill : style.color);
    if (!ink) { return; }
    pairs += 1;
    var size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    var r = ratio(ink, background(e, view));
    if (r < (large ? 3 : 4.5)) { low.push(e.tagName + "." + e.getAttribute("class") + " " + r.toFixed(2)); }
  });
  return {
    title: doc.title,
    lang: doc.documentElement.lang,
    headings: all.filter(function (e) { return /^H[1-6]$/.test(e.tagName); }).map(function (e) { return Number(e.tagName[1]); }),
    landmarks: ["header", "main", "footer"].map(function (n) { return doc.querySelectorAll("body > " + n).length; }),
    unlabelled: all.filter(function (e) { return /^(SELECT|INPUT|TEXTAREA)$/.test(e.tagName) && !e.labels.length; }).length,
    unnamed: all.filter(function (e) { return e.tagName === "A" || e.tagName === "a" || e.tagName === "BUTTON"; })
      .filter(function (e) { return !(e.textContent.trim() || e.getAttribute("aria-label")); }).length,
    drawings: all.filter(function (e) { return e.tagName === "svg"; }).filter(function (e) {
      return !(e.getAttribute("aria-hidden") || e.getAttribute("aria-label")); }).length,
    headers: all.filter(function (e) { return e.tagName === "TH" && !e.getAttribute("scope"); }).length,
    references: Array.from(new Set(all.reduce(function (found, e) {
      ["src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction"].forEach(function (name) {
        if (e.hasAttribute(name)) { found.push(e.getAttribute(name)); } });
      return found; }, []))),
    missing: all.filter(function (e) { return (e.getAttribute("href") || "").charAt(0) === "#" &&
      !doc.getElementById(e.getAttribute("href").slice(1)); }).length,
    repeated: ids.filter(function (id, i) { return ids.indexOf(id) !== i; }),
    handlers: all.filter(function (e) { return e.getAttributeNames().some(function (n) { return /^on/.test(n); }); }).length,
    scripts: doc.scripts.length,
    resources: view.performance.getEntriesByType("resource").length,
    low: low.slice(0, 10), pairs: pairs,
    width: doc.documentElement.scrollWidth, view: view.innerWidth,
    form: doc.getElementById("filters") ? !doc.getElementById("filters").hidden : null,
    text: doc.body.innerText
  };
}
function filter(doc, view, name, value) {
  var form = doc.getElementById("filters");
  form.reset();
  form.elements[name].value = value;
  form.dispatchEvent(new view.Event("change", {bubbles: true}));
  var entries = Array.prototype.slice.call(doc.querySelectorAll("[data-status]"));
  return {all: entries.length, shown: entries.filter(function (e) { return !e.hidden; }).map(function (e) {
    return e.getAttribute("data-" + name).split("\n"); }), said: doc.getElementById("shown").textContent,
    groups: Array.prototype.filter.call(doc.querySelectorAll("section[data-group]"), function (g) { return !g.hidden; }).length};
}
"""

HARNESS = """<!DOCTYPE html><html><body style="margin:0">
<iframe id="f" {sandbox} style="border:0;width:{width}px;height:900px"></iframe>
<script>{checks}
var f = document.getElementById("f");
f.onload = function () {{
  var doc = f.contentDocument, view = f.contentWindow, out = {{look: look(doc, view), filters: {{}}}};
  {filters}.forEach(function (p) {{ out.filters[p.join("=")] = filter(doc, view, p[0], p[1]); }});
  var pre = document.createElement("pre"); pre.id = "result";
  pre.textContent = encodeURIComponent(JSON.stringify(out)); document.body.appendChild(pre);
}};
f.src = {url};
</script></body></html>"""


@cache
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return str(shutil.which(name))
    pytest.fail("Chromium is not installed: the HTML report cannot be rendered (Debian: apt-get install chromium)")


def render(
    page: Path, tmp_path: Path, width: int = 1280, scheme: int = LIGHT, filters: tuple[tuple[str, str], ...] = (),
    script: bool = True,
) -> dict[str, Any]:
    """What the checks saw in the page, and what the browser complained about."""
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(
        checks=CHECKS, width=width, filters=json.dumps(filters), url=json.dumps(page.as_uri()),
        sandbox="" if script else 'sandbox="allow-same-origin"'), encoding="utf-8")
    done = subprocess.run(
        [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
         "--no-first-run", "--disable-extensions", "--disable-dev-shm-usage", "--allow-file-access-from-files",
         "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000",
         f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=10000", "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="result">([^<]*)</pre>', done.stdout)
    assert found, f"Chromium gave no result ({done.returncode}): {done.stderr[-2000:]}"
    seen: dict[str, Any] = json.loads(unquote(found.group(1)))
    seen["console"] = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return seen


def report(tmp_path: Path, hosts: list[factory.Host], earlier: list[list[factory.Host]] | None = None, **more: Any) -> Path:
    """The report of a run, after earlier ones."""
    for day, before in enumerate([*(earlier or []), hosts], 1):
        directory = factory.write_run(tmp_path, before, f"2026-11-{day:02d}T02:00:00Z")
        factory.report(directory, **more)
    return directory / "report.html"


def check(seen: dict[str, Any]) -> None:
    """What holds for every page."""
    look = seen["look"]
    assert seen["console"] == []
    assert look["lang"] == "en" and look["title"]
    assert look["headings"][0] == 1 and look["headings"].count(1) == 1
    steps = zip(look["headings"], look["headings"][1:], strict=False)
    assert all(after - before <= 1 for before, after in steps), look["headings"]
    assert look["landmarks"] == [1, 1, 1]
    for name in ("unlabelled", "unnamed", "drawings", "headers", "missing", "handlers", "resources"):
        assert look[name] == 0, name
    assert look["repeated"] == [] and look["scripts"] == 1
    assert [r for r in look["references"] if not re.fullmatch(ALLOWED, r)] == []
    assert look["pairs"] > 10 and look["low"] == []
    assert look["width"] <= look["view"]


CASES = {
    "realistic": factory.realistic(),
    "hostile": [factory.hostile("mx-evil<script>"), factory.good("mx1")],
    "empty": [],
    "unreachable": [factory.unreachable("mx1")],
    "all good": [factory.good("mx1")],
}


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("case", CASES)
def test_every_report_is_sound(case: str, width: int, scheme: int, tmp_path: Path) -> None:
    page = report(tmp_path, CASES[case], [[factory.good("mx1"), factory.proven_open("mx2.example.org")]])
    check(render(page, tmp_path, width, scheme))


def test_dark_is_another_picture(tmp_path: Path) -> None:
    page = report(tmp_path, CASES["realistic"])
    css = page.read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)", 1)
    named = set(re.findall(r"(--[a-z-]+):", light.split(":root", 1)[1]))
    assert named == set(re.findall(r"(--[a-z-]+):", dark.split("}", 1)[0]))


def test_the_first_words_answer_the_question(tmp_path: Path) -> None:
    text = render(report(tmp_path, CASES["realistic"]), tmp_path)["look"]["text"]
    start = text[:1500]
    for words in ("Can our servers be used to send spam?", "Yes. 2 of", "mail-old.example.org",
                  "Proven: a test message from a stranger", "What to do first", "RELAY-01 on mail-old.example.org"):
        assert words in start, words


def test_the_filters(tmp_path: Path) -> None:
    wanted = (("severity", "critical"), ("status", "unknown"), ("status", "pass"), ("host", "mail-old.example.org"),
              ("area", "sender"))
    seen = render(report(tmp_path, CASES["realistic"]), tmp_path, filters=wanted)
    assert seen["look"]["form"] is True
    for name, value in wanted:
        found = seen["filters"][f"{name}={value}"]
        assert 0 < len(found["shown"]) < found["all"], name
        assert all(value in words for words in found["shown"]), name
        assert found["said"] == f"{len(found['shown'])} of {found['all']} entries"
    assert seen["filters"]["host=mail-old.example.org"]["groups"] == 1
    assert len(seen["filters"]["status=unknown"]["shown"]) == 1


def test_without_script_everything_is_there(tmp_path: Path) -> None:
    page = report(tmp_path, CASES["realistic"])
    plain = render(page, tmp_path, script=False)["look"]
    assert plain["form"] is False
    for words in ("mail-old.example.org", "250 2.0.0 Ok: queued as", "What to do."):
        assert words in plain["text"], words


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    look = render(report(tmp_path, CASES["hostile"]), tmp_path)["look"]
    assert look["title"] != "owned" and look["scripts"] == 1
    assert '<script>document.title="owned"</script>' in look["text"]
    assert "{{ 7 * 7 }}" in look["text"]


def test_many_hosts_get_a_page_each(tmp_path: Path) -> None:
    index = report(tmp_path, CASES["realistic"], hosts_per_page=5)
    pages = sorted((index.parent / "report-hosts").iterdir())
    assert len(pages) == len(CASES["realistic"])
    seen = render(index, tmp_path, filters=(("status", "fail"), ("severity", "medium")))
    check(seen)
    assert len(seen["filters"]["status=fail"]["shown"]) == 2
    assert "250 2.0.0 Ok: queued as" not in seen["look"]["text"]
    for page in (pages[0], pages[2], pages[-1]):
        check(render(page, tmp_path, 400))
    assert "250 2.0.0 Ok: queued as" in render(pages[0], tmp_path)["look"]["text"]


def test_pages_of_hosts_that_are_gone_are_removed(tmp_path: Path) -> None:
    index = report(tmp_path, CASES["realistic"], hosts_per_page=5)
    (index.parent / "report-hosts/0999.html").write_text("stale")
    factory.report(index.parent, hosts_per_page=5)
    assert not (index.parent / "report-hosts/0999.html").exists()


def test_the_policy_allows_nothing_but_the_report_itself(tmp_path: Path) -> None:
    text = report(tmp_path, CASES["realistic"]).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy.group(1).split("; "))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules["script-src"])
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    assert not re.search(r"@import|url\((?!#|&#34;#)", text.split("</style>")[0])


BAD = """<!DOCTYPE html><html><head><title>x</title></head><body><h1>one</h1><h3>three</h3><p style="color:#999">pale</p>
<select><option>a</option></select><a href="http://198.51.100.1/"></a><table><tr><th>head</th></tr></table>
<p id="twice">a</p><p id="twice">b</p><svg width="9" height="9"></svg><div style="width:3000px">wide</div>
<b onclick="x()">c</b><a href="#nowhere">d</a><script>console.error("broken");</script></body></html>"""


def test_the_checks_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(BAD)
    seen = render(page, tmp_path)
    look = seen["look"]
    assert any("broken" in line for line in seen["console"])
    assert look["headings"] == [1, 3] and look["lang"] == "" and look["landmarks"] == [0, 0, 0]
    for name in ("unlabelled", "unnamed", "drawings", "headers", "missing", "handlers"):
        assert look[name] == 1, name
    assert look["repeated"] == ["twice"] and len(look["low"]) == 1
    assert "http://198.51.100.1/" in look["references"]
    assert look["width"] > look["view"]


def colours(scheme: str) -> dict[str, str]:
    css = (ROOT / "roles/mta_report/templates/style.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)", 1)
    return dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark.split("}", 1)[0]))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""
    def luminance(colour: str) -> float:
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_and_bars_can_be_told_from_their_ground(scheme: str) -> None:
    """What the browser test cannot see: drawings. Text 4.5:1, graphics 3:1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colour = colours(scheme)
    for status in ("fail", "error", "unknown", "notchecked", "waived", "informational", "fixed", "pass", "notapplicable"):
        assert contrast(colour[f"--{status}"], colour[f"--{status}-tint"]) >= 4.5, status
        assert contrast(colour[f"--{status}"], colour["--surface"]) >= 3, status
    for severity in ("critical", "high", "medium", "low", "undecided"):
        assert contrast(colour[f"--{severity}"], colour["--surface"]) >= 3, severity
    for answer in ("yes", "unknown", "no"):
        assert contrast(colour["--answer-ink"], colour[f"--answer-{answer}"]) >= 4.5, answer
    assert contrast(colour["--focus"], colour["--page"]) >= 3
