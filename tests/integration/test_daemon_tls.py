"""A daemon that is reached over TLS: people and devices are who their certificates say."""

import json
import os
import subprocess
import sys
import tempfile
import time

import pytest

from hilnas.daemon.client import DaemonError, Where, daemon_at
from hilnas_protos.v1 import daemon_pb2 as api
from tests.integration.labs import Lab
from tests.integration.searches import ROOT, recipe

SETTINGS = """
listen = "127.0.0.1:0"
listen_join = "127.0.0.1:{join}"
listen_local = "127.0.0.1:0"
metrics = ""
user_plugins = ["tests.integration.plugins"]
user_data = ["{data}"]
"""


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def lab():
    port = free_port()
    lab = Lab(SETTINGS.format(join=port, data=tempfile.gettempdir()))
    lab.join_port = port
    told = json.loads(lab.hilnas("daemon", "init", "--name", "127.0.0.1", "--name", "localhost", "--json"))
    lab.fingerprint = told["ca_fingerprint"]
    for name, more in (("ann", ()), ("bob", ()), ("eve", ())):
        lab.hilnas("daemon", "user", name, "-o", str(lab.folder / name), *more)
    with lab:
        lab.address = lab.status().api_address
        yield lab


def where(lab, name):
    return Where(address=lab.address, identity=lab.folder / name)


def call(lab, name, service, method, request):
    with daemon_at(where(lab, name)) as stubs:
        return getattr(getattr(stubs, service), method)(request, timeout=20)


@pytest.fixture(scope="module")
def device(lab, tmp_path_factory):
    """A device that joined with a token, its agent under way."""
    folder = tmp_path_factory.mktemp("device")
    told = json.loads(lab.hilnas("daemon", "token", "shelf-1", "--device-class", "shelf", "--json"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    identity = folder / "identity"
    joined = subprocess.run(
        [sys.executable, "-m", "hilnas_agent", "join", f"127.0.0.1:{lab.join_port}", "--ca-fingerprint",
         lab.fingerprint, "--token-file", "-", "--identity", str(identity)],
        input=told["token"], text=True, capture_output=True, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert joined.returncode == 0, joined.stderr
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "hilnas_agent", "--host", lab.address, "--name", "shelf-1", "--identity",
             str(identity), "--cache-dir", str(folder / "models")],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        lab.wait_for(
            lambda: (d := lab.device("shelf-1")) and d.state == "READY", 60, (folder / "log").read_text()
        )
        yield folder
    finally:
        agent.terminate()
        agent.wait(20)


def test_a_person_submits_from_elsewhere_and_a_device_that_joined_measures(lab, device, tmp_path):
    data = recipe(tmp_path / "calls", trials=3)
    search = call(
        lab, "ann", "searches", "Submit", api.SubmitRequest(recipe=json.dumps(data), user="somebody else")
    )
    assert search.user == "ann", "a certificate says who it is"
    assert lab.finish(search.id).status == "FINISHED", lab.search(search.id).message
    assert lab.device("shelf-1").device_class == "shelf"
    with pytest.raises(DaemonError, match="belongs to ann"):
        call(
            lab, "bob", "searches", "ChangeSearch", api.ChangeSearchRequest(search=search.id, action="remove")
        )
    assert call(lab, "bob", "searches", "ListSearches", api.ListSearchesRequest()).searches[0].id == search.id


def test_what_a_users_recipe_may_not_reach(lab, tmp_path):
    data = recipe(tmp_path / "calls", trials=1)
    foreign = {**data, "task": {"name": "npz", "path": "/etc/shadow"}}
    planted = {**data, "estimator": {"name": "os:system"}}
    away = {**data, "executor": {"name": "ray", "address": "elsewhere:6379"}}
    for each, words in ((foreign, "user_data"), (planted, "user_plugins"), (away, "user_clusters")):
        with pytest.raises(DaemonError, match=words):
            call(lab, "ann", "searches", "Submit", api.SubmitRequest(recipe=json.dumps(each)))


def test_what_needs_an_admin(lab, device):
    for service, method, request in (
        ("devices", "ChangeDevice", api.ChangeDeviceRequest(name="shelf-1", action="drain")),
        ("devices", "LabelDevice", api.LabelDeviceRequest(name="shelf-1", labels={"a": "b"})),
        ("devices", "AddDevice", api.AddDeviceRequest(name="new")),
    ):
        with pytest.raises(DaemonError, match="is no admin"):
            call(lab, "ann", service, method, request)
    for method, request in (
        ("GetTunnelKey", api.GetTunnelKeyRequest()),
        ("KeepTunnel", api.KeepTunnelRequest(port=1)),
        ("ForgetTunnel", api.ForgetTunnelRequest()),
    ):
        with pytest.raises(DaemonError, match="is no admin"):
            call(lab, "ann", "tunnels", method, request)
    high = api.SubmitRequest(recipe="{}", priority="high")
    with pytest.raises(DaemonError, match="needs an admin"):
        call(lab, "ann", "searches", "Submit", high)
    shown = call(
        lab, "admin", "devices", "LabelDevice", api.LabelDeviceRequest(name="shelf-1", labels={"a": "b"})
    )
    assert shown.labels["a"] == "b"


def test_tunnels_are_seen_by_users_and_changed_by_admins(lab):
    key = call(lab, "admin", "tunnels", "GetTunnelKey", api.GetTunnelKeyRequest()).public_key
    hop = api.TunnelHop(user="pi", host="127.0.0.1", port=free_port(), host_key=key)
    asked = api.KeepTunnelRequest(port=50816, hops=[hop], user="somebody else")
    kept = call(lab, "admin", "tunnels", "KeepTunnel", asked)
    assert kept.kept_by == "admin", "a certificate says who it is"
    (seen,) = call(lab, "ann", "tunnels", "ListTunnels", api.ListTunnelsRequest()).tunnels
    assert (seen.board, seen.state) == (f"pi@127.0.0.1:{hop.port}", "DOWN")
    listed = lab.hilnas("device", "tunnel", "--list")
    assert seen.board in listed and "down since" in listed
    for wrong, words in (
        (api.KeepTunnelRequest(port=0, hops=[hop]), '"port"'),
        (api.KeepTunnelRequest(port=1), '"hops"'),
        (
            api.KeepTunnelRequest(port=1, hops=[api.TunnelHop(user="pi", host="x", port=22)]),
            "write a host key",
        ),
    ):
        with pytest.raises(DaemonError, match=words):
            call(lab, "admin", "tunnels", "KeepTunnel", wrong)
    forget = api.ForgetTunnelRequest(hops=[hop])
    assert call(lab, "admin", "tunnels", "ForgetTunnel", forget).board == seen.board
    with pytest.raises(DaemonError, match=r"no tunnel to pi@127\.0\.0\.1"):
        call(lab, "admin", "tunnels", "ForgetTunnel", forget)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--keep", "--forget", "pi@x"), "give one of them"),
        (("--list", "pi@x"), "leave pi@x out"),
        (("--keep",), "which board?"),
        (("--keep", "pi@x", "--to", "127.0.0.1:1"), "--to is for"),
        (("pi@x", "--to", "here"), "write an address and a port"),
        (("--keep", "pi@x", "--fingerprint", "x"), "is none: write SHA256:"),
    ],
)
def test_what_is_asked_of_tunnels_must_make_sense(lab, words, said):
    assert said in lab.hilnas("device", "tunnel", *words, code=2)


