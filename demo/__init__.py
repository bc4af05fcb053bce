"""``make demo``: the whole job on a private containerd."""
