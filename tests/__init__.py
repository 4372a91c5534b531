"""The tests: the core, the watcher, the network, the programs around them."""
