"""The repo checks itself: linters, the layout, the pages that must agree with the code, the unit, the wheel."""

import ast
import importlib
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edge_agent"
BIN = Path(sys.executable).parent

# A module tested by another file than its own, and why. This list may only shrink.
TESTED_ELSEWHERE = {
    "edge_agent/__main__.py": "one line; tests/test_cli.py runs it",
    "edge_agent/core/messages.py": "values only, no behaviour; every other core test builds them",
}

# Which module may import cv2 is a contract of import-linter; that the agent's process loads none of it is run here.
AGENT_WITHOUT_DECODER = (
    "import edge_agent.app, sys\n"
    "loaded = {'cv2', 'numpy'} & set(sys.modules)\n"
    "assert not loaded, f'the agent process loads {loaded}'\n"
)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a tool; its output is the failure's text. Return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project: tracked, or new and not ignored."""
    # safe.directory: CI may run as another user than the one who cloned.
    listed = run("git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z")
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file that is text."""
    for path in files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


# ---- linters ----


def test_ruff_finds_nothing():
    run(BIN / "ruff", "check", "--no-cache")


def test_every_file_is_formatted():
    run(BIN / "ruff", "format", "--no-cache", "--check", "--diff")


@pytest.mark.timeout(600)
def test_types_hold():
    run(BIN / "mypy")


def test_the_layers_point_inwards():
    run(BIN / "lint-imports")


def test_words_are_spelt_right():
    names = [path.relative_to(ROOT).as_posix() for path in files()]
    # "./" as in the skip list of pyproject.toml: codespell compares names as they are given.
    run(BIN / "codespell", *(f"./{name}" for name in names))


def test_no_code_is_dead():
    run(BIN / "vulture")


def test_shell_scripts_are_sound():
    scripts = [
        path
        for path in files()
        if path.suffix == ".sh"
        or (
            path.suffix == ""
            and path.read_bytes()[:64].startswith((b"#!/usr/bin/env bash", b"#!/bin/"))
        )
    ]
    assert scripts
    run(BIN / "shellcheck", *scripts)
    for path in scripts:
        assert os.access(path, os.X_OK), f"{path} is not executable"


# ---- the unit and what lies beside it ----


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as shipped, but for the program, which is not installed where tests run."""
    text = (ROOT / "systemd/edge-agent.service").read_text()
    assert text.count("ExecStart=/opt/edge-agent/bin/edge-agent ") == 1
    path = tmp_path / "edge-agent.service"
    path.write_text(text.replace("/opt/edge-agent/bin/edge-agent", "/bin/true"))
    return path


def test_systemd_accepts_the_unit(unit: Path):
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # A fault of another unit of this machine is not ours; one of ours names its file.
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not ours, "\n".join(ours)


def test_the_unit_is_hardened(unit: Path):
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit)


def test_the_unit_does_not_wait_for_the_network(unit: Path):
    assert not re.search(r"^[^#]*network-online", unit.read_text(), re.MULTILINE)


def test_the_agents_user_and_folders_can_be_made(tmp_path: Path):
    if os.geteuid() != 0:
        # systemd-sysusers writes a password file with root as its owner, also under --root.
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    run("systemd-sysusers", root, ROOT / "systemd/edge-agent.sysusers.conf")
    assert re.search(
        r"^edge-agent:.*:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE
    )
    groups = (tmp_path / "etc/group").read_text()
    for group in ("gpio", "spi", "video"):
        assert re.search(rf"^{group}:.*edge-agent", groups, re.MULTILINE), group
    run("systemd-tmpfiles", root, "--create", ROOT / "systemd/edge-agent.tmpfiles.conf")
    assert (tmp_path / "etc/edge-agent").stat().st_mode & 0o777 == 0o750
    # On a card that name is a link of provisioning's own, which refuses what somebody else put there.
    assert not (tmp_path / "etc/edge-agent/secrets").exists()


# ---- the cut ----


def test_the_agent_process_never_loads_a_decoder():
    run(sys.executable, "-c", AGENT_WITHOUT_DECODER)


