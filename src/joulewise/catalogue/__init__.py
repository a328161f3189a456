"""Catalogue: facts with a source, a date and a licence.

From joules to grams and money: zones.py (yearly mean intensity), pue.py, uplift.py (devices to the wall),
embodied.py, tariffs.py; place.py holds one choice of each, and pricing.py makes a Footprint of joules at a place.
Tables lie in data/ and are read when first asked for, never on import.

Start reading at pricing.py. Terms: PUE is facility power by wall power; SCI is ISO/IEC 21031.
"""
