"""Which lines of config.txt are in force: filters, their combination, included files."""

from __future__ import annotations

import pytest

from piblas.doctor import checks, config_txt, fixes

# Model and revision code.
BOARDS = {
    "zero": ("Raspberry Pi Zero Rev 1.3", 0x900093),
    "zerow": ("Raspberry Pi Zero W Rev 1.1", 0x9000C1),
    "zero2": ("Raspberry Pi Zero 2 W Rev 1.0", 0x902120),
    "pi1": ("Raspberry Pi Model B Rev 2", 0xE),
    "pi2": ("Raspberry Pi 2 Model B Rev 1.1", 0xA01041),
    "pi3": ("Raspberry Pi 3 Model B Rev 1.2", 0xA02082),
    "pi3plus": ("Raspberry Pi 3 Model B Plus Rev 1.3", 0xA020D3),
    "pi4": ("Raspberry Pi 4 Model B Rev 1.1", 0xA03111),
    "pi5": ("Raspberry Pi 5 Model B Rev 1.0", 0xC04170),
}
LINE = "gpu_mem=16"
SERIAL = 0x10000000CAFE0001


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """``boot(board name, config.txt, other files)`` lays out a board's files."""

    def lay_out(name, text, **files):
        tree = tmp_path / "tree"
        (tree / "system").mkdir(parents=True, exist_ok=True)
        if name is not None:
            model, revision = BOARDS[name]
            (tree / "model").write_text(model + "\0")
            (tree / "serial-number").write_text(f"{SERIAL:016x}\0")
            (tree / "system" / "linux,revision").write_bytes(revision.to_bytes(4, "big"))
        config = tmp_path / "config.txt"
        config.write_text(text)
        for other, content in files.items():
            (tmp_path / f"{other}.txt").write_text(content)
        monkeypatch.setattr(config_txt.soc, "TREE", str(tree))
        monkeypatch.setattr(config_txt, "CONFIGS", (str(config),))

    return lay_out


def found(pattern="gpu_mem=", sure=False):
    return [line.text for line in config_txt.config_lines(pattern, sure)]


