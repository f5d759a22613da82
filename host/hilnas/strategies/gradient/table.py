"""The latency table that a search before all measuring goes by."""

from collections.abc import Sequence

from hilnas.objectives import Objective, Quantity
from hilnas.options import OptionsError
from hilnas.store.latency_table import LatencyTable
from hilnas.strategies.gradient.options import TableOptions


def device_table(
    objectives: Sequence[Objective], options: TableOptions
) -> tuple[LatencyTable | None, Objective | None]:
    """Return the table and the latency objective that it is for; None where latency has no target.

    OptionsError where there is no table, or it is of another class of device; TableError for a file that is none.
    """
    asked = [o for o in objectives if o.quantity is Quantity.LATENCY and o.target is not None]
    if not asked:
        return None, None
    if options.table is None or len(asked) > 1:
        raise OptionsError(
            "a search that comes before all measuring takes latency from one device's table: set strategy.table to "
            "the file that `hilnas profile --space` filled, and give one objective latency"
        )
    table = LatencyTable.read(options.table)
    (objective,) = asked
    if objective.device_class not in (None, table.head.device_class):
        raise OptionsError(
            f"{options.table} is of {table.head.device_class}, the objective {objective.label} is not: "
            "set strategy.table to a table of that class"
        )
    return table, objective
