"""The model card that lies beside a model.tflite: what it is, how to feed it, what it was seen to do."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hilnas.export import check_int8


def model_card(results: Mapping[str, Any], model: bytes) -> str:
    """Return the card as Markdown."""
    environment = Environment(  # nosec B701
        loader=PackageLoader("hilnas.report"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, not HTML
        trim_blocks=True,
    )
    return environment.get_template("model_card.md.jinja").render(
        results=results, best=results["best"], task=results["task"], model=check_int8(model)
    )
