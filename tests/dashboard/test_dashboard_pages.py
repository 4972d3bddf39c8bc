"""The pages in a real browser, over real runs; `visit` fails a test whose page complains or asks another server."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from dashboard_runs import HOSTILE, LONG_LINE, TOKEN, packing, replies, run_words

#: The most that a page and everything that it loads may weigh.
PAGE_BYTES = 600_000
#: Waits for all pictures of a page, those out of sight included, and gives their widths.
PICTURES = """Promise.all([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode().then(() => image.naturalWidth);
}))"""
#: Addresses of each kind of page, with the run's name in the place of its key.
PAGES = {
    "bests": "/",
    "run": "/runs/{first}",
    "large run": "/runs/{made-up}",
    "program": "/runs/{first}/programs/16",
    "failed program": "/runs/{first}/programs/7",
    "tree": "/runs/{first}/tree",
    "large tree": "/runs/{made-up}/tree",
    "compare": "/compare?run={first}&run={second}",
    "not found": "/runs/nobody",
}


@pytest.fixture
def path(key):
    """Give the address of a page."""
    return lambda page: re.sub(r"\{([\w-]+)\}", lambda match: key(match[1]), PAGES[page])


def test_the_first_page_shows_each_problem_with_its_best_and_its_record(visit, path, key):
    """The exact score, the record with its holder, the gap, the run, and a picture that is really drawn."""
    page = visit(path("bests"))
    card = page.locator(".card")

    assert card.count() == 1
    assert card.locator("h2").inner_text() == "26 circles in the unit square"
    assert float(card.locator(".huge").inner_text()) == pytest.approx(26 * 0.065, abs=1e-12)
    assert "2.63598308491760778" in card.inner_text()
    assert "J. Fernandez" in card.inner_text()
    assert "short of the record" in card.inner_text()
    assert card.get_by_role("link", name="first").get_attribute("href") == f"/runs/{key('first')}"
    assert page.locator(".card img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    assert page.locator("#runs tbody tr").count() == 3
    sources = page.locator(".card a[rel]")
    assert sources.count() > 0
    assert all(" " not in link.get_attribute("href") for link in sources.all())
    assert "circle-packing-tolerance-audit (data/certificates/exact.csv)" in card.inner_text()


def test_a_run_shows_its_figures(visit, path):
    """Completions, shares, budgets, charts, outcomes; they agree with what was recorded."""
    page = visit(path("run"))
    tiles = page.locator(".tile").all_inner_texts()

    assert float(page.locator(".huge").inner_text()) == pytest.approx(26 * 0.065, abs=1e-12)
    assert "completions\n16\n2 steps finished" in tiles
    assert "steps left\n0" in tiles
    assert [title.split("\n")[0] for title in page.locator(".chart figcaption").all_inner_texts()] == [
        "Best against completions",
        "Best against active time",
        "Distance to the record",
        "How completions ended",
        "Better than their parent, %",
        "Tokens generated a second",
        "Evaluations a second",
        "Where a step's time went",
    ]
    names, counts = page.locator(".bars tbody th"), page.locator(".bars .n:not(.quiet)")
    outcomes = dict(zip(names.all_inner_texts(), counts.all_inner_texts(), strict=True))
    assert outcomes == {"valid": "11", "crashed": "2", "no code": "2", "invalid": "1"}
    assert page.locator(".mark-name").first.text_content() == "record 2.6359831"


def test_learning_is_drawn_where_a_learner_learns(visit, path):
    """A run with trainings shows reward, entropy, importance ratio and the updates' time; one without none."""
    large, small = visit(path("large run")), visit(path("run"))

    assert large.locator("#learning figcaption").all_inner_texts() == ["reward", "entropy", "importance"]
    assert large.locator("#learning .key").all_inner_texts() == ["importance max", "importance mean", "importance min"]
    assert {"generation", "train", "sync"} <= set(
        large.locator("#charts .chart").last.locator(".key").all_inner_texts()
    )
    assert small.locator("#learning").count() == 0


