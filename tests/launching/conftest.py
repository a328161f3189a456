"""The contract's assertions explain themselves as a test's do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("joulewise.testing.engine_contract")
