from __future__ import annotations

import pytest

from joulewise.diagnosing.traffic import requests_in
from joulewise.vocabulary.errors import UsageError

UVICORN = """INFO:     Started server process [42]
INFO:     127.0.0.1:51422 - "GET /health HTTP/1.1" 200 OK
INFO:     127.0.0.1:51423 - "POST /predict HTTP/1.1" 200 OK
INFO:     127.0.0.1:51424 - "POST /predict HTTP/1.1" 422 Unprocessable Entity
"""
NGINX = '10.0.0.1 - - [29/Nov/2026:15:00:01 +0000] "POST /v1/completions HTTP/1.1" 200 512 "-" "curl/8.5"\n'
VLLM = """# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{finished_reason="stop",model_name="m"} 17.0
vllm:request_success_total{finished_reason="length",model_name="m"} 3.0
http_requests_total{handler="/metrics",method="GET"} 400.0
http_requests_total{handler="/v1/completions",method="POST"} 21.0
"""
TRITON = 'nv_inference_request_success{model="a",version="1"} 5\nnv_inference_request_success{model="b",version="1"} 7\n'


@pytest.mark.parametrize(("text", "requests"), [(UVICORN, 2), (NGINX, 1), (VLLM, 20), (TRITON, 12)])
def test_told(text, requests):
    """Access logs by their lines, metrics by the server's own counter; health checks are no requests."""
    assert requests_in(text) == requests


def test_none_that_we_know():
    """A text that tells of no request is refused, not read as none."""
    with pytest.raises(UsageError, match="neither a metrics page"):
        requests_in("process_cpu_seconds_total 12\n")


def test_counter_of_none():
    """A counter at zero is zero requests."""
    assert requests_in('vllm:request_success_total{model_name="m"} 0\n') == 0
