"""Assembled kernels that are kept (piblas/kernels/store.py)."""

from __future__ import annotations

import dataclasses
import logging
import os

import numpy as np
import pytest

from piblas import config
from piblas.kernels import gemm, gemm_choice, shipped, spec, store


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache directory of the test's own, and a process that has said nothing yet."""
    monkeypatch.setenv("PIBLAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_said", False)
    config.forget()
    store._index.cache_clear()
    yield tmp_path / "cache"
    monkeypatch.undo()
    config.forget()
    store._index.cache_clear()


WORDS = np.arange(1, 17, dtype=np.uint64) << np.uint64(40)


def never():
    raise AssertionError("nothing is to be assembled")


def test_the_package_brings_the_words_that_the_assembler_makes():
    """All of them: words of yesterday's generators would be launched without a sound."""
    assert store.keys(), "run: python -m bench programs"
    keys = []
    for key, words in shipped.programs():
        keys.append(key)
        assert np.array_equal(store.load(key, never), words), key
    assert keys == store.keys()


def test_every_kernel_is_among_them():
    names = {kernel.name for kernel, _ in shipped.shipped()}
    assert names == set(spec.names()) - {"gemm_rivals"}
    members = shipped.shipped()
    assert len(set(members)) == len(members)


@pytest.mark.parametrize("sizes", [(96, 3072, 363), (64, 64, 64), (1, 1, 1), (1000, 17, 300)])
@pytest.mark.parametrize("beta", [False, True])
def test_what_is_chosen_is_among_them(sizes, beta):
    known = {options for kernel, options in shipped.shipped() if kernel is gemm.SPEC}
    assert gemm_choice.choose(*sizes, beta) in known
    assert gemm_choice.choose_parts(*sizes, beta)[0] in known


def test_others_are_kept_in_the_cache(cache):
    made = []

    def assemble():
        made.append(1)
        return WORDS

    for _ in range(2):
        assert np.array_equal(store.load("some kernel", assemble), WORDS)
    assert len(made) == 1
    assert [name.endswith(".qpu") for name in os.listdir(cache)] == [True]


def test_a_kernel_of_other_options_is_assembled_once(cache):
    options = dataclasses.replace(gemm.SPEC.defaults, rows=4, vectors=2, reach=1, single=0)
    words = gemm.SPEC.words(options)
    assert np.array_equal(words, gemm.SPEC.program(options).words)
    assert len(os.listdir(cache)) == 1


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_file_is_noticed_and_replaced(cache, damage, caplog):
    store.load("some kernel", lambda: WORDS)
    (name,) = os.listdir(cache)
    data = bytearray((cache / name).read_bytes())
    if damage == "cut":
        data = data[:-8]
    elif damage == "bit":
        data[40] ^= 1
    else:
        data = bytearray()
    (cache / name).write_bytes(data)
    with caplog.at_level(logging.WARNING, "piblas"):
        assert np.array_equal(store.load("some kernel", lambda: WORDS), WORDS)
    assert len(caplog.records) == 1 and "damaged" in caplog.text
    assert np.array_equal(store.load("some kernel", never), WORDS)


def test_a_place_that_cannot_be_written_is_said_once(cache, caplog):
    cache.write_text("a file where the directory should be")
    with caplog.at_level(logging.WARNING, "piblas"):
        for number in range(3):
            assert np.array_equal(store.load(f"kernel {number}", lambda: WORDS), WORDS)
    assert len(caplog.records) == 1


def test_other_sources_make_the_packages_file_stale(cache, monkeypatch, caplog):
    key = store.key_of(gemm.SPEC.name, gemm.SPEC.defaults)
    monkeypatch.setattr(store, "fingerprint", lambda: "0" * 64)
    store._index.cache_clear()
    with caplog.at_level(logging.WARNING, "piblas"):
        assert np.array_equal(store.load(key, lambda: WORDS), WORDS)
    assert "other sources" in caplog.text
    assert len(os.listdir(cache)) == 1


def test_a_damaged_package_is_noticed(cache, monkeypatch, tmp_path, caplog):
    key = store.key_of("a", 1)
    path = str(tmp_path / "programs.bin")
    store.write_package([(key, WORDS)], path)
    monkeypatch.setattr(store, "PATH", path)
    found = store.fingerprint()
    monkeypatch.setattr(store, "fingerprint", lambda: found)
    store._index.cache_clear()
    assert np.array_equal(store.load(key, never), WORDS)
    data = bytearray(open(path, "rb").read())
    data[-3] ^= 0x10
    open(path, "wb").write(data)
    with caplog.at_level(logging.WARNING, "piblas"):
        assert np.array_equal(store.load(key, lambda: WORDS), WORDS)
    assert "damaged" in caplog.text


def test_no_sources_to_read_means_the_package_is_trusted(cache, monkeypatch):
    monkeypatch.setattr(store, "fingerprint", lambda: "")
    store._index.cache_clear()
    options = gemm_choice.choose(96, 3072, 363, False)
    key = store.key_of("gemm", options)
    assert np.array_equal(store.load(key, never), gemm.SPEC.program(options).words)
