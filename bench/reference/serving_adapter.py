"""`joulewise serve` in the study's bench of servers; imported at the end of its adapters.py."""

from adapters import ADAPTERS, V2, A

SERVER = ["{py}", "srv_joulewise.py"]
ADAPTERS["joulewise"] = A("v-joulewise", SERVER, V2, "v2")
ADAPTERS["joulewise-nocache"] = A("v-joulewise", SERVER, V2, "v2", BENCH_CACHE=0)
ADAPTERS["joulewise-zero"] = A("v-joulewise", SERVER, V2, "v2", BENCH_EXIT_S=4)
ADAPTERS["joulewise-zygote"] = A("v-joulewise", SERVER, V2, "v2", BENCH_EXIT_S=4, BENCH_ZYGOTE=1)
