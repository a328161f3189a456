"""Our server without a recording, to see what the energy ledger itself costs: `unrecorded_server.py MODEL PORT`."""

import sys
from pathlib import Path

from joulewise.serving.app import Limits, of_model
from joulewise.serving.onnx_model import OnnxModel
from joulewise.serving.places import listen
from joulewise.serving.running import serve


class Nobody:
    """A recorder that records nothing."""

    interval_s = 3600.0
    latest = None

    def append(self, kind, /, **values):
        """Forget it."""


serve(of_model(OnnxModel(Path(sys.argv[1])), Limits()), [listen("127.0.0.1", int(sys.argv[2]))], Nobody())
