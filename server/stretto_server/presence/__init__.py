"""Who is where, told to all nodes: each keeps a merged roster, Redis has them all."""
