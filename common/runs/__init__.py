"""What surrounds an experiment: the run folder, its provenance, statistics over seeds, plots, report, command line.

Nothing here imports torch; the heavy libraries (scipy, matplotlib, networkx, jinja2, rich, jsonargparse) are imported
inside the one function that needs them, so that `--help` answers at once.
"""
