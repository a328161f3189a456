"""The command line: one file per verb; the doors print and turn errors into exit codes, everything else is below."""
