"""Several processes, one loop: process 0 runs the ring, the others carry out what it tells them."""