# What each board answers to, of all names that filters know.
NAMES = {
    "zero": {"pi0"},
    "zerow": {"pi0", "pi0w"},
    "zero2": {"pi0", "pi0w", "pi02"},
    "pi1": {"pi1"},
    "pi2": {"pi2"},
    "pi3": {"pi3"},
    "pi3plus": {"pi3", "pi3+"},
    "pi4": {"pi4"},
    "pi5": {"pi5"},
}
ALL_NAMES = ("pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "cm4", "pi5")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_boards(boot, name):
    for each in ALL_NAMES:
        boot(name, f"[{each}]\n{LINE}\n")
        assert bool(found()) == bool(found(sure=True)) == (each in NAMES[name]), each


@pytest.mark.parametrize(
    "model, names",
    [
        ("Raspberry Pi 3 Model A Plus Rev 1.0", {"pi3", "pi3+"}),
        ("Raspberry Pi 3 Model B+", {"pi3", "pi3+"}),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", {"pi3"}),
        ("Raspberry Pi Compute Module 3 Rev 1.0", {"pi3"}),
        ("Raspberry Pi Compute Module Rev 1.0", {"pi1"}),
        ("Raspberry Pi Model B Plus Rev 1.2", {"pi1"}),
        ("Raspberry Pi Model A Rev 2", {"pi1"}),
        ("Raspberry Pi 2 Model B Rev 1.2", {"pi2"}),
        ("Raspberry Pi 400 Rev 1.0", {"pi4", "pi400"}),
        ("Raspberry Pi Compute Module 4 Rev 1.1", {"pi4", "cm4"}),
    ],
)
def test_names_of_other_models(boot, tmp_path, model, names):
    for each in ALL_NAMES:
        boot("pi3", f"[{each}]\n{LINE}\n")
        (tmp_path / "tree" / "model").write_text(model + "\0")
        assert bool(found()) == (each in names), each


# Sections on a 3 B+: (text before the line, in force?); None: it cannot be known.
SECTIONS = [
    ("", True),
    ("[all]", True),
    ("[none]", False),
    ("[none]\n[all]", True),
    ("[none]\n[pi3]", False),
    ("[pi3]", True),
    ("[pi3+]", True),
    (" [pi3] ", True),
    ("[pi4]", False),
    ("[pi4]\n[all]", True),
    ("[pi4]\n[pi3]", True),  # of one kind: the later holds
    ("[pi3]\n[pi4]", False),
    ("[0xcafe0001]", True),
    ("[0x10000000cafe0001]", True),
    ("[0xCAFE0001]", True),
    ("[0xcafe0002]", False),
    ("[0xcafe0002]\n[0xcafe0001]", True),
    ("[0xcafe0001]\n[pi4]", False),  # of two kinds: both must hold
    ("[0xcafe0002]\n[pi3]", False),
    ("[0xcafe0001]\n[pi3]", True),
    ("[board-type=0xd]", True),
    ("[board-type=0x0D]", True),
    ("[board-type=13]", True),
    ("[board-type=0x11]", False),
    ("[pi4]\n[board-type=0xd]", True),
    ("[gpio4=1]", None),
    ("[gpio4=1]\n[pi4]", False),
    ("[pi4]\n[gpio4=1]", False),
    ("[gpio4=1]\n[pi3]", None),
    ("[gpio4=1]\n[all]", True),
    ("[EDID=VSC-TD2220]", None),
    ("[EDID=VSC-TD2220]\n[none]", False),
    ("[HDMI:0]", None),
    ("[tryboot]", None),
    ("[partition=2]", None),
    ("[something new]", None),
    ("#[pi4]", True),
    ("[pi4]\n#[all]", False),
]


@pytest.mark.parametrize("section, expected", SECTIONS)
def test_sections(boot, section, expected):
    boot("pi3plus", f"{section}\n{LINE}\n")
    assert bool(found()) == (expected is not False)
    assert bool(found(sure=True)) == (expected is True)


def test_a_line_that_may_be_in_force_names_its_section(boot, tmp_path):
    boot("pi3", f"[EDID=DEL-X]\n[pi3]\n[gpio4=1]\n[gpio5=0]\n{LINE}\n")
    (line,) = config_txt.config_lines("gpu_mem")
    path = tmp_path / "config.txt"
    assert str(line) == f'line 5 of {path}, "gpu_mem=16" under [EDID=DEL-X] [gpio5=0]'
    boot("pi3", f"[pi3]\n{LINE}\n")
    assert str(config_txt.config_lines("gpu_mem")[0]) == f'line 2 of {path}, "gpu_mem=16"'


def test_nothing_known_about_the_board(boot):
    boot(None, f"[pi3]\n{LINE}\n[all]\n[0x1]\n{LINE}\n[all]\n[board-type=0xd]\n{LINE}\n")
    assert len(found()) == 3 and not found(sure=True)
    boot("pi1", f"[board-type=0x1]\n{LINE}\n")  # revision codes of the first boards have no type
    assert found() and not found(sure=True)


def test_the_last_line_of_a_setting_counts(boot):
    boot("pi3", "gpu_mem=16\ngpu_mem=64\n")
    assert found() == ["gpu_mem=64"]
    boot("pi3", "gpu_mem=16\n[pi4]\ngpu_mem=64\n")
    assert found() == ["gpu_mem=16"]
    boot("pi3", "gpu_mem=16\n[gpio4=1]\ngpu_mem=64\n")
    assert found() == ["gpu_mem=16", "gpu_mem=64"]
    boot("pi3", "gpu_mem=16\n[gpio4=1]\ngpu_mem=32\n[all]\ngpu_mem=64\ngpu_mem_512=16\n")
    assert found() == ["gpu_mem=64"] and found("gpu_mem_") == ["gpu_mem_512=16"]
    # Every overlay counts.
    boot("pi3", "dtoverlay=a\n[pi3]\ndtoverlay=b\n")
    assert found("dtoverlay=") == ["dtoverlay=a", "dtoverlay=b"]


def test_included_files(boot, tmp_path):
    extra = "dtoverlay=b\n[pi4]\ndtoverlay=c\n"
    boot("pi3", "dtoverlay=a\ninclude extra.txt\ndtoverlay=d\n", extra=extra)
    # As if the text were there: the section goes on after it.
    assert found("dtoverlay") == ["dtoverlay=a", "dtoverlay=b"]
    line = config_txt.config_lines("dtoverlay=b")[0]
    assert (line.path, line.number) == (str(tmp_path / "extra.txt"), 1)
    boot("pi3", "[pi4]\ninclude extra.txt\n", extra="[all]\ndtoverlay=b\n")
    assert found("dtoverlay") == []
    boot("pi3", "include extra.txt\ninclude missing.txt\ndtoverlay=z\n",
         extra="include extra.txt\ndtoverlay=b\n")  # fmt: skip
    assert set(found("dtoverlay")) == {"dtoverlay=b", "dtoverlay=z"}


def test_what_is_beyond_the_length_of_a_line_is_not_read(boot):
    boot("pi3", "dtoverlay=x" + 90 * "," + "y\n")
    assert found("dtoverlay=x") and "y" not in found("dtoverlay=x")[0][11:]


def test_no_file(boot, tmp_path):
    boot("pi3", "")
    (tmp_path / "config.txt").unlink()
    assert found("") == [] and config_txt.config_path() == str(tmp_path / "config.txt")


def test_hints_begin_with_all(boot):
    """They may be added to a file that ends inside a section."""
    boot("pi3", "dtoverlay=vc4-kms-v3d\n[pi4]\ndtoverlay=cma,cma-256\ngpu_mem=16\n")
    lines = fixes.hints().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.endswith("config.txt (then reboot)"))
    assert lines[begin + 1] == "[all]"
    assert "#dtoverlay=vc4-kms-v3d" in lines and "#gpu_mem=16" not in lines
    assert "gpu_mem=32" in lines and "dtoverlay=cma,cma-128" in lines
    boot("pi3", "[gpio4=1]\ndtoverlay=vc4-kms-v3d\ndtoverlay=cma,cma-256\n")
    lines = fixes.hints().splitlines()
    assert "# line 2 (under [gpio4=1]), to be commented out:" in lines
    assert "dtoverlay=cma,cma-128" in lines
    boot("pi3", "include extra.txt\n", extra="dtoverlay=vc4-fkms-v3d\n[pi3]\ndtoverlay=cma,cma-256")
    hints = fixes.hints()
    assert "extra.txt, to be commented out:\n#dtoverlay=vc4-fkms-v3d\n" in hints
    assert "dtoverlay=cma,cma-128" not in hints


def test_the_check_of_the_node_names_only_lines_in_force(boot, monkeypatch):
    monkeypatch.setattr(checks.system, "v3d_status", lambda: "okay")
    monkeypatch.setattr(checks.system, "v3d_driver", lambda: None)
    boot("pi3", "dtoverlay=vc4-fkms-v3d\n[pi4]\ndtoverlay=vc4-kms-v3d\n")
    remedy = checks._v3d_node(checks.Examination()).remedy
    assert "line 1 of" in remedy and "vc4-kms-v3d" not in remedy
    boot("pi3", "[pi4]\ndtoverlay=vc4-kms-v3d\n[all]\n")
    assert "comment out" not in checks._v3d_node(checks.Examination()).remedy
