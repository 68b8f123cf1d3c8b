"""Tickets in generative models: GANs, VAEs, DDPMs and moment-matching generators, judged by FID.

So far: the networks (`gen_tickets.models`) and `gen-tickets speed`. Finding and judging tickets comes next, on the mask
engine, ticket files, runs and reports of `common`.
"""
