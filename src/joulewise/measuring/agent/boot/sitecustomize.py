"""Load joulewise's agent, then the program's own sitecustomize, as if this file were not here.

Written for any Python: an old one runs the program's own sitecustomize and nothing else. What that raises is raised
here, so that Python says what it would have said.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [_path for _path in sys.path if os.path.abspath(_path or ".") != _here]
sys.path_importer_cache.pop(_here, None)

if sys.version_info >= (3, 9) and os.environ.get("JOULEWISE_RECORDING"):
    try:
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import spec_from_file_location

        _folder = os.path.join(os.path.dirname(_here), "inside")
        _spec = spec_from_file_location(
            "_joulewise_agent", os.path.join(_folder, "__init__.py"), submodule_search_locations=[_folder]
        )
        assert _spec is not None and _spec.loader is not None  # noqa: S101, PT018 - it has a file
        _agent = sys.modules["_joulewise_agent"] = module_from_spec(_spec)
        _spec.loader.exec_module(_agent)
        _agent.start(os.environ["JOULEWISE_RECORDING"])
    except Exception:  # noqa: BLE001, S110 - whatever is wrong with the agent, the program must not hear of it
        pass

_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401 - the program's own
except ImportError as _error:
    if getattr(_error, "name", None) != "sitecustomize":
        raise
finally:
    if "sitecustomize" not in sys.modules and _ours is not None:
        sys.modules["sitecustomize"] = _ours  # Python looks for it when this file ends
