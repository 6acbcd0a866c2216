"""A whole zone in one process: Core and cells over memory links, on simulated hosts. For tests, drills and the simulator."""
