"""Serving: answer requests with little standing by, and say on every answer what it cost.

One model, one process, one inference thread. What arrives while a batch runs forms the next batch (`engine.py`); how
many of them, and who is turned away, are pure functions of a fitted line (`batching.py`). Answers that were given
before are given again (`cache.py`); requests that are the same and in flight together are computed once. CPU time is
turned into joules and grams at the rate that the recording of this serving period shows (`energy.py`).

`app.py` is the ASGI application, `protocol.py` its two dialects (plain JSON and Open Inference Protocol v2),
`onnx_model.py` the leaf that knows ONNX Runtime and `running.py` the one that knows uvicorn.

Start reading at app.py. Terms: rows are a request's size in its batch dimension; a batch is what one call of the model
computes; standing by is CPU time used while no request is inside.
"""
