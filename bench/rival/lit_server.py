"""A network behind LitServe, as its documentation shows: `lit_server.py MODEL.onnx LARGEST_BATCH PORT` (1: no batching)."""

import sys

import litserve
import numpy as np
import onnxruntime


class Network(litserve.LitAPI):
    """Takes and gives what `joulewise serve` does: {"inputs": {"x": [row]}} and {"outputs": {"y": [row]}}."""

    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["inputs"]["x"][0], dtype=np.uint8)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.session.run(None, {"x": x if x.ndim == 2 else x[None]})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"outputs": {"y": [output.reshape(-1).tolist()]}}


if __name__ == "__main__":
    largest = int(sys.argv[2])
    more = {"max_batch_size": largest, "batch_timeout": 0.005} if largest > 1 else {}
    server = litserve.LitServer(Network(**more), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[3]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
