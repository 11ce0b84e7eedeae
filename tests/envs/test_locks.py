"""The locks are complete and agree with each other; and how they are made and checked.

`python -m envs.lock --check` asks the real package index. Here an index of a few empty wheels
stands in for it.
"""

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from envs import lock
from scripts.common.cli import BadInput
from scripts.provenance.environment import STAGES

FORMS = ["data", "train", "train.cpu", "evaluate", "evaluate.cpu", "report"]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Return the generated files of envs/, by name."""
    return lock.present_files()


# ------------------------------------------------------------------------------------- ours


def test_every_env_and_the_launcher_have_their_files(files: dict[str, str]) -> None:
    made = {f"{form}.{kind}" for form in FORMS for kind in ("yaml", "post-deploy.sh")}
    assert files.keys() == made | {"launcher.lock", "torch.txt"}


def test_every_package_has_hashes_and_one_version_in_all_envs(files: dict[str, str]) -> None:
    launcher = lock.pins(files["launcher.lock"]) | lock.pins(files["torch.txt"])
    for name, text in files.items():
        if name.endswith((".lock", ".sh")):
            content = lock.lock_of(text) or text
            for line, block in lock.packages(content).items():
                assert len(lock.HASH.findall(block)) == len(block.splitlines()) - 1 > 0, line
            torch = {"torch==" + str(lock.torch_version(lock.ENVS / "train.in"))}
            assert lock.pins(content) <= launcher | torch, name


@pytest.mark.parametrize("form", FORMS)
def test_the_files_of_an_env_are_what_the_generator_makes(form: str, files: dict[str, str]) -> None:
    stage, cpu = form.removesuffix(".cpu"), form.endswith(".cpu")
    content = lock.lock_of(files[f"{form}.post-deploy.sh"])
    assert "".join(lock.packages(content).values()) == content
    made = lock.env_files(stage, form, content, lock.SOURCE if cpu else "")
    assert made == {name: files[name] for name in made}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_asks_for_is_locked(stage: str, files: dict[str, str]) -> None:
    asked = re.findall(r"^([\w-]+)(==\S+)?", (lock.ENVS / f"{stage}.in").read_text("utf-8"), re.M)
    assert asked
    pins = lock.pins(lock.lock_of(files[f"{stage}.post-deploy.sh"]))
    names = {pin.partition("==")[0] for pin in pins}
    for name, version in asked:
        name = name.replace("_", "-")
        assert name in names
        assert not version or f"{name}{version}" in pins


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_two_forms_differ_in_the_build_of_torch_alone(stage: str, files: dict[str, str]) -> None:
    cuda, cpu = (
        lock.packages(lock.lock_of(files[f"{form}.post-deploy.sh"]))
        for form in (stage, f"{stage}.cpu")
    )
    version = lock.torch_version(lock.ENVS / f"{stage}.in")
    only_cpu = cpu.keys() - cuda.keys()
    assert {line.split(" ;")[0] for line in only_cpu} == {
        f"torch=={version}",
        f"torch=={version}+cpu",
    }
    only_cuda = {lock.name_of(line) for line in cuda.keys() - cpu.keys()}
    assert {"torch", "triton"} < only_cuda
    assert all(re.match(r"torch$|triton$|nvidia-|cuda-", name) for name in only_cuda)
    assert all(cuda[line] == cpu[line] for line in cuda.keys() & cpu.keys())


# -------------------------------------------------------------------------- made from a small index


LINUX = "manylinux_2_28_x86_64"
TORCH = [
    "tool",
    *(f'{it} ; sys_platform == "linux"' for it in ("nvidia-thing==1.5", "triton==3.0")),
]
WHEELS = {
    "index": [
        ("torch", "2.0", LINUX, TORCH),
        ("torch", "2.0", "macosx_11_0_arm64", TORCH),
        ("nvidia-thing", "1.5", "any", []),
        ("triton", "3.0", "any", []),
        ("triton", "3.1", "any", []),
        ("tool", "1.0", "any", []),
        ("tool", "1.1", "any", []),
        ("trainer", "4.0", "any", ["torch", 'triton>=3 ; sys_platform == "linux"', "tool"]),
    ],
    "builds": [("torch", "2.0+cpu", LINUX, ["tool"])],
}
INPUTS = {
    "launcher.in": "-r data.in\n-r train.in\n",
    "data.in": "tool\n",
    "train.in": "torch==2.0\ntrainer\n",
    "overrides.in": "",
}


def wheel(folder: Path, name: str, version: str, platform: str, requirements: list[str]) -> None:
    """Write an empty wheel with requirements."""
    stem = f"{name.replace('-', '_')}-{version}"
    needs = "".join(f"Requires-Dist: {it}\n" for it in requirements)
    tag = f"py3-none-{platform}"
    parts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        "WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        "RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        for part, text in parts.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{part}"), text)


def pointed(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Point the generator at the inputs below a folder, and uv at its index and builds."""
    monkeypatch.setattr(lock, "ENVS", root / "envs")
    monkeypatch.setattr(lock, "STAGES", ("data", "train"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", (root / "index").as_uri())
    monkeypatch.setenv("UV_FIND_LINKS", str(root / "builds"))
    monkeypatch.setenv("UV_CACHE_DIR", str(root / "cache"))
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small index, inputs that ask for its packages, and their locks."""
    root = tmp_path_factory.mktemp("locked")
    for place, wheels in WHEELS.items():
        for name, *rest in wheels:
            wheel(root / place / (name if place == "index" else ""), name, *rest)
    for page in (root / "index").iterdir():
        links = "".join(f'<a href="{it.name}">{it.name}</a>\n' for it in sorted(page.iterdir()))
        (page / "index.html").write_text(links, encoding="utf-8")
    (root / "envs").mkdir()
    for name, text in INPUTS.items():
        (root / "envs" / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        pointed(monkeypatch, root)
        assert lock.main([]) == 0
    return root


@pytest.fixture
def root(locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, at which the generator is pointed."""
    copy = tmp_path / "copy"
    shutil.copytree(locked, copy, ignore=shutil.ignore_patterns("cache"))
    pointed(monkeypatch, copy)
    return copy


def test_locks_hold_what_is_needed_and_are_found_unaltered(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    files = lock.present_files()
    assert lock.pins(files["launcher.lock"]) == {"tool==1.1", "trainer==4.0"}
    assert [*lock.packages(files["torch.txt"])] == [
        "nvidia-thing==1.5 ; sys_platform == 'linux'",
        "torch==2.0",
        "triton==3.0 ; sys_platform == 'linux'",
    ]
    assert [*lock.packages(files["train.cpu.post-deploy.sh"])] == [
        "tool==1.1",
        "torch==2.0 ; sys_platform == 'darwin'",
        "torch==2.0+cpu ; sys_platform != 'darwin'",
        "trainer==4.0",
    ]
    assert lock.main(["--check"]) == 0
    assert capsys.readouterr().out == "8 files are complete, current and unaltered\n"
    # Nothing moves if they are made again, and nothing is printed.
    assert lock.main([]) == 0
    assert capsys.readouterr().out == ""
    assert lock.present_files() == files


def test_a_version_stays_while_it_fits_unless_the_newest_are_wanted(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    wheel(root / "index" / "tool", "tool", "1.2", "any", [])
    links = root / "index" / "tool" / "index.html"
    links.write_text(
        links.read_text("utf-8").replace("1.1", "1.2") + links.read_text("utf-8"), "utf-8"
    )
    assert lock.main(["--check"]) == 0
    capsys.readouterr()
    assert lock.main(["--upgrade"]) == 0
    said = capsys.readouterr().out.splitlines()
    everywhere = (
        "(data.post-deploy.sh, launcher.lock, train.cpu.post-deploy.sh, train.post-deploy.sh)"
    )
    assert said == [f"+ tool==1.2 {everywhere}", f"- tool==1.1 {everywhere}"]


ZEROS = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        (
            "launcher.lock",
            r"(?<=tool==1.1 \\\n    --hash=)sha256:\w+",
            ZEROS,
            "! tool==1.1: 1 hashes not in the index, 1 new ones (launcher.lock)",
        ),
        (
            "train.post-deploy.sh",
            r"(?<=torch==2.0 \\\n    --hash=)sha256:\w+",
            ZEROS,
            "! torch==2.0: 1 hashes not in the index, 1 new ones (train.post-deploy.sh)",
        ),
        (
            "train.cpu.post-deploy.sh",
            r"(?<=torch==2.0\+cpu ; sys_platform != 'darwin' \\\n    --hash=)sha256:\w+",
            ZEROS,
            "! torch==2.0+cpu ; sys_platform != 'darwin': 1 hashes not in the index, 1 new ones "
            "(train.cpu.post-deploy.sh)",
        ),
        ("data.post-deploy.sh", r"tool==1\.1", "tool==1.0", "- tool==1.0 (data.post-deploy.sh)"),
        (
            "data.post-deploy.sh",
            "--require-hashes ",
            "",
            "! other text than `make lock` writes (data.post-deploy.sh)",
        ),
        ("train.cpu.yaml", "3.11", "3.12", "! other text than `make lock` writes (train.cpu.yaml)"),
        ("torch.txt", r"triton==3\.0", "triton==3.1", "- triton==3.1 ; "),
        ("data.in", "tool", "tool<1.1", "+ tool==1.0 ("),
        ("data.in", "tool", "tool\ntriton", "+ triton==3.0 (data.post-deploy.sh"),
    ],
    ids=[
        "launcher", "CUDA build", "CPU build", "version", "script", "YAML", "constraint", "input",
        "new input",
    ],
)  # fmt: skip
def test_what_was_altered_is_found(
    name: str, old: str, new: str, line: str, root: Path, capsys: pytest.CaptureFixture
) -> None:
    altered(root / "envs" / name, old, new)
    before = lock.present_files()
    with pytest.raises(BadInput, match="is not what `make lock` makes"):
        lock.main(["--check"])
    assert line in capsys.readouterr().out
    assert lock.present_files() == before


def altered(path: Path, old: str, new: str) -> None:
    """Replace text that a file must contain."""
    text = path.read_text("utf-8")
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text), encoding="utf-8")


