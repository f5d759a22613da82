"""What every space must do."""

import json
import pickle

import numpy as np
import pytest

from hilnas.spaces import Space, SpaceError
from hilnas.trial import Architecture


class SpaceContract:
    """Derive, and give the fixture `space`."""

    samples = 12

    @pytest.fixture
    def space(self) -> Space:
        """Return the space under test."""
        pytest.fail("give the fixture `space`")

    @pytest.fixture
    def drawn(self, space: Space) -> list[Architecture]:
        """Return some of its architectures."""
        generator = np.random.default_rng(0)
        return [space.sample(generator) for _ in range(self.samples)]

    def test_samples_are_points(self, space: Space, drawn: list[Architecture]) -> None:
        assert all(space.check(architecture) == architecture for architecture in drawn)

    def test_only_live_decisions_are_made(self, space: Space, drawn: list[Architecture]) -> None:
        decisions = {decision.name: decision for decision in space.decisions}
        for architecture in drawn:
            chosen = dict(architecture.decisions)
            assert all(space.is_live(decisions[name], chosen) for name in chosen)
            assert space.next_decision(chosen) is None

    def test_architectures_survive_json(self, space: Space, drawn: list[Architecture]) -> None:
        for architecture in drawn:
            copy = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
            assert copy == architecture
            assert copy.digest == architecture.digest
            assert space.check(copy) == architecture

    def test_a_mutation_changes_one_decision(self, space: Space, drawn: list[Architecture]) -> None:
        generator = np.random.default_rng(1)
        decisions = {decision.name: decision for decision in space.decisions}
        for architecture in drawn:
            mutant = space.mutate(architecture, generator)
            before, after = dict(architecture.decisions), dict(mutant.decisions)
            changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
            assert len(changed) == 1
            assert all(_below(decisions, name, changed) for name in before.keys() ^ after.keys())

    def test_neighbours_differ_in_one_decision(self, space: Space, drawn: list[Architecture]) -> None:
        for neighbour in space.neighbours(drawn[0]):
            before, after = dict(drawn[0].decisions), dict(neighbour.decisions)
            assert sum(before[name] != after[name] for name in before.keys() & after.keys()) == 1
            assert after.keys() <= before.keys()

    def test_strangers_are_refused(self, space: Space, drawn: list[Architecture]) -> None:
        name, _ = drawn[0].decisions[0]
        with pytest.raises(SpaceError, match=name):
            space.architecture({**dict(drawn[0].decisions), name: "no such value"})
        with pytest.raises(SpaceError, match="no decision"):
            space.architecture({**dict(drawn[0].decisions), "no such decision": 1})
        with pytest.raises(SpaceError):
            space.check(Architecture("another space", drawn[0].decisions))

    def test_modules_map_inputs_to_logits(self, space: Space, drawn: list[Architecture]) -> None:
        import torch

        for architecture in drawn[:4]:
            shape = space.input_shape(architecture)
            module = space.build(architecture).eval()
            logits = module(torch.zeros(2, *shape))
            assert logits.ndim == 2
            assert logits.shape[0] == 2
            assert torch.isfinite(logits).all()

    def test_modules_export_to_int8(self, space: Space, drawn: list[Architecture]) -> None:
        import torch

        from hilnas.export import check_int8, export_int8

        torch.manual_seed(0)
        for architecture in drawn[:4]:
            shape = space.input_shape(architecture)
            model = export_int8(space.build(architecture).eval(), torch.randn(8, *shape))
            assert check_int8(model).input_shape == (1, *shape[1:], shape[0])

    def test_descriptions_end_in_the_output(self, space: Space, drawn: list[Architecture]) -> None:
        import torch

        rows = space.describe(drawn[0])
        logits = space.build(drawn[0]).eval()(torch.zeros(1, *space.input_shape(drawn[0])))
        assert rows[-1].output[0] == logits.shape[1]

    def test_structures_tell_architectures_apart(self, space: Space, drawn: list[Architecture]) -> None:
        assert len({space.structure(a) for a in drawn}) == len(set(drawn))

    def test_extremes_are_points(self, space: Space) -> None:
        for architecture in space.extremes():
            assert space.check(architecture) == architecture

    def test_shares_cover_every_net(self, space: Space, drawn: list[Architecture]) -> None:
        try:
            tensors = space.supernet().state_dict()
        except SpaceError:
            pytest.skip(f"the nets of {space.name} share no weights")
        for architecture in [*space.extremes(), *drawn]:
            shares = space.shares(architecture)
            state = space.build(architecture).state_dict()
            floating = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
            assert shares.keys() == floating.keys()
            for name, share in shares.items():
                piece = tensors[share.tensor][share.piece] if share.piece else tensors[share.tensor]
                assert piece.shape == floating[name].shape, name

    def test_factors_tell_the_parts_of_every_net(self, space: Space, drawn: list[Architecture]) -> None:
        try:
            factors = space.part_factors()
        except SpaceError:
            pytest.skip(f"{space.name} does not tell its parts by place")
        choices = {decision.name: decision.choices for decision in space.decisions}
        for architecture in drawn:
            keys = []
            for factor in factors:
                # A decision that is not live must not matter: any choice does.
                values = tuple(
                    choices[name][0] if architecture.get(name) is None else architecture[name]
                    for name in factor.decisions
                )
                keys.append(factor.key(values))
            assert [key for key in keys if key] == [part.key for part in space.parts(architecture)]

    def test_hard_mixtures_are_nets(self, space: Space, drawn: list[Architecture]) -> None:
        import torch
        from torch.nn import functional

        from hilnas.supernet.shared import SharedWeights

        try:
            relaxed = space.relaxed()
        except SpaceError:
            pytest.skip(f"the nets of {space.name} cannot be mixed")
        for module in relaxed.modules():
            module.training = False
        shared = SharedWeights(space, relaxed.get_submodule("shared").state_dict())
        largest = space.input_shape(space.extremes()[1])
        images = torch.randn(3, *largest)
        for architecture in drawn[:4]:
            gates = {}
            for decision in space.decisions:
                value = architecture.get(decision.name)
                chosen = 0 if value is None else decision.choices.index(value)
                gates[decision.name] = functional.one_hot(torch.tensor(chosen), len(decision.choices)).float()
            size = space.input_shape(architecture)[1:]
            sized = functional.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=True
            )
            expected = shared.run(architecture, sized, dropout=False)
            torch.testing.assert_close(relaxed(images, gates), expected, rtol=1e-3, atol=1e-4)

    def test_it_travels_by_pickle(self, space: Space, drawn: list[Architecture]) -> None:
        copy: Space = pickle.loads(pickle.dumps(space))  # nosec B301 # noqa: S301 - our own bytes
        assert copy.size == space.size
        assert copy.structure(drawn[0]) == space.structure(drawn[0])


def _below(decisions: object, name: str, changed: set[str]) -> bool:
    """Does `name` depend, through its parents, on a changed decision?"""
    assert isinstance(decisions, dict)
    while (parent := decisions[name].parent) is not None:
        if parent in changed:
            return True
        name = parent
    return False
