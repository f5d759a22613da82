"""ai-edge-litert, the living runtime: int8 models run through XNNPACK by default."""

from hilnas_agent.runtimes.base import Interpreting


class LiteRt(Interpreting):
    """Runtime of the ai-edge-litert distribution."""

    name = "ai-edge-litert"
    package = "ai_edge_litert"
    xnnpack_int8 = True
