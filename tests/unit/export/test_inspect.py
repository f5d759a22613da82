"""inspect_model: what sound files hold, and a refusal of its own kind for all that are not sound."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hilnas.errors import HilnasError
from hilnas.export import ModelFileError, ModelSummary, export_int8, inspect_model
from hilnas_agent import memory
from tests.unit.agent import control_models, mutants, tiny_models
from tests.unit.agent.control_models import Builder

CORPUS = {
    "convolutions": tiny_models.good(side=8, channels=4),
    "custom": tiny_models.unsupported_custom_op(),
    "loop": control_models.loop(),
    "branch": control_models.branch(),
}


def test_an_exported_network_is_full_int8() -> None:
    model = export_int8(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.randn(4, 3, 6, 6))
    summary = inspect_model(model)
    assert (summary.bytes, summary.graphs, summary.arithmetic) == (len(model), 1, "int8")
    assert summary.operators == {"CONV_2D": 1}
    assert [(end.shape, end.type, end.dynamic) for end in (*summary.inputs, *summary.outputs)] == [
        ((1, 6, 6, 3), "int8", False),
        ((1, 4, 4, 8), "int8", False),
    ]
    assert summary.constant_bytes == 8 * 27 + 8 * 4
    assert summary.arena_bytes == 6 * 6 * 3 + 4 * 4 * 8


def test_a_branch_with_unknown_extents_is_described() -> None:
    summary = inspect_model(control_models.branch())
    assert (summary.graphs, summary.control_flow, summary.arithmetic) == (3, ("IF",), "float")
    assert summary.operators == {"IF": 1, "ADD": 2}
    assert summary.dynamic
    assert [end.dynamic for end in summary.inputs] == [False, True]


def test_a_loop_is_described_and_custom_operators_are_named() -> None:
    assert inspect_model(control_models.loop()).control_flow == ("WHILE",)
    summary = inspect_model(tiny_models.unsupported_custom_op())
    assert summary.custom == ("NobodyHasThis",)
    assert summary.operators == {"CUSTOM:NobodyHasThis": 1}


def test_the_arena_is_what_lives_at_once() -> None:
    # 0 → 1 → 2 → 3: while 2 is made, 1 is read and the input stays.
    chain = control_models.chain([([0], [1]), ([1], [2]), ([2], [3])], shapes=[(10,), (100,), (200,), (1,)])
    assert inspect_model(chain).arena_bytes == 4 * (10 + 100 + 200)
    joined = control_models.chain([([0], [1]), ([0], [2]), ([1, 2], [3])], shapes=[(1,), (50,), (60,), (7,)])
    assert inspect_model(joined).arena_bytes == 4 * (1 + 50 + 60 + 7)


def mixed() -> bytes:
    builder = Builder()
    graph = builder.graph()
    graph.inputs = [builder.tensor(graph, (4,), control_models._FLOAT32)]
    graph.outputs = [builder.tensor(graph, (4,), control_models.schema.TensorType.INT8)]
    builder.operator(graph, "QUANTIZE", graph.inputs, graph.outputs)
    return builder.pack()


def test_float_ends_around_int8_are_mixed() -> None:
    assert inspect_model(mixed()).arithmetic == "mixed"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a sound .tflite file"),
        (tiny_models.NOT_A_MODEL, "TFL3"),
        (tiny_models.EIGHT_BYTES, "not a sound"),
        (tiny_models.torn(), "not a sound"),
        (tiny_models.huge(), r"8\.0 GiB; at most 4\.0 GiB"),
        (CORPUS["convolutions"].replace(b"\2\0\0\0t2\0", b"\2\0\0\0\xff2\0"), "no UTF-8"),
        (control_models.loop(body=0), "runs itself"),
        (control_models.loop(condition=0), "fit|runs itself"),
        (control_models.loop(body=9), "WHILE runs: 9 is referred to, and there are 3"),
        (control_models.loop(body=-1), "WHILE runs: -1"),
        (control_models.chain([([1], [2]), ([0], [1])]), "reads tensor 't1', which nothing before it writes"),
        (control_models.chain([([0], [1]), ([0], [1])]), "writes tensor 't1', which is written already"),
        (control_models.chain([([0], [1]), ([1], [0])], ([0], [1])), "writes tensor 't0'"),
        (control_models.chain([([0], [1]), ([2], [3])], ([0], [1])), "reads tensor 't2'"),
        (control_models.chain([([0], [1])], shapes=[(1,) * 33, (1,)]), "33 dimensions; 32 are the most"),
        (control_models.chain([([0], [1])], shapes=[(-5,), (1,)]), "no extent is below -1"),
        (control_models.chain([([0], [1])], shapes=[(2**31 - 1,) * 32, (1,)]), "more than any machine has"),
    ],
)
def test_what_is_not_sound_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ModelFileError, match=words) as caught:
        inspect_model(content)
    assert isinstance(caught.value, HilnasError)


def test_an_output_that_nobody_writes_is_refused() -> None:
    builder = Builder()
    graph = builder.graph()
    for _ in range(3):
        builder.tensor(graph, (4,), control_models._FLOAT32)
    graph.inputs, graph.outputs = [0], [2]
    builder.operator(graph, "CUSTOM", [0], [1], custom="Step")
    with pytest.raises(ModelFileError, match="output 't2' is never written"):
        inspect_model(builder.pack())


def test_the_bound_on_memory_is_the_callers() -> None:
    chain = control_models.chain([([0], [1]), ([1], [2])], shapes=[(100,), (100,), (100,)])
    assert inspect_model(chain, most_tensor_bytes=1200).arena_bytes == 1200
    with pytest.raises(ModelFileError, match="in memory at once"):
        inspect_model(chain, most_tensor_bytes=1199)


def test_a_loop_that_hands_on_another_number_of_tensors_is_refused() -> None:
    builder = Builder()
    main, condition, body = (builder.graph() for _ in range(3))
    main.inputs, main.outputs = [builder.tensor(main)], [builder.tensor(main)]
    options = control_models.schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    builder.operator(main, "WHILE", main.inputs, main.outputs, options)
    condition.inputs = condition.outputs = [builder.tensor(condition)]
    body.inputs, body.outputs = [builder.tensor(body)], []
    with pytest.raises(ModelFileError, match="WHILE runs a graph of 1 inputs and 0 outputs"):
        inspect_model(builder.pack())


def stored_behind(offset: int, size: int) -> bytes:
    """A model whose constant lies at an offset of the file, as large ones are written."""
    builder = Builder()
    graph = builder.graph()
    graph.inputs = [builder.tensor(graph, (4,), control_models._FLOAT32)]
    weights = builder.tensor(graph, (4,), control_models._FLOAT32, np.ones(4, np.float32))
    graph.outputs = [builder.tensor(graph, (4,), control_models._FLOAT32)]
    builder.operator(graph, "MUL", [0, weights], graph.outputs)
    buffer = builder.buffers[1]
    buffer.data, buffer.offset, buffer.size = None, offset, size
    return builder.pack()


def test_a_buffer_behind_the_tables_lies_inside_the_file() -> None:
    content = stored_behind(100, 16)
    assert inspect_model(content).constant_bytes == 16
    for offset, size in ((len(content), 16), (2**63, 2**63), (len(content) - 8, 16)):
        with pytest.raises(ModelFileError, match="runs past the end"):
            inspect_model(stored_behind(offset, size))
    with pytest.raises(ModelFileError, match="15 bytes of content and needs 16"):
        inspect_model(stored_behind(100, 15))


def bomb(entries: int) -> bytes:
    """A list of graphs that all are one graph, whose list of tensors is one tensor again and again."""
    # Layout: head, field list and table of the model (fields 2 and 4), graphs, the graph, tensors, the
    # tensor, buffers, the buffer. Offsets count from where they stand, and only forwards.
    graphs = 8 + 16 + 12
    graph = graphs + 4 + 4 * entries + 8
    tensors = graph + 8
    tensor = tensors + 4 + 4 * entries + 4
    buffers = tensor + 4
    empty = struct.pack("<HHi", 4, 4, 4)
    content = struct.pack("<I4s", 24, b"TFL3") + struct.pack("<7Hxx", 14, 12, 0, 0, 4, 0, 8)
    content += struct.pack("<iII", 16, graphs - 28, buffers - 32) + struct.pack("<I", entries)
    content += b"".join(struct.pack("<I", graph - (graphs + 4 + 4 * i)) for i in range(entries))
    content += struct.pack("<3Hxx", 6, 8, 4) + struct.pack("<iI", 8, 4) + struct.pack("<I", entries)
    content += b"".join(struct.pack("<I", tensor - (tensors + 4 + 4 * i)) for i in range(entries))
    return content + empty + struct.pack("<II", 1, 8) + empty


def test_a_small_file_does_not_unfold_into_gigabytes() -> None:
    assert inspect_model(bomb(2)).graphs == 2
    content = bomb(7000)
    assert len(content) < 64 << 10
    memory.reset_peak()
    before_kib = memory.peak_kib()
    with pytest.raises(ModelFileError, match="unfold into more than"):
        inspect_model(content)
    assert memory.peak_kib() - before_kib < 200 << 10


def outcome(content: bytes) -> ModelSummary | None:
    try:
        return inspect_model(content)
    except ModelFileError as error:
        assert len(str(error)) < 1000
        return None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 40))
def test_no_mutant_raises_anything_else(index: int) -> None:
    name, content = mutants.mutant(CORPUS, "inspect", index)
    assert name in CORPUS
    outcome(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_no_junk_raises_anything_else(junk: bytes) -> None:
    outcome(junk)
    outcome(b"\x08\0\0\0TFL3" + junk)


def test_mutants_are_refused_or_described_and_both_happen() -> None:
    found = [outcome(mutants.mutant(CORPUS, 0, index)[1]) for index in range(1000)]
    assert 200 < sum(summary is None for summary in found) < 950
    assert mutants.mutant(CORPUS, 0, 7) == mutants.mutant(CORPUS, 0, 7)


@pytest.mark.parametrize("name", CORPUS)
def test_a_file_torn_anywhere_is_refused(name: str) -> None:
    content = CORPUS[name]
    for end in range(len(content) - 8):
        assert outcome(content[:end]) is None
