"""Tickets in generative models: GANs, VAEs, DDPMs and moment-matching generators, judged by FID.

Nothing lives here yet. The mask engine, ticket files, runs and reports that it will stand on are in `common`.
"""
