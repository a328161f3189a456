"""Serving: answer requests with little standing by, and say on every answer what it cost.

One process, one inference thread. `wire.py` reads requests from sockets (or `asgi.py` from another's server) and hands
each, an Exchange, to the Service (`app.py`), which finds its Endpoint, one for each model (`endpoint.py`). What arrives while a
batch runs forms the next batch (`engine.py`); how many of them, and who is turned away, are pure functions of a fitted line
(`batching.py`). Answers that were given before are given again (`cache.py`); requests that are the same and in flight
together are computed once. CPU time is turned into joules and grams at the rate that the recording of this serving period
shows (`energy.py`).

A model is a folder of variants (`folder.py`, written by `compressed.py`, loaded by `hosting.py` and `onnx_model.py`); which of them answers is decided by
`choosing.py` and `canary.py` for `variants.py`. When nobody asks, `sleeping.py` says when to stop (`running.py`), and
`parent.py` waits for the next connection; it holds the connections of workers that are killed (`keeping.py`), and starts as many
as the traffic needs (`replicas.py`, `scaling.py`). Beyond one machine: `ray_serve.py`, `kserve.py`.

Start reading at app.py. Terms: rows are a request's size in its batch dimension; a batch is what one call of the model
computes; standing by is what the server draws while no request is inside; a flight is an answer that several wait for.
"""
