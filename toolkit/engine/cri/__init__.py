"""The Kubernetes container runtime interface, shared by containerd and CRI-O."""
