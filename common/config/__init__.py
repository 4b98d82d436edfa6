"""The site's one TOML file: what may stand in it, and how it is read and checked.

`model` says what may stand there; `load` reads a file and the environment and
reports every mistake at once, with its place; `check` looks at the machine a
role is about to start on; `reference` writes `docs/configuration.md`.
"""
