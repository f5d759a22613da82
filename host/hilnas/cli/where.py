"""Options that say which daemon is meant."""

from pathlib import Path
from typing import Annotated

import typer

LabFolder = Annotated[
    Path | None,
    typer.Option("--lab", help="Folder of the daemon on this machine; else $HILNAS_LAB, or the default."),
]
Address = Annotated[
    str | None, typer.Option("--daemon", metavar="HOST:PORT", help="A daemon elsewhere; else $HILNAS_DAEMON.")
]
Identity = Annotated[
    Path | None, typer.Option(help="Folder with your certificate for --daemon; else $HILNAS_IDENTITY.")
]
