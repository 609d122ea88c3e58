"""Where completions and embeddings come from: the protocol, and a client for any OpenAI-compatible endpoint.

Left out: the trainer's own engine, which implements the protocol on its side of the seam.
"""
