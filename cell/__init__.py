"""The Cell node: carries out orders on its hypervisor host, keeps its own journal of them, reconciles, measures."""
