"""Graph lottery tickets: prune a graph's edges and a GNN's weights together, and check that the ticket wins.

The pieces, from data to verdict:

- `glt.data.load` gives a `Graph`; `glt.edges.Edges` holds its edge weights as one more named tensor;
- `glt.ladder.build` puts both into a `GraphModel`, an ordinary module;
- a method of `glt.methods` scores edges and weights; `common.tickets` makes the ladder of tickets;
- `glt.ladder.climb` adds the controls, `glt.find` the seeds, and `glt` on the command line does it all.
"""
