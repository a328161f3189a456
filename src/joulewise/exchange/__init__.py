"""Exchange: what other tools, papers and reports want to read of a recording, and what they have recorded themselves.

One file per form, each with `write` (accounts to text) and, where the form is another tool's record, `read` (text to
`Imported`, which `imported.keep` makes a recording of). All of them are pure; every statement names basis, interval and
sources, and what a form has no place for stands in its free field.
"""