def test_making_the_locks_replaces_a_wrong_hash_and_says_so(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    before = lock.present_files()
    altered(root / "envs" / "launcher.lock", r"(?<=tool==1.1 \\\n    --hash=)sha256:\w+", ZEROS)
    assert lock.main([]) == 0
    assert capsys.readouterr().out.startswith("! tool==1.1: 1 hashes not in the index")
    assert lock.present_files() == before


def test_a_file_that_was_exchanged_in_the_index_is_found(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    wheel(root / "index" / "tool", "tool", "1.1", "any", ["triton ; python_version < '3'"])
    with pytest.raises(BadInput):
        lock.main(["--check"])
    assert "! tool==1.1: 1 hashes not in the index" in capsys.readouterr().out


def test_more_cpu_builds_in_the_lock_than_on_this_machine_are_kept(root: Path) -> None:
    """The lock was made on a machine that sees all of them."""
    altered(
        root / "envs" / "train.cpu.post-deploy.sh",
        r"(torch==2.0\+cpu.* \\\n)(    --hash=sha256:\w+)",
        rf"\1\2 \\\n    --hash={ZEROS}",
    )
    assert lock.main(["--check"]) == 0


def test_what_cannot_be_locked_is_named_and_nothing_is_lost(root: Path) -> None:
    before = lock.present_files()
    (root / "envs" / "data.in").write_text("tool==9.9\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"launcher\.in cannot be locked\n(?s:.*)tool==9\.9"):
        lock.main([])
    assert lock.present_files() == before
