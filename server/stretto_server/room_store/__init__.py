"""Where rooms are kept: in memory for one node, in Redis for several."""
