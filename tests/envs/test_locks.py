"""The locks: whole and of one mind, without asking an index; and how they are made and checked.

What only the package index can tell, `make check-locks` asks it. Here an index of a few empty
wheels stands in for it.
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
    """Returns the generated files of envs/, by name."""
    return lock.present_files()


# ----------------------------------------------------------------------------------- those we have


def test_every_env_and_the_launcher_have_their_files(files: dict[str, str]) -> None:
    made = {f"{form}.{kind}" for form in FORMS for kind in ("yaml", "post-deploy.sh")}
    assert files.keys() == made | {"launcher.lock", "torch.txt"}


def test_every_package_has_hashes_and_one_version_in_all_envs(files: dict[str, str]) -> None:
    assert list(lock.malformed(files)) == []


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


# ----------------------------------------------------------------------------------- what is wrong


def test_it_is_told_what_is_wrong_in_a_lock(files: dict[str, str]) -> None:
    def found(name: str, old: str, new: str) -> list[str]:
        text = re.sub(old, new, files[name], count=1, flags=re.MULTILINE)
        assert text != files[name]
        return list(lock.malformed({**files, name: text}))

    script = "train.cpu.post-deploy.sh"
    assert found("data.post-deploy.sh", r"^(idna==\S+) \\\n(?:    --hash.*\n)+", r"\1\n") == [
        f"data.post-deploy.sh: {pin_of(files, 'idna')} has no hash, or one that is none"
    ]
    assert "has no hash, or one that is none" in found("launcher.lock", r"(sha256:\w+)\w", r"\1")[0]
    assert found("report.post-deploy.sh", r"^rich==\S+", "rich==1.0.0") == [
        "report.post-deploy.sh: rich==1.0.0 is not the launcher's version"
    ]
    other = found(script, r"^peft==\S+", "peft==0.1.0")
    assert "train.cpu differs from train: + peft==0.1.0" in other
    assert f"train.cpu differs from train: - {pin_of(files, 'peft')}" in other


def pin_of(files: dict[str, str], name: str) -> str:
    return re.search(rf"^{name}==\S+", files["launcher.lock"], re.MULTILINE)[0]


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
    """Writes a wheel that holds nothing but what it asks for."""
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
    """Points the generator at the inputs below a folder, and uv at its index and builds."""
    monkeypatch.setattr(lock, "ENVS", root / "envs")
    monkeypatch.setattr(lock, "STAGES", ("data", "train"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", (root / "index").as_uri())
    monkeypatch.setenv("UV_FIND_LINKS", str(root / "builds"))
    monkeypatch.setenv("UV_CACHE_DIR", str(root / "cache"))
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of a small index, inputs that ask for its packages, and their locks."""
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
    """Returns a copy of that folder, the generator pointed at it."""
    copy = tmp_path / "copy"
    shutil.copytree(locked, copy, ignore=shutil.ignore_patterns("cache"))
    pointed(monkeypatch, copy)
    return copy


def test_locks_are_of_what_is_asked_for_and_found_whole(
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
    assert capsys.readouterr().out == "8 files are whole, current and untampered\n"
    # Making them again moves nothing, and says so by saying nothing.
    assert lock.main([]) == 0
    assert capsys.readouterr().out == ""
    assert lock.present_files() == files


def test_a_version_stays_while_it_fits_and_goes_where_the_newest_are_asked_for(
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
            "! tool==1.1: 1 hashes that the index does not have, 1 that it has more "
            "(launcher.lock)",
        ),
        (
            "train.post-deploy.sh",
            r"(?<=torch==2.0 \\\n    --hash=)sha256:\w+",
            ZEROS,
            "! torch==2.0: 1 hashes that the index does not have, 1 that it has more "
            "(train.post-deploy.sh)",
        ),
        (
            "train.cpu.post-deploy.sh",
            r"(?<=torch==2.0\+cpu ; sys_platform != 'darwin' \\\n    --hash=)sha256:\w+",
            ZEROS,
            "! torch==2.0+cpu ; sys_platform != 'darwin': 1 hashes that the index does not have, "
            "1 that it has more (train.cpu.post-deploy.sh)",
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
    """Replaces text in a file, which must hold it."""
    text = path.read_text("utf-8")
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text), encoding="utf-8")


def test_making_the_locks_puts_a_wrong_hash_right_and_says_so(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    before = lock.present_files()
    altered(root / "envs" / "launcher.lock", r"(?<=tool==1.1 \\\n    --hash=)sha256:\w+", ZEROS)
    assert lock.main([]) == 0
    assert capsys.readouterr().out.startswith("! tool==1.1: 1 hashes that the index does not have")
    assert lock.present_files() == before


def test_a_file_that_the_index_has_exchanged_is_found(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    wheel(root / "index" / "tool", "tool", "1.1", "any", ["triton ; python_version < '3'"])
    with pytest.raises(BadInput):
        lock.main(["--check"])
    assert "! tool==1.1: 1 hashes that the index does not have" in capsys.readouterr().out


def test_more_official_cpu_builds_are_no_contradiction(root: Path) -> None:
    """A machine that sees all of them made the lock; this one sees one."""
    altered(
        root / "envs" / "train.cpu.post-deploy.sh",
        r"(torch==2.0\+cpu.* \\\n)(    --hash=sha256:\w+)",
        rf"\1\2 \\\n    --hash={ZEROS}",
    )
    assert lock.main(["--check"]) == 0


def test_what_cannot_be_locked_is_said_and_nothing_is_lost(root: Path) -> None:
    before = lock.present_files()
    (root / "envs" / "data.in").write_text("tool==9.9\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"launcher\.in cannot be locked\n(?s:.*)tool==9\.9"):
        lock.main([])
    assert lock.present_files() == before
