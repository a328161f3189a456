"""Grid: how clean and how dear electricity is, where and when.

Takes what is known of a zone (a service's answer, stored history, a typical profile, the yearly mean) and gives
Signals; every figure made of them says which it used. Nothing here asks the network unless a source is handed
in, and `wiring` hands one in only where the user said so.

    sources/  one file per service     -> Signal: actual values, published forecasts, prices
    history   the user's file and what was fetched before
    profile   the typical month by hour, from history or shipped
    forecast  the blend of published forecast, yesterday, last week (learning.py learns its weights by regret)
    at_hand   the best that is known of a stretch of time, and grams of a series of joules

Start reading at at_hand.py. Terms: an issue is one forecast as it was published at one time; a lead is the number of
hours from now to the hour forecast; regret is what a decision cost above the best one.
"""