def own_tests(module: Path) -> list[Path]:
    """The test files that are a module's own; a small shell package may have one for all of its modules."""
    inside = module.parent.relative_to(PACKAGE)
    places = [ROOT / "tests" / inside / f"test_{module.name}"]
    if inside.name not in {"", "core"}:
        places.append(ROOT / "tests" / f"test_{inside.name}.py")
    return [place for place in places if place.is_file()]


def test_every_module_has_its_test_file():
    missing = [
        name
        for module in modules()
        if (name := module.relative_to(ROOT).as_posix()) not in TESTED_ELSEWHERE
        and not own_tests(module)
    ]
    assert not missing, f"no test file for {missing}"


def test_the_exceptions_are_still_needed():
    for name in TESTED_ELSEWHERE:
        assert (ROOT / name).is_file(), f"{name} is gone: take it off the list"
        assert not own_tests(ROOT / name), f"{name} has its test file now: take it off the list"


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called == name:
                yield node
            case _:
                pass


def test_only_the_gate_releases_a_picture():
    makers = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if any(calls(ast.parse(path.read_text()), "Released"))
    ]
    assert makers == ["core/gate.py"]


def test_no_one_goes_round_the_gates_constructor():
    # The ways to make a Released, or the key to one, without calling it by name.
    back_door = re.compile(r"object\.__new__|__setstate__")
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "core/gate.py":
            assert not back_door.search(path.read_text()), path
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.ImportFrom(module="edge_agent.core.gate", names=names):
                        private = [alias.name for alias in names if alias.name.startswith("_")]
                        assert not private, f"{path} imports {private}"
                    case ast.ClassDef(bases=bases):
                        assert "Released" not in map(ast.unparse, bases), f"{path}: {node.name}"
                    case _:
                        pass


# ---- pages and code agree ----


def test_every_finding_has_words_in_both_languages():
    messages = importlib.import_module("edge_agent.core.messages")
    words = importlib.import_module("edge_agent.core.words").WORDS
    assert set(words) == set(messages.FindingKey)
    for key, sentence in words.items():
        assert sentence.id.strip(), f"{key} has no Indonesian sentence"
        assert sentence.en.strip(), f"{key} has no English sentence"
        assert sentence.id != sentence.en, f"{key} says the same in both languages"


def test_the_gates_page_shows_the_gates_table():
    page = (ROOT / "docs/design/gate.md").read_text()
    shown = re.findall(r"<!-- gate table -->\n(.*?)\n<!-- /gate table -->", page, re.DOTALL)
    assert len(shown) == 1
    table = importlib.import_module("edge_agent.core.gate").table_markdown()
    assert shown[0].strip() == table.strip()


def test_the_example_configuration_loads():
    config = importlib.import_module("edge_agent.config")
    config.load(str(ROOT / "docs/box.example.toml"))


