"""The Core node: takes commands, owns intent and placement, drives tasks, follows its cells' journals."""
