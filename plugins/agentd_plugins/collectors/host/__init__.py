"""What the kernel of this machine tells, under the names of node_exporter; one file per topic."""
