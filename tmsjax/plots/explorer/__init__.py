"""The explorer: one self-contained HTML page on which a run's map is alive.

content.py gathers what the page shows, pack.py rounds and compresses numbers, page.py assembles the file from
page/ (our JavaScript modules and styles) and vendor/ (d3). Needs neither jax nor a network.
"""

from tmsjax.plots.explorer.page import MOST_BYTES, Page, explore

__all__ = ["MOST_BYTES", "Page", "explore"]