@pytest.mark.parametrize("page", ["README.md", "docs/box.example.toml"])
def test_shown_configuration_is_toml(page: str):
    text = (ROOT / page).read_text()
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if page.endswith(".md") else [text]
    for block in blocks:
        tomllib.loads(block)


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    """Names as pytest shows them: test_x, TestY::test_x."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                names |= {
                    f"{name}::{inner.name}" for inner in body if isinstance(inner, ast.FunctionDef)
                }
            # A Hypothesis state machine: TestJournal = JournalMachine.TestCase
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr="TestCase")):
                names |= {name, f"{name}::runTest"}
            case _:
                pass
    return frozenset(name for name in names if name.lower().startswith("test"))


def promised() -> list[tuple[str, str]]:
    """(promise, test) for each row of docs/promises.md; a row holds one or more tests in back quotes."""
    rows = []
    for line in (ROOT / "docs/promises.md").read_text().splitlines():
        promise, bar, proof = line.removeprefix("|").partition("|")
        if line.startswith("|") and bar:
            rows += [(promise.strip(), test) for test in re.findall(r"`(tests/[^`]+)`", proof)]
    return rows


def test_every_promise_is_proved_by_a_test_that_exists():
    assert promised()
    for promise, test in promised():
        name, _, inner = test.partition("::")
        inner = inner.partition("[")[0]
        assert (ROOT / name).is_file(), f"{promise}: {name} is gone"
        assert inner in names_of_tests(ROOT / name), f"{promise}: {test} is gone"


def test_all_nine_promises_have_a_proof():
    assert {promise.partition(".")[0] for promise, _ in promised()} == set("123456789")


@pytest.mark.parametrize(
    "page",
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]
    ),
)
def test_links_between_pages_lead_somewhere(page: str):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target} is gone"


def test_links_to_a_heading_lead_to_one():
    def headings(path: Path) -> set[str]:
        """As the forge names them: small, without marks, a dash for each space."""
        found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in found}

    seen = 0
    for page in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for name, heading in re.findall(r"\]\(((?!http)[^)#\s]*)#([^)\s]+)\)", text):
            target = page.parent / name if name else page
            assert heading in headings(target), f"{page.name}: {name}#{heading} is gone"
            seen += 1
    assert seen


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert numbers == list(range(len(numbers)))


# ---- what is shipped ----


def project() -> dict[str, list[str]]:
    """Requirements by group: "" for the agent's own, else the extra."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups: dict[str, list[str]] = {"": table["dependencies"], **table["optional-dependencies"]}
    return groups


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_every_requirement_is_pinned_and_the_pins_are_what_is_tested():
    pinned = {canonical(name): version for name, version in pins().items()}
    for group, requirements in project().items():
        for name in map(canonical, requirements):
            assert name in pinned, f"{name} ({group or 'agent'}) has no pin in constraints.txt"
    # pip came with .venv; the agent is this tree.
    stray = {
        f"{name} {there.version}"
        for there in metadata.distributions(path=[sysconfig.get_path("purelib")])
        if (name := canonical(there.metadata["Name"])) not in {"pip", "edge-agent"}
        and pinned.get(name) != there.version
    }
    assert not stray, f"installed, but pinned otherwise or not at all: {sorted(stray)}"


def test_the_wheel_runs_from_a_clean_environment(tmp_path: Path):
    # Offline and cheap: the backend is called in place, and other packages are borrowed from this environment.
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin/python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A .pth line adds a folder, but does not read the .pth files within it: this tree's editable link stays out.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = run(python, "-c", "import edge_agent.app as app; print(app.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    assert "run" in run(venv / "bin/edge-agent", "--help", cwd=tmp_path)
    assert (site / "edge_agent/py.typed").is_file()
    for path in files():
        if path.is_relative_to(PACKAGE):
            assert (site / path.relative_to(ROOT)).is_file(), f"{path} is not in the wheel"


def test_pictures_in_the_package_have_a_licence_line():
    folder = PACKAGE / "demo_pictures"
    licences = (folder / "LICENCES.md").read_text()
    pictures = sorted(folder.rglob("*.jpg"))
    assert pictures
    for path in pictures:
        name = str(path.relative_to(folder))
        assert name in licences, f"{name} has no line in LICENCES.md"
        assert path.stat().st_size < 200_000, f"{name} is too large to ship"


def test_the_changelog_is_open_and_names_the_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert len(versions) == 1 or versions[1] == importlib.import_module("edge_agent").__version__


def test_no_file_knows_the_machine_it_was_written_on():
    # With brackets, so that this file passes its own test.
    strangers = re.compile(
        # A folder `root` within the project, as image-build has, is nobody's home.
        r"/wor[k]/|(?<![\w.-])/roo[t]/|pyen[v]|index-ur[l]|registry *= *http|^deb +http",
        re.MULTILINE,
    )
    found = [
        f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
        for name, text in texts()
        for hit in strangers.finditer(text)
    ]
    assert not found, "\n".join(found)


def test_make_lists_its_targets():
    listed = run("make", "--no-print-directory", "help")
    for target in (
        "setup",
        "demo",
        "test",
        "check",
        "quick",
        "fix",
        "bench",
        "mutants",
        "install",
        "uninstall",
        "clean",
    ):
        assert re.search(rf"^  {target} ", listed, re.MULTILINE), target
