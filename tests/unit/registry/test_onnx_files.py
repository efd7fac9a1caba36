"""Model files: what passes, and what is refused with its reason and without being loaded."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from config.errors import ModelRefused
from registry.onnx_files import inspect, open_session, sha256
from registry.records import ModelSchema, TensorSpec
from tests.services.onnx_models import linear_model, write_model

SCHEMA = ModelSchema(
    (TensorSpec("X", "float32", (None, 4)),), (TensorSpec("Y", "float32", (None, 3)),)
)


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _refused(path: Path, reason: str, *, limit: int = 2**31) -> None:
    with pytest.raises(ModelRefused, match=reason) as caught:
        inspect(path, limit=limit)
    assert path.name in str(caught.value)


def test_reads_the_schema(tmp_path: Path) -> None:
    assert inspect(write_model(tmp_path / "m.onnx")) == SCHEMA


def test_agrees_with_onnxruntime_about_real_models(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 5)).astype(np.float32)
    forest = RandomForestClassifier(5, random_state=1).fit(rows, rng.integers(0, 3, 200))
    model = to_onnx(forest, rows[:1], options={"zipmap": False})
    path = write_model(tmp_path / "forest.onnx", model)
    schema, session = inspect(path), open_session(path, 1)
    assert [s.name for s in schema.inputs] == [i.name for i in session.get_inputs()]
    assert [s.name for s in schema.outputs] == [o.name for o in session.get_outputs()]
    assert [s.dtype for s in schema.outputs] == ["int64", "float32"]
    assert [s.shape for s in schema.outputs] == [(None,), (None, 3)]


def test_weights_listed_as_inputs_are_not_inputs(tmp_path: Path) -> None:
    model = linear_model()
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3]))
    assert inspect(write_model(tmp_path / "old.onnx", model)) == SCHEMA


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(pickle.dumps(_Bomb(tmp_path / "ran"), protocol=protocol))
    _refused(path, "not ONNX|middle|wire type|number 0")
    assert not (tmp_path / "ran").exists()


def test_archives_of_other_frameworks_are_named(tmp_path: Path) -> None:
    torch = tmp_path / "torch.onnx"
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Bomb(tmp_path / "ran")))
    _refused(torch, "zip archive")
    keras = tmp_path / "keras.onnx"
    keras.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    _refused(keras, "HDF5")
    packed = tmp_path / "packed.onnx"
    packed.write_bytes(gzip.compress(linear_model().SerializeToString()))
    _refused(packed, "gzip")
    assert not (tmp_path / "ran").exists()


def test_empty_missing_and_large_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    _refused(path, "is empty")
    _refused(tmp_path / "missing.onnx", "cannot be read")
    _refused(tmp_path, "cannot be read")
    _refused(write_model(tmp_path / "m.onnx"), "more than the 10 allowed", limit=10)


def test_every_truncation_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = linear_model().SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        try:
            assert inspect(path) == SCHEMA
        except ModelRefused:
            continue


def test_half_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    whole = linear_model().SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    _refused(path, "middle of a field")


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "external.onnx"
    onnx.save_model(
        linear_model(features=64), str(path), save_as_external_data=True, size_threshold=0
    )
    _refused(path, "another file")


def test_a_path_out_of_the_folder_in_a_constant_of_a_branch_is_found(tmp_path: Path) -> None:
    hidden = numpy_helper.from_array(np.ones(3, np.float32), "hidden")
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    entry = hidden.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=hidden)],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [3])],
    )
    model = linear_model()
    model.graph.node.append(
        helper.make_node("If", ["cond"], ["Z"], then_branch=branch, else_branch=branch)
    )
    _refused(write_model(tmp_path / "m.onnx", model), "another file")


def test_unknown_operator_domains_are_refused(tmp_path: Path) -> None:
    for domain in ("com.example", "ai.onnx.contrib", "com.microsoft.extensions"):
        _refused(write_model(tmp_path / "m.onnx", linear_model(domain=domain)), domain)
    only_node = linear_model(domain="com.example")
    del only_node.opset_import[1]
    _refused(write_model(tmp_path / "m.onnx", only_node), "com.example")


def test_known_operator_domains_pass(tmp_path: Path) -> None:
    for domain in ("ai.onnx", "ai.onnx.ml", "com.microsoft"):
        assert inspect(write_model(tmp_path / "m.onnx", linear_model(domain=domain))) == SCHEMA


def test_compiled_code_of_other_files_is_refused(tmp_path: Path) -> None:
    model = linear_model(domain="com.microsoft")
    model.graph.node[0].op_type = "EPContext"
    _refused(write_model(tmp_path / "m.onnx", model), "EPContext")


def test_functions_are_looked_into(tmp_path: Path) -> None:
    model = linear_model()
    node = helper.make_node("Evil", ["a"], ["b"], domain="com.example")
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ai.onnx", "f", ["a"], ["b"], [node], opset))
    _refused(write_model(tmp_path / "m.onnx", model), "com.example")


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    model = linear_model()
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [None]))
    model.graph.output.append(helper.make_value_info("maps", kind))
    _refused(write_model(tmp_path / "m.onnx", model), "'maps', which is a sequence")


def test_types_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    model = linear_model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    _refused(write_model(tmp_path / "m.onnx", model), "element type")


def test_a_model_in_two_parts_is_refused(tmp_path: Path) -> None:
    # Protobuf would merge the two graphs into one that nobody looked at.
    whole = linear_model().SerializeToString()
    path = tmp_path / "twice.onnx"
    path.write_bytes(whole + whole)
    _refused(path, "not a complete ONNX model")


def _part(number: int, content: bytes) -> bytes:
    """A field of protobuf that holds a message; onnx itself refuses to build such a tower."""
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(length) + bytes([size]) + content


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(200):
        attribute = _part(6, graph)
        graph = _part(1, _part(5, attribute))
    path = tmp_path / "deep.onnx"
    path.write_bytes(_part(7, graph))
    _refused(path, "deep")


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_damaged_models_never_crash(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = bytearray(linear_model().SerializeToString())
    path = tmp_path / f"noise-{seed}.onnx"
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        noise = rng.randbytes(rng.randint(1, 200))
        path.write_bytes(bytes(damaged) if rng.random() < 0.5 else noise)
        try:
            inspect(path)
        except ModelRefused:
            continue


def test_a_nonsense_graph_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    model = linear_model()
    model.graph.node[0].input[1] = "nobody"
    path = write_model(tmp_path / "m.onnx", model)
    assert inspect(path) == SCHEMA
    with pytest.raises(ModelRefused, match="onnxruntime"):
        open_session(path, 1)


def test_opened_models_answer(tmp_path: Path) -> None:
    session = open_session(write_model(tmp_path / "m.onnx"), 1)
    [out] = session.run(None, {"X": np.zeros((2, 4), np.float32)})
    assert out.shape == (2, 3)


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_looking_into_a_large_file_costs_little_memory(tmp_path: Path) -> None:
    model = linear_model()
    weights = model.graph.initializer.add()
    weights.name, weights.data_type = "big", TensorProto.FLOAT
    weights.dims.extend([2**24])
    weights.raw_data = bytes(2**26)
    path = write_model(tmp_path / "big.onnx", model)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from registry.onnx_files import inspect\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "inspect(Path(sys.argv[1]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8 * 1024  # KiB, for a file of 64 MiB
