"""Tests of env_synth/sandbox/probe.py."""

import subprocess
import sys

from env_synth.sandbox.host import Tier
from env_synth.sandbox.lockdown import Layers
from env_synth.sandbox.probe import describe, probe


def test_a_missing_layer_is_named_with_what_would_bring_it():
    found = probe(Layers(landlock=False))
    assert found.tier == Tier.PLAIN
    missing = [layer.name for layer in found.layers if not layer.holds]
    assert missing == ["landlock"]
    assert "lsm=landlock" in found.advice[0]
    shown = describe(found)
    assert "MISSING  landlock" in shown
    assert "refused" in shown


def test_without_namespaces_it_is_the_second_tier():
    found = probe(Layers(namespaces=False))
    assert found.tier == Tier.FILTERED
    assert "tier 2" in describe(found)


def test_the_command_prints_the_tier():
    done = subprocess.run([sys.executable, "-m", "env_synth.sandbox"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    assert "What would raise it" in done.stdout
    assert done.stderr == ""
