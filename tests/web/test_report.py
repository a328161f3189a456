"""The report: small, whole, offline, honest, and deaf to hostile names; in a real Chromium it reads well on a phone."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from joulewise.catalogue.place import place
from joulewise.measuring.accounting import Account, account
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.quantities import format_figure, format_money
from joulewise.vocabulary.recording import (
    Component,
    End,
    EndState,
    Missing,
    Note,
    Point,
    Recording,
    Span,
)
from joulewise.web.report import render, render_svg

PACKAGE = device("rapl:package-0")
GPU = device("nvml:GPU-1", Component.GPU)
MEMORY = device("model:memory", Component.MEMORY, Basis.MODELLED, error=0.5)
LARGEST = 300_000
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\x00\x1b[31m\u202e\ud800&amp;'\""


def plain_run(**changes: Any) -> Recording:
    """Return a run of ten minutes on a processor, a GPU and memory, with other tenants, phases and points."""
    spans = [Span("load", 0.0, 60.0, 1)]
    spans += [Span("train", 60.0 + 54 * n, 108.0 + 54 * n, 2 + n) for n in range(10)]
    points = [Point(60.0 + 54 * n, {"epoch": n, "loss": 1 / (n + 1), "accuracy": 0.9}) for n in range(10)]
    made = recording(
        [PACKAGE, GPU, MEMORY],
        {PACKAGE.id: 100.0, GPU.id: 250.0, MEMORY.id: 5.0},
        seconds=600,
        work_cpus=1.0,
        busy_cpus=2.0,
        gpu_share=1.0,
        spans=spans,
        points=points,
        name="digits",
    )
    return dataclasses.replace(made, **changes)


def accounted(run: Recording, zone: str | None = "DE", tariff: str | None = "0.30EUR/kWh") -> Account:
    """Return the account of a run at a place."""
    return account(run, place(zone, chassis="server", tariff=tariff))


class Page(HTMLParser):
    """What a page says and points to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" not in self._inside and "style" not in self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All that is read, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        """Return how many elements of this kind there are."""
        return sum(name == tag for name, _ in self.tags)


def found(pattern: str, html: str) -> str:
    """Return the first match's first group, or the whole match; it must be there."""
    match = re.search(pattern, html, re.DOTALL)
    assert match, pattern
    return str(match.group(match.lastindex or 0))


def joined(words: str) -> float:
    """Return watts from `312 mW`."""
    value, unit = words.split()
    return float(value) * {"mW": 1e-3, "W": 1.0, "kW": 1e3}[unit]


def page(run: Recording, **where: Any) -> Page:
    """Return the parsed page of a run."""
    return Page(render(accounted(run, **where)))