def test_a_cell_of_the_archive_opens_its_program(visit, path):
    """Islands are heat maps; a click on a cell shows who holds it."""
    page = visit(path("run"))
    cell = page.locator(".heat a").last
    number = cell.get_attribute("href").rsplit("/", 1)[1]

    assert page.locator(".island").count() == 2
    cell.click()
    page.wait_for_url("**/programs/*")
    assert page.locator("h1").inner_text().startswith(f"Program {number}")


def test_a_chart_is_read_out_under_the_pointer_and_by_keyboard(visit, path):
    """Values appear beside the title, for whoever points, and for whoever uses the arrow keys."""
    page = visit(path("run"))
    chart = page.locator(".chart").first
    box = chart.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    by_pointer = chart.locator(".reading").inner_text()
    page.mouse.move(0, 0)
    chart.locator("svg").focus()
    page.keyboard.press("Home")

    assert re.fullmatch(r"1\.\d+ at 8 completions", by_pointer)
    assert chart.locator(".reading").inner_text() == "0.959764217 at 0 completions"
    page.keyboard.press("End")
    assert chart.locator(".reading").inner_text().endswith("at 16 completions")


def test_a_program_shows_where_it_comes_from(visit, path):
    """Source, difference to the parent, prompt, reply, evaluations, picture and lineage."""
    page = visit(path("program"))
    texts = page.locator("main").inner_text()

    assert page.locator("h1").inner_text() == "Program 16"
    assert "0.065] for k in range(n)" in page.locator("pre[aria-label=Source]").inner_text()
    assert "0.065" in page.locator(".diff .add").all_inner_texts()[-1]
    assert "26 circles in the unit square" in page.locator("pre[aria-label=user]").inner_text()
    assert packing(0.065).strip() in page.locator("pre[aria-label=Reply]").inner_text()
    assert "confirmed" in texts
    assert page.locator(".strip li").first.inner_text().startswith("seed")
    assert page.locator(".strip .here").inner_text().split() == ["16", "1.69"]
    widths = page.evaluate(PICTURES)
    assert len(widths) == 1 + page.locator(".strip li").count()
    assert min(widths) > 90


def test_keys_step_along_the_lineage(visit, path):
    """The key k goes to the parent, j towards the best, and so do the arrows."""
    page = visit(path("program"))
    here = page.url
    page.keyboard.press("k")
    page.wait_for_url(lambda url: url != here)
    parent = page.url
    page.keyboard.press("j")
    page.wait_for_url(here)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(parent)
    page.keyboard.press("r")
    page.wait_for_url("**/runs/*")

    assert "/programs/" in parent


def test_a_failed_program_shows_its_traceback(visit, key):
    """The feedback of the sandbox is on the page; there is no picture and no score."""
    page = visit(f"/runs/{key('first')}/programs/4")

    assert "ZeroDivisionError" in page.locator("pre[aria-label=Feedback]").inner_text()
    assert page.locator(".huge").inner_text() == "no score"


@pytest.mark.parametrize("program", [7, 8])
def test_hostile_text_is_shown_and_does_nothing(program, visit, key):
    """Markup, escape sequences and backward text of a model appear as the characters that they are."""
    page = visit(f"/runs/{key('first')}/programs/{program}")
    text = page.locator("main").inner_text()

    assert page.evaluate("window.hacked") is None
    assert "<script>window.hacked = 1</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "\\x1b[2J" in text
    assert "\\u202egnp.exe\\u2066" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.content())
    assert page.locator("main img[src=x], main h1:text('owned')").count() == 0


