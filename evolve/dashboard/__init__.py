"""Pages to look at runs with: a server that only reads, and the same pictures in one file.

`serve.py` is the command, `app.py` the routes, `guard.py` what a request must bring; `catalog.py` finds the runs, and
`bests.py`, `run_page.py`, `program_page.py`, `tree.py` and `arms.py` say what a page shows. The pages are made here
with Jinja, which escapes every text; the charts are SVG, so that a page can be read before a script has run.
"""