class TestContent:
    def test_the_headline(self):
        """Joules, grams and money stand in the page as the account's figures are printed, each with interval and basis."""
        what = accounted(plain_run())
        html = Page(render(what))
        cost = what.footprint
        assert cost.total_j is not None
        assert cost.carbon_g is not None
        assert cost.cost is not None

        for figure, printed in (
            (cost.total_j, format_figure(cost.total_j, "J")),
            (cost.carbon_g, format_figure(cost.carbon_g, "g CO₂e")),
            (cost.cost, format_money(cost.cost, "EUR")),
        ):
            value, _, interval = printed.rstrip(")").partition(" (")
            assert f"{value} 90 % interval {interval} {figure.basis.word}" in html.text

    def test_unknown_is_said(self):
        """Without a tariff the money is unknown, with the reason; without a zone the world's range is named."""
        text = page(plain_run(), zone=None, tariff=None).text

        assert "Money unknown no tariff is set" in text
        assert "grams are over the world's range" in text

    def test_sections(self):
        """All that a reader is promised has a heading, in order, and headings skip no level."""
        html = render(accounted(plain_run()))
        levels = [int(n) for n in re.findall(r"<h([1-6])", html)]

        for title in ("Power over time", "Phases", "Learning and its joules", "Where the joules went",
                      "How each figure is known", "The run and its machine"):  # fmt: skip
            assert f">{title}</h2>" in html
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))

    def test_every_factor_has_its_basis_and_source(self):
        """Joules, uplift, PUE, intensity, embodied and price each stand with a basis and where they come from."""
        what = accounted(plain_run())
        text = Page(render(what)).text

        for name in ("joules", "uplift", "pue", "intensity", "embodied", "price"):
            figure = what.footprint.factors[name]
            assert figure.source in text
            assert re.search(rf"{figure.basis.word}\s+{re.escape(figure.source[:40])}", text)

    def test_idle_and_others_stand_apart(self):
        """The chart has a layer for each component, for idle and for other tenants, whose means add up to the machine."""
        html = render(accounted(plain_run()))
        data = json.loads(found(r'id="power-data">(.*?)</script>', html))

        assert data["keys"] == ["cpu", "gpu", "memory", "others", "idle"]
        means = [joined(column[5]) for column in data["watts"]]
        assert sum(means) == pytest.approx(355.0, rel=0.01)
        assert data["machine"][5] == "355 W"

    def test_stopped_by_a_budget(self):
        """The end state and its reason are told."""
        end = End(EndState.STOPPED, 600.0, exit_code=143, reason="2.00 MJ of 2 MJ are used")

        assert (
            "stopped by its budget after 10m 00s with exit code 143: 2.00 MJ of 2 MJ are used"
            in page(plain_run(end=end)).text
        )

    def test_missing_with_its_remedy(self):
        """A source that could not be read is told in the headline, with why and what to do further down."""
        html = page(plain_run(missing=(Missing("rapl", "root only", "sudo chmod a+r energy_uj"),)))

        assert "Something could not be read" in html.text
        assert "rapl : root only sudo chmod a+r energy_uj" in html.text

    def test_notes_and_damage(self):
        """Notes and lines that could not be read are told."""
        text = page(plain_run(notes=(Note(61.0, "lost", "a GPU went"),), damage=("line 7: torn",))).text

        assert "1m 01s lost: a GPU went" in text
        assert "line 7: torn" in text

    def test_what_learning_took(self):
        """With points there is a curve for each number that was logged, and the joules so far beside them."""
        html = page(plain_run())

        assert {
            a.get("aria-label", "").split(":")[0] for t, a in html.tags if t == "svg" and a.get("aria-label")
        } == {
            "loss",
            "accuracy",
            "joules so far, at the devices",
        }
        # 9/10 of the way from 1 to 0.1 is 0.19: the sixth point, at 330 of 600 s
        assert "Nine tenths of the change in loss were there after 55 % of the joules" in html.text

    def test_no_points_no_curve(self):
        """Without points, or with points that hold no number twice, there is no learning section."""
        assert "Learning" not in page(plain_run(points=())).text
        assert (
            "Learning"
            not in page(plain_run(points=(Point(1.0, {"loss": 0.5, "ok": True, "word": "x"}),))).text
        )

    def test_lanes_on_the_chart_s_time(self):
        """A phase that held the first tenth of the run fills the first tenth of its lane."""
        assert 'd="M0.0 0h100.0v1h-100.0z"' in render(accounted(plain_run()))

    def test_gap(self):
        """When a device cannot be read for a quarter of the time, the page says that what is drawn there is the rest."""
        run = plain_run()
        run.ticks.energy_j[GPU.id][451:] = [None] * 150

        assert "In 25 % of the time a device could not be read" in page(run).text

    def test_nothing_was_recorded(self):
        """A recording without a tick or a device still has its page, in which nothing is zero."""
        text = page(recording([], {}, seconds=0)).text

        assert "Energy unknown no component's energy could be read or modelled" in text
        assert "No device's power is known over time" in text

    def test_same_account_same_page(self):
        """The page is a pure function of the account."""
        assert render(accounted(plain_run())) == render(accounted(plain_run()))

    def test_table_instead_of_the_picture(self):
        """The numbers of the chart stand in a table, too, in at most forty rows."""
        rows = found(r'<table class="numbers">.*?</table>', render(accounted(plain_run()))).count("<tr>")

        assert 30 <= rows <= 41