def test_a_line_of_a_megabyte_is_cut_with_a_link_to_the_whole(visit, address, key):
    """The page stays small; the raw text is the whole reply, as plain text that no browser takes for anything else."""
    page = visit(f"/runs/{key('first')}/programs/8")
    link = page.get_by_role("link", name="the whole text").last

    assert len(page.content()) < 100_000
    assert "998,000 more characters" in page.locator("main").inner_text()
    answer = page.request.get(address + link.get_attribute("href"))
    assert answer.text() == HOSTILE + LONG_LINE
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_tree_shows_the_path_of_the_best_and_zooms(visit, path):
    """The best's ancestry is marked; a circle makes its program the root; dragging across the map narrows it."""
    page = visit(path("large tree"))
    shown = page.locator(".tree-svg circle").count()
    branches = page.locator(".tree-svg .branch.on-path").count()

    assert 20 < shown <= 130
    assert branches > 1
    assert page.locator(".map rect[class^=heat]").count() > 50
    page.locator(".tree-svg circle.on-path").nth(1).click()
    page.wait_for_url("**root=*")
    assert "root=0" not in page.url
    box = page.locator(".map svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 3)
    page.mouse.up()
    page.wait_for_url("**start=*")
    assert page.locator(".map .dot-program").count() > 100  # a fifth of 1536 is few enough to show each


def test_runs_are_chosen_and_compared_by_arm(visit, path):
    """Two runs that differ in their seed are one arm with a band."""
    page = visit(path("bests"))
    for name in ("first", "second"):
        page.get_by_label(f"Compare {name}", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?**")

    rows = page.locator("main table tbody tr").all_inner_texts()
    assert len(rows) == 1
    assert rows[0].split("\t")[1:4] == ["2", "8", "1.417"]  # the median of 1.404 and 1.43
    assert page.locator(".band").count() == 2  # of the best, and of the distance to the record

    page.get_by_label("minutes").check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**against=minutes")

    assert re.fullmatch(r"\d+:\d\d\.\d", page.locator("main table tbody tr").inner_text().split("\t")[2])
    assert page.get_by_text("Best against minutes").count() == 1


def test_a_running_search_is_followed_without_reloading(visit, runs, key, tmp_path_factory):
    """While a run goes on its page grows; it stays the same document, and says when the run is over."""
    home = tmp_path_factory.mktemp("live")
    file = home / "slow.jsonl"
    texts = [text.replace("    return", "    import time; time.sleep(0.3)\n    return") for text in replies(0.05)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    command = [sys.executable, "-m", "evolve", *run_words(file, runs / "live", "budget.steps=2")]
    process = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL)
    try:
        page = None
        first = visit("/")
        first.get_by_role("link", name="live", exact=True).wait_for(timeout=30_000)  # it appears by itself
        page = visit(f"/runs/{key('live')}")
        page.evaluate("window.kept = true")
        page.get_by_text("running", exact=True).wait_for()
        seen = set()
        for _ in range(200):
            seen.add(page.locator(".tile .value").first.inner_text())
            if process.poll() is not None and "16" in seen:
                break
            page.wait_for_timeout(150)
        page.get_by_text("running", exact=True).wait_for(state="detached")
    finally:
        process.kill()
        process.wait()

    assert page.evaluate("window.kept") is True
    assert len(seen) >= 3
    assert "16" in seen
    assert page.locator(".live").inner_text() == "live"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.skipif(find_spec("axe_playwright_python") is None, reason="axe-playwright-python is in the extra `dev`")
def test_axe_finds_no_fault(scheme, visit, path):
    """Contrast, names, roles and order hold in both colour schemes, on every page."""
    from axe_playwright_python.sync_playwright import Axe

    for name in PAGES:
        if name == "not found":
            continue
        page = visit(path(name), color_scheme=scheme)
        faults = [
            f"{name}: {fault['id']} at {fault['nodes'][0]['target']}"
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert faults == []


def test_pages_fit_narrow_screens(visit, path):
    """Nothing but tables, texts and the tree scrolls sideways on a telephone."""
    for name in PAGES:
        if name == "not found":
            continue
        page = visit(path(name), viewport={"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_pages_are_light(visit, path):
    """A page weighs less than 600 kB with all that it loads, pictures included."""
    for name in PAGES:
        if name == "not found":
            continue
        page = visit(path(name))
        page.evaluate(PICTURES)
        weight = page.evaluate(
            """performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize ?? 0), 0)"""
        )
        assert weight > 20_000
        assert weight < PAGE_BYTES, name


def test_a_page_that_does_not_exist_says_so(browser, address):
    """An unknown run is a page with a way back, not a blank one."""
    page = browser.new_page()
    answer = page.goto(f"{address}/?token={TOKEN}")
    answer = page.goto(f"{address}/runs/nobody")

    assert answer.status == 404
    assert "there is no run nobody" in page.locator("main").inner_text()
    assert page.get_by_role("link", name="All runs").is_visible()
    page.close()
