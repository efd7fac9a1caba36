"""``python -m benchmarks.gate``: run the gate on files, without registry or servers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.gate import GateResult, GateRules, GateVerdict, run_gate
from benchmarks.measures import Measure, Unavailable
from benchmarks.quality import QualityMetric
from config.clock import SystemClock
from config.errors import InputError, PrimeSparkError
from config.loader import load_settings
from registry.evaluation import EvaluationData, evaluation_from_bytes
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile

EXIT_CODES = {GateVerdict.ACCEPT: 0, GateVerdict.REJECT: 1, GateVerdict.INCONCLUSIVE: 2}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run the gate, print the result.

    Returns 0 for accept, 1 for reject, 2 for inconclusive, 64 for input that cannot be used.
    """
    options = _parser().parse_args(arguments)
    try:
        result = _run(options)
    except PrimeSparkError as error:
        print(error, file=sys.stderr)
        return 64
    print(json.dumps(result.to_dict(), indent=2) if options.json else _text(result))
    return EXIT_CODES[result.verdict]


def _run(options: argparse.Namespace) -> GateResult:
    settings = load_settings(options.config)
    rules = GateRules(
        settings.gate,
        settings.models.accuracy_threshold,
        QualityMetric(options.metric) if options.metric else None,
        settings.serving.intra_op_threads,
    )
    return run_gate(
        model_file(options.model, 2),
        model_file(options.champion, 1) if options.champion else None,
        read_evaluation(options.evaluation) if options.evaluation else None,
        rules=rules,
        rng=np.random.default_rng(options.seed),
        clock=SystemClock(),
    )


def model_file(path: Path, version: int) -> ModelFile:
    """A file on disk as a model version; it is checked like one from the registry.

    Raises:
        ModelRefused: it is not a safe ONNX file.
    """
    schema = inspect(path)
    return ModelFile(path.stem, version, path, sha256(path), schema)


def read_evaluation(path: Path) -> EvaluationData:
    """Read evaluation rows from an .npz file with the arrays ``inputs`` and ``labels``.

    Raises:
        InputError: the file cannot be read or has not those two arrays of one length.
    """
    try:
        return evaluation_from_bytes(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _text(result: GateResult) -> str:
    """A table of all measures with the verdict under it."""
    arms = [arm for arm in (result.candidate, result.champion) if arm is not None]
    lines = ["".ljust(16) + "".join(f"{name:<24}" for name in ("candidate", "champion")).rstrip()]
    notes: list[str] = []
    for reading in result.candidate.readings:
        both = [arm.reading(reading.name) for arm in arms]
        cells = [str(cell) if isinstance(cell, Measure) else "not available" for cell in both]
        lines.append(f"{reading.name:<16}" + "".join(f"{cell:<24}" for cell in cells).rstrip())
        notes += [f"{c.name}: {c.reason}" for c in both if isinstance(c, Unavailable)]
    return "\n".join([*lines, "", *dict.fromkeys(notes), result.reason])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate",
        description="Measure an ONNX model against another and say whether it may replace it.",
    )
    parser.add_argument("--model", type=Path, required=True, help="the candidate's .onnx file")
    parser.add_argument("--champion", type=Path, help="the .onnx file to compare with")
    parser.add_argument("--evaluation", type=Path, help=".npz with arrays inputs and labels")
    parser.add_argument("--metric", choices=[m.value for m in QualityMetric], help="quality metric")
    parser.add_argument("--config", type=Path, help="settings file; default: the built-in values")
    parser.add_argument("--seed", type=int, default=0, help="seed of order and arrivals")
    parser.add_argument("--json", action="store_true", help="print the whole record as JSON")
    return parser
