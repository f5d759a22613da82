"""Runs a search in a process of its own, and ends that process by SIGKILL where it is told to.

python driver.py FOLDER RECIPE.json [KIND before|after]
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from hilnas.daemon.place import Place
from hilnas.daemon.run import run_search
from hilnas.recipe import check_recipe
from hilnas.store import record as record_module


def main() -> None:
    """Run, resuming where there is something to resume."""
    folder, recipe = Path(sys.argv[1]), check_recipe(json.loads(Path(sys.argv[2]).read_text()))
    kind, phase = (sys.argv[3], sys.argv[4]) if len(sys.argv) > 3 else ("", "")

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if phase == "before":
        insert = record_module._insert_event

        def insert_or_die(connection, search_id, happened):
            insert(connection, search_id, happened)
            if happened.kind == kind:
                die()  # inside the transaction

        record_module._insert_event = insert_or_die

    def listen(event) -> None:
        print(event.kind.value, event.trial, flush=True)
        if phase == "after" and event.kind == kind:
            die()

    asyncio.run(run_search(recipe, Place(folder), resume=True, listen=listen))


if __name__ == "__main__":
    main()
