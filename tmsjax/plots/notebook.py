"""How a notebook shows figures: as pictures, although IPython knows matplotlib's figures only once pyplot has drawn."""

from __future__ import annotations

import base64
import io
import sys
from html import escape
from typing import Any

from matplotlib.figure import Figure

from tmsjax.plots.animation import Animation

DPI, GIF_DPI = 90, 60


class Pictures(dict[str, Any]):
    """Figures by file name. A notebook shows them as pictures with their names."""

    def _repr_html_(self) -> str:
        return "".join(f"<figure><figcaption>{escape(k)}</figcaption>{_html(v)}</figure>" for k, v in self.items())


def _html(drawn: Any) -> str:
    if isinstance(drawn, Animation):
        kind, data = "gif", drawn.gif(GIF_DPI)
    elif isinstance(drawn, Figure):
        kind, data = "png", png(drawn)
    else:  # of a study that a user added
        return f"<pre>{escape(repr(drawn))}</pre>"
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=DPI)
        return file.getvalue()


def shown_as_pictures() -> None:
    """Lets a running IPython show a single Figure as a picture, unless pyplot or the user have chosen how."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatters = {} if shell is None else shell.display_formatter.formatters
    if "image/png" in formatters and not any(Figure in one for one in formatters.values()):
        formatters["image/png"].for_type(Figure, png)
