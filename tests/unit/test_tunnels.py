"""The list of a lab's tunnels and its key, and a daemon that follows them."""

import asyncio
import json
import socket
import time
from contextlib import closing

import pytest
from prometheus_client import generate_latest

from hilnas.cli.boards import targets
from hilnas.daemon.check import back_up
from hilnas.daemon.lab import Lab
from hilnas.daemon.metrics import Metrics
from hilnas.daemon.searches import Searches
from hilnas.daemon.tunnel_book import TunnelBook
from hilnas.daemon.tunnels import Tunnels, down
from hilnas.farm import Farm
from hilnas.options import OptionsError
from hilnas.provision.kept import Hop, Kept
from hilnas.store import Record
from hilnas.store.lab import Submissions
from tests.unit.provision.test_tunnel_key import CELLAR, GATE, KITCHEN


@pytest.fixture(scope="module")
def nowhere():
    """A port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def board(nowhere):
    return Kept(port=50816, hops=(Hop(user="pi", host="127.0.0.1", port=nowhere, host_key=KITCHEN),))


@pytest.fixture
def book(tmp_path):
    return TunnelBook(tmp_path / "ssh")


@pytest.fixture
def tunnels(book):
    made = Tunnels(book, 30)
    yield made
    asyncio.run(made.close())


def wait_for(condition, seconds=10):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_the_key_is_made_once_and_is_its_owners(book):
    assert not book.folder.exists()
    public = book.public_key()
    assert public.startswith("ssh-ed25519 ") and book.public_key() == public
    assert book.folder.stat().st_mode & 0o777 == 0o700
    assert book.key.stat().st_mode & 0o777 == 0o600
    assert book.key.with_suffix(".pub").read_text().startswith(public)
    book.key.write_text("torn")
    with pytest.raises(OptionsError, match="id_ed25519 is no SSH key"):
        book.public_key()


def test_the_list_comes_back_as_it_was(book, board):
    assert book.read() == ()
    book.write([board])
    assert book.read() == (board,) and book.list.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no list of tunnels"),
        ('{"tunnels": [{"port": 1}]}', '"tunnels.json.tunnels.0.hops" is missing'),
        ('{"tunnel": []}', 'did you mean "tunnels"'),
    ],
)
def test_a_damaged_list_is_named_and_left_alone(book, board, tunnels, text, words):
    tunnels.keep(board)
    book.list.write_text(text)
    tunnels.look()
    assert words in tunnels.trouble and words in down(tunnels)[0]
    assert [held.kept for held in tunnels.all()] == [board], "what is held goes on"
    with pytest.raises(OptionsError, match=words.split(" ", maxsplit=1)[0]):
        tunnels.keep(board)
    assert book.list.read_text() == text
    book.write([])
    tunnels.look()
    assert not tunnels.trouble and not tunnels.all()


def test_the_same_board_twice_in_the_list(book, board):
    data = {"tunnels": [board.model_dump(mode="json")] * 2}
    book.public_key()
    book.list.write_text(json.dumps(data))
    with pytest.raises(OptionsError, match="twice"):
        book.read()


def test_it_follows_the_list_and_says_why_a_tunnel_is_down(book, board, tunnels, nowhere):
    book.public_key()
    tunnels.look()
    assert not tunnels.all()
    book.write([board])  # by another process
    tunnels.look()
    (held,) = tunnels.all()
    wait_for(lambda: "refuses the connection: is sshd running" in held.tunnel.state)
    assert not held.tunnel.is_up and not down(tunnels), "a minute is no matter"
    held.tunnel.since_unix -= 300
    assert "is down for 5 min" in down(tunnels)[0] and str(nowhere) in down(tunnels)[0]
    # Nothing has changed for the tunnel: it is the same one.
    book.write([board.model_copy(update={"by": "ann"})])
    tunnels.look()
    assert tunnels.all()[0].tunnel is held.tunnel and tunnels.all()[0].kept.by == "ann"
    book.write([board.model_copy(update={"port": 50817})])
    tunnels.look()
    assert tunnels.all()[0].tunnel is not held.tunnel
    wait_for(lambda: held.tunnel.state == "stopped")
    book.list.unlink()
    tunnels.look()
    assert not tunnels.all()


def test_a_list_without_its_key(book, board, tunnels):
    book.write([board])
    tunnels.look()
    wait_for(lambda: "id_ed25519 is not there: put it back" in tunnels.all()[0].tunnel.state)


def test_keeping_and_forgetting(book, board, tunnels):
    tunnels.keep(board)
    assert tunnels.keep(board.model_copy(update={"port": 50817})).kept.port == 50817
    assert [kept.port for kept in book.read()] == [50817]
    assert tunnels.forget((("pi", "elsewhere", 22),)) is None
    assert tunnels.forget(board.way).kept.board == board.board
    assert book.read() == () and not tunnels.all()


def test_the_newest_word_about_a_host_counts_for_all_tunnels_by_it(book, board, tunnels):
    gate, behind = board.hops[0], Hop(user="pi", host="behind", host_key=CELLAR)
    tunnels.keep(Kept(port=1, hops=(gate, behind)))
    tunnels.keep(board.model_copy(update={"hops": (gate.model_copy(update={"host_key": GATE}),)}))
    other, same = sorted(book.read(), key=lambda kept: -len(kept.hops))
    assert [hop.host_key for hop in other.hops] == [GATE, CELLAR]
    assert same.hops[0].host_key == GATE


def test_prometheus_and_a_backup_know_of_them(tmp_path, board):
    async def main():
        lab = Lab.open(tmp_path / "lab")
        lab.folder.mkdir()
        with closing(Record(lab.store)) as record:
            tunnels = Tunnels(TunnelBook(lab.ssh), 30)
            public = tunnels.book.public_key()
            tunnels.keep(board)
            farm = Farm(lab.models, None)
            metrics = Metrics(farm, Searches(lab, Submissions(record), farm), tunnels)
            text = generate_latest(metrics.registry).decode()
            await tunnels.close()
            back_up(lab, tmp_path / "copy")
        return text, public

    text, public = asyncio.run(main())
    assert f'hilnas_tunnel_up{{board="{board.board}",via=""}} 0.0' in text
    copy = TunnelBook(tmp_path / "copy/ssh")
    assert copy.read() == (board,) and copy.public_key() == public
    assert copy.key.stat().st_mode & 0o777 == 0o600


def test_one_fingerprint_for_each_board():
    first, second = ("SHA256:" + letter * 43 for letter in "AB")
    found = targets(["pi@one", "pi@two"], "", None, [first, second])
    assert [(target.host, target.fingerprint) for target in found] == [("one", first), ("two", second)]
    assert [target.fingerprint for target in targets(["pi@one", "pi@two"], "", None, None)] == ["", ""]
    with pytest.raises(OptionsError, match="1 times for 2 boards"):
        targets(["pi@one", "pi@two"], "", None, [first])
