"""Becomes `joulewise serve` for the study's bench, by its BENCH_* variables.

Its image bodies are bytes from 0 to 255 where its network wants scaled squares: the scaling goes into the model, in ONNX, as
the other servers do it in Python. The ledger goes to a folder of its own.
"""

import os
import sys
import tempfile


def scaled(path, folder):
    """Write a copy of a network that takes 784 bytes, and return its path."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    was = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["image" if name == was else name for name in node.input]
    add = [
        helper.make_node("Cast", [was], ["image_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["image_float", "image_scale"], ["image_scaled"]),
        helper.make_node("Reshape", ["image_scaled", "image_square"], ["image"]),
    ]
    for number, node in enumerate(add):
        model.graph.node.insert(number, node)
    model.graph.initializer.extend(
        [
            helper.make_tensor("image_scale", TensorProto.FLOAT, [], [1 / 255]),
            helper.make_tensor("image_square", TensorProto.INT64, [4], [-1, 1, 28, 28]),
        ]
    )
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(was, TensorProto.UINT8, ["n", 784]))
    where = os.path.join(folder, "network.onnx")
    onnx.save(model, where)
    return where


def main():
    """Start the server in this very process."""
    told = os.environ
    folder = tempfile.mkdtemp(prefix="joulewise-bench-")
    model = told["BENCH_MODEL"]
    if told.get("BENCH_KIND") == "cnn":
        model = scaled(model, folder)
    sleep = told.get("BENCH_EXIT_S")
    command = [sys.executable, "-m", "joulewise", "serve", model, "--name", "m", "--port", told["BENCH_PORT"]]
    command += ["--zone", "DE", "--sleep", f"{sleep}s" if sleep else "never"]
    command += ["--cache", told["BENCH_CACHE"]] if "BENCH_CACHE" in told else []
    command += ["--zygote"] if told.get("BENCH_ZYGOTE") else []
    os.execve(sys.executable, command, {**told, "JOULEWISE_HOME": folder})


if __name__ == "__main__":
    main()
