"""The explorer shows what a stranger's run says as text alone, and a notebook shows it in a frame of its own."""

import json
import shutil

import pytest
from conftest import plain_spec, run_command, small_spec

import tmsjax
from browser.made_up import made_up
from browser.pages import Explored
from tmsjax.kinds import FAMILIES
from tmsjax.runs import Run, open_run
from tmsjax.spec import stored_spec

pytestmark = pytest.mark.browser
HOSTILE = [
    "</script><script>alert(1); window.broken = 1</script>",
    '<img src=x onerror="alert(1); window.broken = 1">\'',
    "{{script}}{{about}}&quot;&lt;b&gt;&amp;",
    "<!--<script>]]>\\u003c/script>\\",
    "$&$1\\g<0>`${alert(1)}`",
    "javascript:alert(1)",
    "__proto__",
    "constructor",
]
UNPRINTABLE = "a\u2028b\u2029</script>\u202e\x00\ufeff"  # refused as the value of an axis, but not as a name


def check_harmless(page: Explored) -> None:
    assert page.page.evaluate("() => window.broken") is None
    assert page.page.evaluate("() => document.querySelectorAll('img, iframe, object, embed, base, b').length") == 0
    assert page.page.evaluate("() => document.scripts.length") == 5
    assert page.page.evaluate("() => Object.prototype.broken") is None


def with_spec(run: Run, text: str) -> Run:
    """The run with the text of another spec, such as a stranger may have written."""
    return Run(stored_spec(text, "run"), None, run.dataset.assign_attrs(spec=text))


@pytest.mark.parametrize("kind", ["norms", "curves", None])
def test_hostile_names_along_axes_are_text(explored, kind):
    axes = {"case": {"values": HOSTILE}, "constructor": {"values": [0.1, 0.5]}, "replica": {"count": 2}}
    of = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, "constructor"]
    raw = plain_spec(5, 2, axes=axes, instance={"feature_probability": {"select": "case", "of": of}})
    raw["study"] = {"y": "constructor", "x": "case"} | ({"kind": kind} if kind else {})
    page = explored(made_up(raw, history=("loss",)), "cell=0,0")
    for column, name in enumerate(HOSTILE):
        if kind is None:
            page.click(1, column)
            page.map.press("b")
        else:
            page.page.locator("#pictures .thumb").nth(column).click()
            assert page.page.locator("#pictures .thumb").nth(column).inner_text() == name
        assert page.title().endswith(f", {name}")
        assert name in page.page.locator("#hover").inner_text() or name in page.page.locator("#spoken").inner_text()
    assert f"axis case{', '.join(HOSTILE[:3])}" in (page.page.locator("#facts").text_content() or "")
    check_harmless(page)


@pytest.mark.parametrize("text", [*HOSTILE, UNPRINTABLE])
def test_hostile_names_of_a_strangers_spec_are_text(explored, text):
    run = made_up(plain_spec(4, 2))
    name = json.dumps(text)
    changed = run.dataset.attrs["spec"]
    for key, usual in (("family", "tied"), ("activation", "relu"), ("activity", "independent"), ("values", "uniform")):
        assert f'{key} = "{usual}"' in changed
        changed = changed.replace(f'{key} = "{usual}"', f"{key} = {name}")
    for key, usual in (("optimizer", "adam"), ("schedule", "constant"), ("measures", None)):
        old = f'{key} = ["loss"]' if usual is None else f'{key} = "{usual}"'
        assert old in changed
        changed = changed.replace(old, f"{key} = [{name}]" if usual is None else f"{key} = {name}")
    changed = changed.replace("[data]\n", f"[data]\n{name} = 3\n")
    if text.isprintable():
        changed = f"imports = [{name}]\n" + changed
    changed += f"\n[study]\nkind = {name}\n"
    page = explored(with_spec(run, changed))
    facts = page.page.locator("#facts").text_content() or ""
    assert facts.count(text) >= 6 + text.isprintable()
    assert text in (page.page.locator("#models-line").text_content() or "")
    assert "cannot compute the output" in page.page.locator("#panel").inner_text()
    assert len([card for card in page.cards() if card["picture"]]) == 4
    check_harmless(page)


def test_names_of_parameters_and_measures_are_text(explored, registries):
    name = "</script><b>"
    run = made_up(plain_spec(4, 2, model={"features": 4, "hidden": 2, "family": "attention-score"}))
    data = run.dataset.rename({next(iter(FAMILIES["attention-score"].parameters)): name})
    text = data.attrs["spec"].replace('family = "attention-score"', 'family = "unknown"')
    page = explored(with_spec(Run(run.spec, None, data), text))
    assert page.about["parameters"][name] == [2, 4]
    assert all(card["picture"] for card in page.cards())
    check_harmless(page)


def test_a_run_of_a_family_that_is_not_known_here(explored, registries, tmp_path):
    tmsjax.add_family(
        "doubled",
        parameters={"W": ("hidden", "feature"), "c": ("feature",)},
        apply=lambda params, x, f: f(params["W"].T @ (params["W"] @ x) + params["c"]),
        directions=lambda params: params["W"],
        sentence="as tied",
    )
    run = made_up(small_spec(name="own", model={"family": "doubled"}))
    del FAMILIES._entries["doubled"]
    page = explored(run, "cell=1,2")
    order = sorted("01", key=lambda k: float(run.dataset["loss"][1, 2, int(k)]))
    assert [card["key"] for card in page.cards()] == order
    page.page.locator("#panel summary").click()
    assert len(page.table()) == 2
    assert "cannot compute the output of the family \u201cdoubled\u201d" in page.page.locator("#panel").inner_text()


def test_a_frame_of_a_notebook(opened, one_neuron, tmp_path):
    path = tmp_path / "notebook.html"
    markup = tmsjax.explore(one_neuron)._repr_html_()
    path.write_text(f"<!doctype html><title>a notebook</title><p>before</p>{markup}<p>after</p>", encoding="utf-8")
    outer = opened(path, viewport={"width": 1300, "height": 1000})
    frame = outer.frames[1]
    page = Explored(frame)
    assert frame.evaluate("() => self.origin") == "null", "the frame may not touch the notebook"
    page.choose(colour="phase")
    assert len(set(map(tuple, page.tones().reshape(-1, 3).tolist()))) == 3
    page.click(1, 2)
    assert page.title() == "Cell: p = 0.3981, importance of the extra feature = 0.4642"
    page.map.press("ArrowUp")
    page.map.press("+")
    assert page.title().startswith("Cell: p = 1,")
    frame.locator("#theme").click()
    frame.locator(".skip").focus()
    outer.keyboard.press("Enter")
    outer.wait_for_timeout(200)
    assert frame.url == "about:srcdoc"
    assert page.title().startswith("Cell: p = 1,"), "the link to the picture replaced the page"
    assert outer.url == path.as_uri()
    outer.frame_locator("iframe").locator("#map").wait_for()


def test_a_page_of_the_command_line(explored, one_neuron, tmp_path):
    folder = tmp_path / "a folder with #, ? and %41"
    shutil.copytree(one_neuron.directory.path, folder)
    done = run_command("explore", folder)
    assert done.returncode == 0, done.stderr
    page = explored(folder / "explorer.html", "cell=1,2")
    assert [card["key"] for card in page.cards()][:2] == ["exact", "candidate"]
    assert open_run(folder).spec.hash in (page.page.locator("#facts").text_content() or "")
