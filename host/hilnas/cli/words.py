"""Options that several commands have, each in the same words."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."),
]
DeviceName = Annotated[
    str | None, typer.Option(help="Name of the device, which dials in at --listen (deploy/README.md).")
]
Local = Annotated[bool, typer.Option("--local", help="Measure on this machine: the default.")]
Listen = Annotated[str, typer.Option(help="Where agents dial in; port 0 takes a free one.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the device.")]
Cpus = Annotated[
    str | None, typer.Option(help="Processors of this machine that measure, such as 2,3; else the last.")
]
Runtime = Annotated[
    str, typer.Option(help="ai-edge-litert or tflite-runtime; else the device's preferred one.")
]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Inference threads.")]
Xnnpack = Annotated[bool, typer.Option("--xnnpack/--no-xnnpack", help="Whether the runtime may use XNNPACK.")]
