import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.security.errors import SecurityError, TokenError
from hilnas.security.limits import Allowance, Allowances
from hilnas.security.tokens import JoinTokens


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(tmp_path, clock):
    return JoinTokens(tmp_path / "ca" / "tokens.json", clock)


def test_a_token_is_good_once(tokens):
    token = tokens.create("kitchen", "pixel-6")
    assert tokens.redeem(token) == ("kitchen", "pixel-6")
    with pytest.raises(TokenError, match=r"used already.*hilnas daemon token"):
        tokens.redeem(token)


def test_a_token_is_long_and_easy_to_type(tokens):
    token = tokens.create("kitchen")
    groups = token.split("-")
    assert [len(group) for group in groups] == [4] * 7
    assert not set(token) & set("ilou")
    typed = token.upper().replace("-", " ").replace("0", "O").replace("1", "I")
    assert tokens.redeem(f" {typed}\n") == ("kitchen", "")


def test_tokens_outlive_a_restart_and_are_nowhere_in_clear(tmp_path, tokens, clock):
    token = tokens.create("kitchen")
    path = tmp_path / "ca" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_text()
    assert token not in content
    assert token.replace("-", "") not in content
    assert JoinTokens(path, clock).redeem(token) == ("kitchen", "")


def test_a_token_expires(tokens, clock):
    token = tokens.create("kitchen", minutes=15)
    clock.now += 15 * 60 - 1
    other = tokens.create("shed")
    clock.now += 1
    with pytest.raises(TokenError, match="expired"):
        tokens.redeem(token)
    assert tokens.redeem(other) == ("shed", "")
    clock.now += 10 * 86_400
    tokens.create("loft")
    with pytest.raises(TokenError, match="unknown"):  # and is forgotten in the end
        tokens.redeem(token)


def test_of_many_that_bring_a_token_at_once_one_gets_in(tmp_path, clock):
    path = tmp_path / "tokens.json"
    token = JoinTokens(path, clock).create("kitchen")
    together = threading.Barrier(8)

    def redeem(_):
        own = JoinTokens(path, clock)  # as in processes of their own
        together.wait()
        try:
            return own.redeem(token)
        except TokenError:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(redeem, range(8)))
    assert [each for each in found if each] == [("kitchen", "")]


def test_tokens_made_at_once_are_all_good(tokens):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: tokens.create(f"d{number}"), range(20)))
    assert {tokens.redeem(token)[0] for token in made} == {f"d{number}" for number in range(20)}


def test_a_withdrawn_token_is_worthless(tokens):
    token, other = tokens.create("kitchen"), tokens.create("shed")
    assert tokens.withdraw("kitchen") == 1
    assert tokens.withdraw("kitchen") == 0
    with pytest.raises(TokenError, match="unknown"):
        tokens.redeem(token)
    assert tokens.redeem(other) == ("shed", "")


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), 1e9])
def test_lives_that_are_none(tokens, minutes):
    with pytest.raises(SecurityError, match="minutes"):
        tokens.create("kitchen", minutes=minutes)


def test_names_that_are_none(tokens):
    with pytest.raises(SecurityError, match="name in a certificate"):
        tokens.create("../etc")


def test_a_damaged_file_says_what_to_do(tmp_path, tokens):
    token = tokens.create("kitchen")
    (tmp_path / "ca" / "tokens.json").write_text("{")
    with pytest.raises(SecurityError, match="remove it"):
        tokens.redeem(token)


@settings(max_examples=50)
@given(st.text(max_size=300))
def test_what_is_no_token_is_refused_in_words(tmp_path_factory, text):
    tokens = JoinTokens(tmp_path_factory.getbasetemp() / "guesses" / "tokens.json")
    with pytest.raises(TokenError, match="unknown"):
        tokens.redeem(text)


def test_an_allowance_is_spent_and_comes_back():
    clock = Clock()
    allowance = Allowance(3, 0.5, clock)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 2
    assert [allowance.take(), allowance.take()] == [True, False]
    clock.now += 1000
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    allowance.give_back()
    assert allowance.take()


def test_everybody_has_their_own_allowance_and_old_ones_are_forgotten():
    clock = Clock()
    each = Allowances(1, 0, clock, kept=2)
    assert each.of("a").take()
    assert not each.of("a").take()
    assert each.of("b").take()
    assert each.of("c").take()
    assert not each.of("b").take()
    assert each.of("a").take()
