"""The example lab: its files are read as the daemon reads them, and every command of the documents exists."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from hilnas.cli.app import app
from hilnas.daemon.lab import Lab, LabOptions
from hilnas.provision import resolve
from hilnas.recipe import load_recipe
from hilnas_agent import __main__ as agent
from hilnas_agent import check, identity, join
from hilnas_agent.phones import command as hub

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "deploy/example-lab"
README = EXAMPLE / "README.md"
DOCUMENTS = (README, ROOT / "deploy/README.md", ROOT / "README.md")
BOARDS = ("bench-5", "bench-4", "cellar-4")
PROGRAMS = ("hilnas", "hilnas-agent")


def fenced(path):
    """The lines of a document's shell commands, continued ones whole, what other commands say in them left out."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S))
    text = re.sub(r"\$\([^()]*\)", "SAID", text.replace("\\\n", " "))
    return [line.strip() for line in text.splitlines() if line.strip()]


def calls(path):
    """The words of each call of hilnas or its agent in a document."""
    found = []
    for line in fenced(path):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        call = []
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[|&;<>]+", word):
                call.append(word)
                continue
            words = program(call)
            if words and Path(words[0]).name in PROGRAMS:
                found.append([Path(words[0]).name, *words[1:]])
            call = []
    return found


def program(words):
    """A call without what only says as whom it runs, and with which variables."""
    while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] == "sudo"):
        first, *words = words
        if first == "sudo" and words and words[0] in ("-iu", "-u"):
            words = words[2:]
    return words


def accept(words):
    """Parse a call as the program itself would; an exception for what it does not know."""
    if words[0] == "hilnas-agent":
        parsers = {"check": check, "join": join, "hub": hub}
        own = parsers.get(words[1] if len(words) > 1 else "")
        (own or agent)._parser().parse_args(words[2:] if own else words[1:])
        return
    command, name, rest, context = get_command(app), words[0], words[1:], None
    while True:
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, rest = command.resolve_command(context, rest)


ALL = [
    pytest.param(words, id=f"{path.parent.name}:{' '.join(words)[:60]}")
    for path in DOCUMENTS
    for words in calls(path)
]


@pytest.mark.parametrize("words", ALL)
def test_a_documents_command_exists(words):
    accept(words)


def test_each_document_has_commands_and_what_is_none_is_noticed():
    assert all(len(calls(path)) >= 15 for path in DOCUMENTS)
    for wrong in ("hilnas device deplyo x", "hilnas device deploy x --tunel", "hilnas device deploy", "hilnas search show",
                  "hilnas daemon user ada -o", "hilnas device list --label"):  # fmt: skip
        with pytest.raises(Exception, match=r"No such|Missing|requires an argument"):
            accept(wrong.split())
    with pytest.raises(SystemExit):
        accept(["hilnas-agent", "join", "lab.example:50818", "--tokn-file", "-"])
    assert program(["sudo", "-iu", "hilnas", "hilnas", "daemon", "status"]) == ["hilnas", "daemon", "status"]
    assert program(["A=1", "sudo", "useradd", "hilnas"])[0] == "useradd"


def test_what_the_walk_names_is_there():
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/.])deploy/[\w./-]+", "\n".join(fenced(README))):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (EXAMPLE / link).exists(), link
    lines = "\n".join(fenced(README))
    assert f"hilnas search show {load_recipe(str(EXAMPLE / 'search.toml')).search.name}" in lines
    assert all(f"hilnas device deploy {board} " in lines for board in BOARDS)


def test_the_settings_are_read_and_all_are_explained():
    lab = Lab.open(EXAMPLE)
    assert lab.options.listen and lab.options.listen_join and lab.options.user_weights == {"ada": 2}
    text = (EXAMPLE / "daemon.toml").read_text(encoding="utf-8")
    for name in LabOptions.model_fields:
        assert re.search(rf"^(# )?{name} = |^\[{name}\]", text, re.M), name


def test_what_is_commented_out_is_what_holds_without_it(tmp_path):
    text = (EXAMPLE / "daemon.toml").read_text(encoding="utf-8")
    (tmp_path / "daemon.toml").write_text(re.sub(r"^# (?=\w+ = )(?!store)", "", text, flags=re.M))
    assert Lab.open(tmp_path).options == Lab.open(EXAMPLE).options


def test_the_ssh_configuration_leads_to_the_boards():
    found = {board: resolve(board, config=EXAMPLE / "ssh_config") for board in BOARDS}
    assert [target.name for target in found.values()] == list(BOARDS), (
        "upgrade knows them by their names in the lab"
    )
    assert {target.user for target in found.values()} == {"pi"}
    assert [str(jump) for jump in found["cellar-4"].jumps] == ["lab@gate.example:2222"]
    assert not found["bench-5"].jumps


def test_the_recipe_asks_the_classes_of_these_boards():
    recipe = load_recipe(str(EXAMPLE / "search.toml"))
    classes = {objective.device_class for objective in recipe.objective} - {None}
    told = {
        identity.device_class(f"Raspberry Pi {number} Model B Rev 1.1", cpu, "aarch64")
        for number, cpu in ((5, "Cortex-A76"), (4, "Cortex-A72"))
    }
    assert classes == told
