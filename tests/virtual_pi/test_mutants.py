"""Without any one of the calls that keep caches right, something fails.

Each site of :func:`.mutants.sites` is taken out of piblas, one at a time; the mutant then runs
sessions on incoherent virtual Pis until one shows a wrong result, an error, other memory than it
should have, or a result of the CPU (which takes over where the QPUs seem to have met an overflow).
The canary is off where that could hide the mutant, and is itself on trial in others.
"""

from __future__ import annotations

import errno

import pytest

from . import mutants
from .crew import Crew, faults_of
from .faults import Fault

TWICE = {"n": 72, "times": 2}
OPEN = {"check": False}
CACHED = {"memory": "heap-import"}
# set-up, faults, scenario, the memory that an unharmed driver works with
TRIALS = {
    "cached": ("bookworm64", (), {**TWICE, "open": OPEN}, "heap-import"),
    "cached only": (
        "bookworm64", (), {**TWICE, "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "registers": ("root", (), {**TWICE, "open": OPEN}, "heap-import"),
    "reload": ("bookworm64", (), {"do": "reload", "open": OPEN}, "heap-import"),
    "reload, registers": ("root", (), {"do": "reload", "open": OPEN}, "heap-import"),
    "canary": ("bookworm64", (), {"n": 16, "open": {}}, "heap-import"),
    "sync refused": (
        "bookworm64", ((("SYNC START", 0), {"error": errno.EINVAL}),),
        {**TWICE, "open": OPEN}, "vcsm-cma",
    ),
    "sync end refused": (
        "bookworm64", ((("SYNC END", 0), {"error": errno.EINVAL}),),
        {**TWICE, "open": OPEN}, "vcsm-cma",
    ),
    "vectors": ("bookworm64", (), {"do": "vectors", "open": OPEN}, "heap-import"),
    "vectors, cached only": (
        "bookworm64", (), {"do": "vectors", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "updates": (
        "bookworm64", (), {"do": "updates", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "arrays": (
        "bookworm64", (), {"do": "arrays", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "arrays, idle CPU": (
        "bookworm64", (), {"do": "arrays", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "resident": (
        "bookworm64", (), {"do": "resident", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "resident, idle CPU": (
        "bookworm64", (), {"do": "resident", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "alarms": (
        "bookworm64", (), {"do": "alarms", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "alarms, idle CPU": (
        "bookworm64", (), {"do": "alarms", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "solves": (
        "bookworm64", (), {"do": "solves", "open": {**OPEN, **CACHED}, "soiled": True},
        "heap-import",
    ),
    "solves, idle CPU": (
        "bookworm64", (), {"do": "solves", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "solves, all lines cleaned": (
        "bookworm64", (), {"do": "solves", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "updates, idle CPU": (
        "bookworm64", (), {"do": "updates", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "reload, idle CPU": (
        "bookworm64", (), {"do": "reload", "open": {**OPEN, **CACHED}}, "heap-import",
    ),
    "u-dma-buf": ("u-dma-buf", (), {**TWICE, "open": {**OPEN, "memory": "u-dma-buf"}}, "u-dma-buf"),
}  # fmt: skip
SITES = mutants.sites()
DRIVER = [site for site in SITES if site.module.startswith("piblas.driver.")]


@pytest.fixture(scope="module")
def crews():
    """One crew a set-up for all tests of this file."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Crew(name)
            # Programs that run wild reach it soon, and no other does.
            made[name].pi.kernel.gpu.endless = 1_000_000
        return made[name]

    yield get
    for crew in made.values():
        crew.close()


def verdict(crews, trial, site=None):
    """What gives the mutant away, or ""."""
    setup, faults, options, memory = TRIALS[trial]
    more = {"mutant": list(site)} if site else {}
    crew = crews(setup)
    crew.pi.kernel.gpu.busy_cpu = not trial.endswith("idle CPU")
    crew.pi.kernel.ram.cleans_all = trial.endswith("all lines cleaned")
    told = crew.run(*(Fault(*args, **kwargs) for args, kwargs in faults), **options, **more)
    if site:
        crew.reboot()
        assert "crash" not in told, told["crash"]
    if told["hang"] or told["error"] or not told["right"]:
        return told["error"] or ("a hang" if told["hang"] else "a wrong result")
    if told["memory"] != memory:
        return f"memory {told['memory']}, not {memory}"
    instead = [row for row in told["log"] if " on the CPU:" in row]
    if instead:
        return instead[0]
    return "" if site else "; ".join(faults_of(told))


def test_the_driver_as_it_is_passes(crews):
    assert verdict(crews, "cached") == ""


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS)
def test_the_driver_as_it_is_passes_all(crews, trial):
    assert verdict(crews, trial) == ""


def shown(crews, site):
    # Those first that reach most: of the driver all do.
    own = {
        "vectors": ("vectors", "arrays"), "matvec": ("vectors", "arrays", "updates"),
        "updates": ("updates", "vectors"), "runner": ("vectors", "updates"),
        "triangles": ("solves", "updates"), "batch": ("updates", "alarms"),
        "gemm": ("resident", "alarms", "cached"),
        "copies": ("arrays",),
    }  # fmt: skip
    first = own.get(site.module.rsplit(".", 1)[1], ())
    for trial in sorted(TRIALS, key=lambda name: not name.startswith(first)):
        how = verdict(crews, trial, site)
        if how:
            print(f"{site.name}: {trial}: {how}")
            return True
    return False


def test_there_are_sites():
    modules = {site.module.rsplit(".", 1)[1] for site in SITES}
    assert {"hardware", "launchers", "pools", "cma", "canary", "memory"} <= modules
    assert len(DRIVER) >= 15


FEW = [site for site in DRIVER if site.module == "piblas.driver.cma" or "execute" in site.text]


@pytest.mark.parametrize("site", FEW, ids=lambda site: site.name)
def test_some_mutants_fail(crews, site):
    assert shown(crews, site), f"nothing misses {site.name}"


@pytest.mark.slow
@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_every_mutant_fails(crews, site):
    assert shown(crews, site), f"nothing misses {site.name}"
