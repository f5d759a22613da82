"""`hilnas space`: what a recipe's space can decide, and its size."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hilnas.plugins import Axis
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task


def space_command(source: str | None, overrides: Sequence[str], as_json: bool) -> None:
    """Print the decisions, the settings that shape them, and the count."""
    recipe = load_recipe(source, overrides)
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    if as_json:
        decisions = [
            {"name": d.name, "choices": list(d.choices), "parent": d.parent, "when": sorted(d.when, key=str)}
            for d in space.decisions
        ]
        options = recipe.options(Axis.SPACE).model_dump(mode="json")
        print(
            json.dumps({"space": space.name, "size": space.size, "options": options, "decisions": decisions})
        )
        return
    table = Table("decision", "choices", "live when")
    for decision in space.decisions:
        when = (
            f"{decision.parent} is {' or '.join(map(str, sorted(decision.when, key=str)))}"
            if decision.parent
            else ""
        )
        table.add_row(decision.name, ", ".join(map(str, decision.choices)), when)
    console = Console()
    console.print(table)
    settings = Table("setting of [space]", "value", "meaning")
    options = recipe.options(Axis.SPACE)
    for name, field in type(options).model_fields.items():
        settings.add_row(name, json.dumps(options.model_dump(mode="json")[name]), field.description or "")
    console.print(settings)
    console.print(
        f"{space.name} for {task.name}: {space.size:,} architectures", highlight=False, markup=False
    )
