"""`joulewise token`: one line for what makes no sense."""

from __future__ import annotations


class TestWrongUse:
    def test_one_line(self, joulewise):
        """Two kinds of token at once, and a token for nothing, are one line each."""
        both = joulewise("web", "--tokens", "--token", "x")
        nothing = joulewise("token", "add", "x")

        assert (both.returncode, nothing.returncode) == (2, 2)
        assert "give one of them" in both.stderr
        assert "would show nothing" in nothing.stderr
        assert joulewise("token", "list").stdout.startswith("there is no token yet")
