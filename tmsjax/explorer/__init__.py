"""The explorer: one self-contained HTML page on which one clicks a cell of a run and sees its models.

results.py numbers the cells; cells.py and models.py have what the page shows of them; content.py collects it; pack.py
rounds and compresses numbers; page.py assembles the file from page/ (our JavaScript modules and styles) and vendor/
(d3). Needs neither jax nor a network.
"""

from tmsjax.explorer.page import Page, explore

__all__ = ["Page", "explore"]
