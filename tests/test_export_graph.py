"""Export of TensorFlow 1: frozen graphs and checkpoints give what the graph gives in a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from drpass.errors import DrpassError

pytest.importorskip("tf2onnx", reason="needs the extra export")

from drpass.export import export
from drpass.frontends.tensorflow_function import import_tensorflow

tf = import_tensorflow()
v1 = tf.compat.v1
PICTURES = np.random.default_rng(7).random((4, 16, 16, 3), np.float32)


def _network(training: bool = False) -> None:
    """Two convolutions with batch normalization and dropout that is off unless fed, as scripts of 2017 had them."""
    v1.set_random_seed(5)
    image = v1.placeholder(tf.float32, [None, 16, 16, 3], name="image")
    keep = v1.placeholder_with_default(1.0, [], name="keep_prob")
    x = tf.nn.conv2d(image, v1.get_variable("conv1", [3, 3, 3, 8]), strides=1, padding="SAME", name="conv")
    moments = [v1.get_variable(name, [8], initializer=v1.random_uniform_initializer(0.5, 2)) for name in "abcd"]
    x, _, _ = v1.nn.fused_batch_norm(x, *moments, is_training=False, name="normalized")
    x = tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "VALID")
    x = tf.reshape(x, [-1, 8 * 8 * 8]) * keep
    logits = tf.matmul(x, v1.get_variable("fc", [512, 5]), name="logits")
    tf.nn.softmax(logits, name="heads/probabilities")
    if training:
        labels = v1.placeholder(tf.int64, [None], name="labels")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        v1.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")


def _checkpoint(folder: Path, training: bool = False, signature: bool = False) -> tuple[Path, Any]:
    """The prefix of a checkpoint of the network with its initial weights, and what it gives for the pictures."""
    with v1.Graph().as_default() as graph, v1.Session() as session:
        _network(training)
        session.run(v1.global_variables_initializer())
        prefix = folder / "model.ckpt"
        v1.train.Saver().save(session, str(prefix), write_meta_graph=not signature)
        if signature:
            info = v1.saved_model.build_tensor_info
            tensors = [info(graph.get_tensor_by_name(f"{name}:0")) for name in ("image", "logits")]
            meta = v1.train.export_meta_graph()
            meta.signature_def["serving_default"].inputs["picture"].CopyFrom(tensors[0])
            meta.signature_def["serving_default"].outputs["scores"].CopyFrom(tensors[1])
            (folder / "model.ckpt.meta").write_bytes(meta.SerializeToString())
        return prefix, session.run(["heads/probabilities:0", "logits:0"], {"image:0": PICTURES})


def _frozen(folder: Path, freeze: bool = True) -> tuple[Path, Any]:
    with v1.Graph().as_default() as graph, v1.Session() as session:
        _network()
        session.run(v1.global_variables_initializer())
        expected = session.run(["heads/probabilities:0", "logits:0"], {"image:0": PICTURES})
        graph_def = graph.as_graph_def()
        if freeze:
            graph_def = v1.graph_util.convert_variables_to_constants(session, graph_def, ["heads/probabilities"])
    path = folder / "frozen.pb"
    path.write_bytes(graph_def.SerializeToString())
    return path, expected


def _run(path: Path, pictures: Any) -> Any:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pictures.transpose(0, 3, 1, 2)})[0]


def test_frozen_graph_needs_no_names_and_takes_any_batch(tmp_path: Path) -> None:
    source, (probabilities, _) = _frozen(tmp_path)
    report = export(source, tmp_path / "out.onnx")
    np.testing.assert_allclose(_run(tmp_path / "out.onnx", PICTURES), probabilities, atol=1e-5)
    assert [(spec.name, spec.shape) for spec in report.inputs] == [("image", ("batch", 3, 16, 16))]
    assert [(spec.name, spec.shape) for spec in report.outputs] == [("heads_probabilities", ("batch", 5))]
    assert "photographs" in report.checked_on
    assert report.max_relative_error < 1e-5


def test_tensor_in_the_middle_of_a_frozen_graph_becomes_the_output_when_named(tmp_path: Path) -> None:
    source, (_, logits) = _frozen(tmp_path)
    report = export(source, tmp_path / "out.onnx", inputs=["image"], outputs=["logits:0"], batch=4)
    np.testing.assert_allclose(_run(tmp_path / "out.onnx", PICTURES), logits, atol=1e-4)
    assert report.inputs[0].shape == (4, 3, 16, 16)
    assert report.outputs[0].shape == (4, 5)


def test_checkpoint_without_training_gives_its_one_result(tmp_path: Path) -> None:
    source, (probabilities, _) = _checkpoint(tmp_path)
    report = export(source, tmp_path / "out.onnx")
    np.testing.assert_allclose(_run(tmp_path / "out.onnx", PICTURES), probabilities, atol=1e-5)
    assert [spec.name for spec in report.inputs] == ["image"]


@pytest.mark.parametrize("suffix", ["", ".meta", ".index"])
def test_checkpoint_of_training_gives_what_is_named(tmp_path: Path, suffix: str) -> None:
    source, (_, logits) = _checkpoint(tmp_path, training=True)
    report = export(f"{source}{suffix}", tmp_path / "out.onnx", outputs=["logits"])
    np.testing.assert_allclose(_run(tmp_path / "out.onnx", PICTURES), logits, atol=1e-4)
    assert [spec.name for spec in report.inputs] == ["image"]


def test_checkpoint_with_a_signature_gives_what_that_names(tmp_path: Path) -> None:
    source, (_, logits) = _checkpoint(tmp_path, signature=True)
    report = export(source, tmp_path / "out.onnx")
    np.testing.assert_allclose(_run(tmp_path / "out.onnx", PICTURES), logits, atol=1e-4)
    assert [spec.name for spec in report.outputs] == ["logits"]


def test_checkpoint_with_several_results_asks_which(tmp_path: Path) -> None:
    source, _ = _checkpoint(tmp_path, training=True)
    with pytest.raises(DrpassError, match=r"name it with --outputs: .*heads/probabilities"):
        export(source, tmp_path / "out.onnx")


def test_unknown_output_is_refused_with_what_there_is(tmp_path: Path) -> None:
    source, _ = _frozen(tmp_path)
    with pytest.raises(DrpassError, match=r"no tensor 'scores'; it takes and gives image, .*heads/probabilities"):
        export(source, tmp_path / "out.onnx", outputs=["scores"])


def test_output_that_needs_an_input_that_was_not_named_is_refused(tmp_path: Path) -> None:
    source, _ = _checkpoint(tmp_path, training=True)
    outputs = ["sparse_softmax_cross_entropy_loss/value"]
    with pytest.raises(DrpassError, match="depends on labels too; add that to --inputs"):
        export(source, tmp_path / "out.onnx", inputs=["image"], outputs=outputs)


def test_graph_with_variables_is_refused_as_frozen(tmp_path: Path) -> None:
    source, _ = _frozen(tmp_path, freeze=False)
    with pytest.raises(DrpassError, match=r"is not frozen: .* give the checkpoint"):
        export(source, tmp_path / "out.onnx")


def test_placeholder_of_unknown_rank_is_refused(tmp_path: Path) -> None:
    with v1.Graph().as_default() as graph:
        tf.nn.relu(v1.placeholder(tf.float32, name="x"))
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(DrpassError, match="input 'x' has an unknown number of dimensions"):
        export(tmp_path / "graph.pb", tmp_path / "out.onnx")


def test_graph_that_takes_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(DrpassError, match="no operation of the graph depends on a placeholder"):
        export(tmp_path / "empty.pb", tmp_path / "out.onnx")


def test_damaged_frozen_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    source, _ = _frozen(tmp_path)
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(DrpassError, match="can't be loaded as a frozen graph") as raised:
        export(source, tmp_path / "out.onnx")
    assert "\n" not in str(raised.value)


def test_part_of_a_saved_model_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DrpassError, match="part of a SavedModel; give its folder"):
        export(tmp_path / "saved_model.pb", tmp_path / "out.onnx")


@pytest.mark.parametrize(("lost", "message"), [(".meta", "which holds the graph"), (".index", "holds the variables")])
def test_incomplete_checkpoint_says_what_is_missing(tmp_path: Path, lost: str, message: str) -> None:
    source, _ = _checkpoint(tmp_path)
    Path(f"{source}{lost}").unlink()
    with pytest.raises(DrpassError, match=message):
        export(source, tmp_path / "out.onnx")


@pytest.mark.parametrize("part", [".meta", ".index", ".data-00000-of-00001"])
def test_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, part: str) -> None:
    source, _ = _checkpoint(tmp_path)
    path = Path(f"{source}{part}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DrpassError, match="can't be loaded as a checkpoint") as raised:
        export(source, tmp_path / "out.onnx")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out.onnx").exists()
