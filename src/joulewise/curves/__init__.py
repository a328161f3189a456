"""Curves: what a learning curve has gained, how noisy it is, and what is still to come.

Takes the quality seen at each evaluation (`Curve`) and the length of the run, and returns a `Forecast`: the gain
still to come as a distribution, with its interval. Pure and standard library only; `training` stops by it.

Start reading at curve.py, then forecasting.py. Terms: gain is the best so far less the first value; growth is what the
last third of the run added, carried on to the end; noise is the scatter from one evaluation to the next.
"""