class TestOffline:
    def test_nothing_is_fetched(self):
        """No element points outside the page, and the policy forbids the rest."""
        html = page(plain_run())
        targets = [
            v
            for _, a in html.tags
            for k, v in a.items()
            if k in ("src", "href", "srcset", "action", "poster")
        ]

        assert set(targets) == {"data:,", "#cost"}
        assert {"iframe", "object", "embed", "form", "img", "base"}.isdisjoint(t for t, _ in html.tags)
        policy = next(a["content"] for t, a in html.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy

    def test_style_and_script_ask_for_nothing(self):
        """Neither the style sheet nor the script names an address or a way to fetch one."""
        html = render(accounted(plain_run()))
        ours = "".join(re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", html, re.DOTALL))

        assert not re.search(
            r"https?:|//\w|@import|url\((?!#)|fetch\(|XMLHttp|import\(|WebSocket|EventSource", ours
        )

    def test_no_style_attributes(self):
        """Style attributes would need a laxer policy: there is none."""
        assert not [a for _, a in page(plain_run()).tags if "style" in a]


class TestHostile:
    def hostile(self) -> Recording:
        """Return a run in which every text is hostile."""
        which = dataclasses.replace(PACKAGE, source=HOSTILE, note=HOSTILE)
        run = recording([which], {which.id: 100.0}, seconds=60, name=HOSTILE)
        return dataclasses.replace(
            run,
            run_id=HOSTILE,
            command=("python", HOSTILE),
            metadata={HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}},
            params={HOSTILE: [HOSTILE]},
            machine=dataclasses.replace(run.machine, host=HOSTILE, cpu_model=HOSTILE),
            missing=(Missing(HOSTILE, HOSTILE, HOSTILE),),
            spans=(Span(HOSTILE, 0.0, 5.0, 1),),
            points=tuple(Point(float(t), {HOSTILE: 1.0 / t, "text": HOSTILE}) for t in (1, 2, 3)),
            notes=(Note(1.0, HOSTILE, HOSTILE),),
            damage=(HOSTILE,),
            end=End(EndState.FAILED, 60.0, exit_code=1, reason=HOSTILE),
        )

    def test_markup_stays_text(self):
        """Whatever a recording says, the page has our two scripts and no element or attribute of anybody else's."""
        html = page(self.hostile())

        assert html.count("script") == 2
        assert html.count("img") == 0
        assert not [k for _, a in html.tags for k in a if k.startswith("on")]
        assert "<script>alert(1)</script>" in html.text  # read as text

    def test_invisible_marks_are_seen(self):
        """Control characters, marks that turn the reading direction and halves of characters become visible marks."""
        text = render(accounted(self.hostile()))

        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        assert "�" in text
        text.encode()

    def test_megabytes(self):
        """Names of megabytes, and very many of everything, leave the page small."""
        long = "x" * 3_000_000
        run = dataclasses.replace(
            self.hostile(),
            name=long,
            command=(long,) * 300,
            metadata={f"{n}{'k' * 5000}": long for n in range(200)},
            params={str(n): [long] for n in range(5)},
            spans=tuple(Span(f"{n}{'s' * 2000}", 0.0, 5.0, n) for n in range(5000)),
            notes=tuple(Note(1.0, "lost", "n" * 5000) for _ in range(3000)),
            missing=tuple(Missing("m" * 5000, "w" * 5000, "r" * 5000) for _ in range(500)),
            damage=("d" * 5000,) * 3000,
            points=tuple(Point(float(t), {f"p{n}": t / 7 for n in range(50)}) for t in range(300)),
        )

        assert len(render(accounted(run)).encode()) < LARGEST
        assert len(render_svg(accounted(run)).encode()) < 60_000


class TestSize:
    def long_run(self, ticks: int) -> Recording:
        """Return a noisy run with eight GPUs, one tick each 10 s, with many phases and points."""
        chance = random.Random(1)
        gpus = [device(f"nvml:GPU-{n}", Component.GPU) for n in range(8)]
        devices = [PACKAGE, MEMORY, *gpus]
        run = recording(
            devices, dict.fromkeys((d.id for d in devices), 1.0), seconds=ticks, gpu_share=0.7, busy_cpus=3.0
        )
        t_s = [10.0 * n for n in range(ticks + 1)]
        for column in run.ticks.energy_j.values():
            joules = 0.0
            for n in range(ticks + 1):
                column[n] = joules
                joules += 10 * chance.uniform(50, 400)
        run.ticks.energy_j[PACKAGE.id][ticks // 2 :] = [  # one peak of ten kilowatts
            (v or 0.0) + 100_000 for v in run.ticks.energy_j[PACKAGE.id][ticks // 2 :]
        ]
        spans = tuple(Span(f"phase {n % 20}", t, t + 7.0, n) for n, t in enumerate(t_s[:-1]))
        points = tuple(Point(t, {"step": n, "loss": chance.random()}) for n, t in enumerate(t_s))
        return dataclasses.replace(
            run,
            ticks=dataclasses.replace(run.ticks, t_s=t_s),
            spans=spans,
            points=points,
            end=End(EndState.FINISHED, t_s[-1], exit_code=0),
        )

    def test_three_days(self):
        """Three days of a noisy tick every 10 s, with 26,000 phases and points, make a page below 300 kB that keeps the peak."""
        what = accounted(self.long_run(25_920))
        html = render(what)
        peak_w = max(sum(c) for c in zip(*what.power_series.watts.values(), strict=True) if None not in c)

        assert len(html.encode()) < LARGEST
        shown_kw = float(found(r"and ([0-9.]+) kW at most", html))
        assert peak_w > 10_000
        assert shown_kw * 1000 == pytest.approx(peak_w, rel=0.05)
        assert len(render_svg(what).encode()) < 60_000


class TestSvg:
    def test_one_picture(self):
        """The picture is one SVG with title, description, both colour schemes, and nothing from elsewhere."""
        svg = render_svg(accounted(plain_run()))

        assert svg.lstrip().startswith("<svg xmlns=")
        assert {"<title", "<desc", "prefers-color-scheme: dark"} <= set(
            re.findall(r"<title|<desc|prefers-color-scheme: dark", svg)
        )
        assert not re.search(r"(?:href|src)=|<script|<image", svg)

    def test_well_formed_whatever_the_name(self):
        """A hostile name leaves the picture well-formed XML."""
        from xml.etree import ElementTree as ET

        run = dataclasses.replace(plain_run(), name=HOSTILE)

        assert ET.fromstring(render_svg(accounted(run))).tag.endswith("svg")


# --- in a real browser --------------------------------------------------------------------------------------

# Contrast (WCAG 2.2, 1.4.3) of every text with what lies behind it, and names of what can be reached by the keyboard.
AUDIT = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest("script, style, title, desc") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(element.closest("svg") ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  for (const element of document.querySelectorAll("a, [tabindex='0'], summary"))
    if (!(element.getAttribute("aria-label") || element.textContent.trim())) faults.push(`no name: ${element.outerHTML}`);
  for (const picture of document.querySelectorAll("svg[role=img]"))
    if (!(picture.getAttribute("aria-label") || picture.querySelector("title"))) faults.push("picture without a name");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) faults.push("an id twice");
  for (const element of document.querySelectorAll("[aria-labelledby]"))
    for (const id of element.getAttribute("aria-labelledby").split(" "))
      if (!document.getElementById(id)) faults.push(`nothing is called ${id}`);
  for (const landmark of ["header", "main", "footer"])
    if (document.querySelectorAll(`body > ${landmark}`).length !== 1) faults.push(`not one ${landmark}`);
  return faults;
}"""


@pytest.mark.service
class TestInChromium:
    @pytest.fixture(autouse=True)
    def write(self, tmp_path: Path) -> None:
        """Write a page with everything on it."""
        run = plain_run(
            command=("python", "train.py", "--" + "long" * 60),
            missing=(
                Missing("rapl", "root only", "sudo chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj"),
            ),
            notes=(Note(1.0, "budget", "n" * 200),),
            metadata={"git_revision": "0f14ff7" * 6, "packages": {"numpy": "2.4"}},
            end=End(EndState.STOPPED, 600.0, exit_code=143, reason="2 MJ are used"),
        )
        self.file = tmp_path / "report.html"
        self.file.write_text(render(accounted(run)), encoding="utf-8")

    def open(self, browser: Any, width: int, scheme: str, **more: Any) -> tuple[Any, list[str]]:
        """Return the open page and the list in which its complaints and requests are written."""
        opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        heard: list[str] = []
        opened.on("console", lambda message: heard.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: heard.append(f"error: {error}"))
        opened.on(
            "request",
            lambda r: None if r.url == self.file.as_uri() or r.url == "data:," else heard.append(r.url),
        )
        opened.goto(self.file.as_uri())
        return opened, heard

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [390, 1280])
    def test_reads_well(self, browser, width, scheme):
        """On phone and desktop, light and dark: nothing wider than the screen, every text in contrast, everything named, no complaint, no request."""
        opened, heard = self.open(browser, width, scheme)
        opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")

        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.evaluate(AUDIT) == []
        assert heard == []
        opened.close()

    def test_read_out(self, browser):
        """The pointer and the arrow keys read out the power at a moment; leaving takes it away."""
        opened, heard = self.open(browser, 1280, "light")
        readout = opened.locator(".readout")
        assert readout.is_hidden()
        opened.locator("#power .plot").hover()

        assert re.search(r"until 5m 0\ds\nprocessor [\d.]+ W\nGPU \d+ W", readout.inner_text())
        opened.locator("h1").hover()
        assert readout.is_hidden()
        opened.locator("#power").focus()
        opened.keyboard.press("Home")
        opened.keyboard.press("ArrowRight")
        slider = opened.locator("#power")
        assert slider.get_attribute("aria-valuenow") == "1"
        assert "GPU" in slider.get_attribute("aria-valuetext")
        assert readout.is_visible()
        assert heard == []
        opened.close()

    def test_the_keyboard_reaches_everything(self, browser):
        """Tab goes from the link over the chart to the table and the command."""
        opened, _ = self.open(browser, 1280, "light")
        reached = []
        for _n in range(8):
            opened.keyboard.press("Tab")
            reached.append(
                opened.evaluate("document.activeElement.tagName + '.' + document.activeElement.className")
            )

        assert {"A.skip", "DIV.chart", "SUMMARY.", "PRE."} <= set(reached)
        opened.close()

    def test_without_javascript(self, browser):
        """Without JavaScript the chart, its words and its table are there."""
        context = browser.new_context(java_script_enabled=False)
        opened = context.new_page()
        opened.goto(self.file.as_uri())

        assert opened.locator("#power path.cpu").is_visible()
        opened.locator("summary").click()
        assert opened.locator("table.numbers").is_visible()
        context.close()