def test_people_reserve_for_themselves(lab, device):
    shown = call(lab, "ann", "devices", "ReserveDevice", api.ReserveDeviceRequest(name="shelf-1", seconds=60))
    assert shown.user == "ann"
    assert 0 <= time.time() - shown.held_since_unix < 30
    for_other = api.ReserveDeviceRequest(name="shelf-1", seconds=60, user="ann")
    with pytest.raises(DaemonError, match="only ann or an admin"):
        call(lab, "bob", "devices", "ReserveDevice", for_other)
    with pytest.raises(DaemonError, match="reserved for ann"):
        call(lab, "bob", "devices", "ReserveDevice", api.ReserveDeviceRequest(name="shelf-1", seconds=60))
    lab.hilnas("device", "release", "shelf-1")


def status_by(lab, identity):
    with daemon_at(Where(address=lab.address, identity=identity)) as stubs:
        return stubs.daemon.GetStatus(api.GetStatusRequest(), timeout=20)


def test_a_device_is_no_person_and_a_stranger_is_nobody(lab, device):
    with pytest.raises(DaemonError, match="is a device"):
        status_by(lab, device / "identity/current")
    other = Lab("")
    other.hilnas("daemon", "init", "--name", "127.0.0.1", "--json")
    with pytest.raises(DaemonError, match="does not answer"):
        status_by(lab, other.folder / "admin")


def test_who_is_revoked_is_told_so(lab):
    assert call(lab, "eve", "daemon", "GetStatus", api.GetStatusRequest()).version
    lab.hilnas("daemon", "revoke", "eve")
    with pytest.raises(DaemonError, match="was revoked"):
        call(lab, "eve", "daemon", "GetStatus", api.GetStatusRequest())


def test_who_is_revoked_sees_no_more_of_what_they_watch(lab, tmp_path):
    data = recipe(tmp_path / "calls", trials=1)
    data["objective"][1] |= {"device_class": "nobody's"}
    search = lab.submit(data)
    lab.hilnas("daemon", "user", "pat", "-o", str(lab.folder / "pat"))
    try:
        with pytest.raises(DaemonError, match="was revoked"), daemon_at(where(lab, "pat")) as stubs:
            stream = stubs.searches.WatchSearch(api.WatchSearchRequest(search=search), timeout=60)
            assert next(stream).search.id == search
            lab.hilnas("daemon", "revoke", "pat")
            for _ in stream:
                pass
    finally:
        lab.change(search, "cancel")


def test_addresses_elsewhere_need_certificates():
    lab = Lab('listen = "127.0.0.1:0"\nmetrics = ""\nlisten_local = "127.0.0.1:0"\n')
    assert "hilnas daemon init" in lab.hilnas("daemon", code=2)
